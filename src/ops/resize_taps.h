#pragma once

#include <cmath>
#include <cstddef>

#include "base/host_device.h"
#include "base/types.h"

namespace orrery {

// The antialiased triangle filter (Pillow's, torchvision's) from `in` to `out` samples as a table:
// output i reads inputs first[i] .. first[i] + width - 1 with weights weights[i * width ...], the
// unused ones zero and first[i] moved so that all are inside. The same bits on host and device.
struct Taps {
  i64 width = 0;
  i64* first = nullptr;
  float* weights = nullptr;
};

// how many inputs an output reads at most: floor(c + s + 0.5) - floor(c - s + 0.5) <= 2 s + 1
inline i64 tap_width(i64 in, i64 out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double support = scale > 1.0 ? scale : 1.0;
  const i64 width = static_cast<i64>(std::ceil(2 * support)) + 1;
  return width < in ? width : in;
}

// memory for one table, a multiple of 64
inline std::size_t tap_bytes(i64 in, i64 out) {
  const std::size_t bytes =
      static_cast<std::size_t>(out) *
      (sizeof(i64) + static_cast<std::size_t>(tap_width(in, out)) * sizeof(float));
  return (bytes + 63) / 64 * 64;
}

// a table, not yet filled, in tap_bytes(in, out) of memory
inline Taps taps_in(std::byte* memory, i64 in, i64 out) {
  return {tap_width(in, out), reinterpret_cast<i64*>(memory),
          reinterpret_cast<float*>(memory + static_cast<std::size_t>(out) * sizeof(i64))};
}

// entry i of the table
ORRERY_HD inline void fill_taps(const Taps& taps, i64 in, i64 out, i64 i) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double support = scale > 1.0 ? scale : 1.0;
#if defined(__CUDA_ARCH__)
  // not to be fused with the subtraction below: the host rounds twice
  const double center = __dmul_rn(static_cast<double>(i) + 0.5, scale);
#else
  const double center = (static_cast<double>(i) + 0.5) * scale;
#endif
  const i64 low = static_cast<i64>(std::floor(center - support + 0.5));
  const i64 high = static_cast<i64>(std::floor(center + support + 0.5));
  const i64 begin = low > 0 ? low : 0;
  const i64 end = high < in ? high : in;
  const auto weight = [&](i64 j) {
    const double value = 1.0 - std::fabs(static_cast<double>(j) - center + 0.5) / support;
    return value > 0.0 ? value : 0.0;
  };
  double sum = 0;
  for (i64 j = begin; j < end; ++j) sum += weight(j);
  const i64 first = begin < in - taps.width ? begin : in - taps.width;
  taps.first[i] = first;
  for (i64 k = 0; k < taps.width; ++k) {
    const i64 j = first + k;
    taps.weights[i * taps.width + k] =
        j >= begin && j < end ? static_cast<float>(weight(j) / sum) : 0.0f;
  }
}

namespace cpu {
// the whole table, in tap_bytes(in, out) of the host's memory
inline Taps make_taps(i64 in, i64 out, std::byte* memory) {
  const Taps taps = taps_in(memory, in, out);
  for (i64 i = 0; i < out; ++i) fill_taps(taps, in, out, i);
  return taps;
}
}  // namespace cpu

}  // namespace orrery
