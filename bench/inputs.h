#pragma once

#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "tensor/tensor.h"

namespace orrery::bench {

// standard normal values, the same for the same seed
inline Tensor normal_values(Shape shape, u64 seed) {
  Tensor tensor(DType::f32, shape);
  fill_normal(seed, 0, 0, tensor.numel(), tensor.data<float>());
  return tensor;
}

// bytes without any pattern
inline Tensor random_bytes(Shape shape, u64 seed) {
  Tensor tensor(DType::uint8, shape);
  Random random(seed, 0);
  u8* values = tensor.data<u8>();
  for (i64 i = 0; i < tensor.numel(); ++i) values[i] = static_cast<u8>(random.bits());
  return tensor;
}

// |a - b| <= tolerance everywhere, NaN nowhere
inline void check_near(const char* name, const float* a, const float* b, i64 count,
                       float tolerance) {
  for (i64 i = 0; i < count; ++i) {
    check(std::abs(a[i] - b[i]) <= tolerance, "bench: ", name, " gives ", a[i], " at ", i, ", ",
          b[i], " is right");
  }
}

inline void check_finite(const char* name, const Tensor& values) {
  for (const float value : values.span<float>()) {
    check(std::isfinite(value), "bench: ", name, " gives ", value);
  }
}

}  // namespace orrery::bench
