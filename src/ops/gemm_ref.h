#pragma once

#include <cmath>

#include "ops/gemm.h"

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

// y = epilogue(x W^T), in double
inline void linear_ref(View<const float, 2> x, View<const float, 2> weight,
                       const Epilogue& epilogue, View<float, 2> y) {
  for (i64 r = 0; r < x.size(0); ++r) {
    for (i64 o = 0; o < weight.size(0); ++o) {
      double value = 0.0;
      for (i64 k = 0; k < x.size(1); ++k)
        value += static_cast<double>(x(r, k)) * static_cast<double>(weight(o, k));
      if (epilogue.bias) value += static_cast<double>(epilogue.bias(o));
      if (epilogue.activation == Activation::gelu)
        value *= 0.5 * (1.0 + std::erf(value / std::sqrt(2.0)));
      if (epilogue.activation == Activation::silu) value /= 1.0 + std::exp(-value);
      if (epilogue.gate) value *= static_cast<double>(epilogue.gate(r, o));
      if (epilogue.residual) value += static_cast<double>(epilogue.residual(r, o));
      y(r, o) = static_cast<float>(value);
    }
  }
}

}  // namespace orrery
