#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "base/bf16.h"
#include "base/e4m3.h"
#include "ops/gemm.h"
#include "ops/gemm_pack.h"

namespace orrery {

// The plain loops: c = a b (+ c), sums in double.
template <typename T>
void gemm_ref(View<const T, 2> a, View<const T, 2> b, bool accumulate, View<T, 2> c) {
  for (i64 i = 0; i < c.size(0); ++i) {
    for (i64 j = 0; j < c.size(1); ++j) {
      double sum = accumulate ? static_cast<double>(c(i, j)) : 0.0;
      for (i64 k = 0; k < a.size(1); ++k)
        sum += static_cast<double>(a(i, k)) * static_cast<double>(b(k, j));
      c(i, j) = static_cast<T>(sum);
    }
  }
}

// One value of epilogue(x W^T), in double, and how large the numbers were that it is made of:
// products = |gate| * sum |x w|, which errors of the sum are measured by.
struct LinearValue {
  double value = 0;
  double products = 0;
};

template <typename T>
LinearValue linear_value(View<const T, 2> x, View<const T, 2> weight, const Epilogue& epilogue,
                         i64 r, i64 o) {
  LinearValue result;
  double& value = result.value;
  for (i64 k = 0; k < x.size(1); ++k) {
    const double product = static_cast<double>(x(r, k)) * static_cast<double>(weight(o, k));
    value += product;
    result.products += std::abs(product);
  }
  if (epilogue.bias) value += static_cast<double>(epilogue.bias(o));
  if (epilogue.activation == Activation::gelu)
    value *= 0.5 * (1.0 + std::erf(value / std::sqrt(2.0)));
  if (epilogue.activation == Activation::silu) value /= 1.0 + std::exp(-value);
  if (epilogue.gate) {
    const double gate = static_cast<double>(epilogue.gate(r, o));
    value *= gate;
    result.products *= std::abs(gate);
  }
  if (epilogue.residual) value += static_cast<double>(epilogue.residual(r, o));
  return result;
}

// y = epilogue(x W^T), in double
inline void linear_ref(View<const float, 2> x, View<const float, 2> weight,
                       const Epilogue& epilogue, View<float, 2> y) {
  for (i64 r = 0; r < x.size(0); ++r) {
    for (i64 o = 0; o < weight.size(0); ++o)
      y(r, o) = static_cast<float>(linear_value(x, weight, epilogue, r, o).value);
  }
}

// What is left of the values of a matrix in a precision, as products take them.
inline std::vector<double> rounded_to(Precision precision, View<const float, 2> values) {
  const PackedRows packed = pack_rows(values, precision);
  std::vector<double> result;
  for (i64 r = 0; r < values.size(0); ++r) {
    for (i64 k = 0; k < values.size(1); ++k) {
      const std::byte* at = packed.rows.data() + r * packed.row_bytes + k * value_bytes(precision);
      const auto as = [&](auto value) {
        std::memcpy(&value, at, sizeof(value));
        return static_cast<double>(static_cast<float>(value));
      };
      const auto scaled = [&](double code) {
        return code * static_cast<double>(packed.scales[static_cast<std::size_t>(r)]);
      };
      switch (precision) {
        case Precision::f32:
        case Precision::tf32:
          result.push_back(as(float{}));
          break;
        case Precision::bf16:
          result.push_back(as(bf16{}));
          break;
        case Precision::int8:
          result.push_back(scaled(as(i8{})));
          break;
        case Precision::fp8:
          result.push_back(scaled(as(e4m3{})));
          break;
      }
    }
  }
  return result;
}

}  // namespace orrery
