#include "media/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace orrery {
namespace {

// 32 bits hold a byte (8), a weight (22) and a sign and carry (2)
constexpr int kPrecision = 32 - 8 - 2;
constexpr i32 kHalf = 1 << (kPrecision - 1);
constexpr i64 kMaxSide = 16384;
// a row copy is padded so that the last tap may be loaded with its neighbours: 8 bytes
constexpr std::size_t kRowPadding = 16;

std::size_t row_scratch_bytes(const ResizePlan::Axis& axis) {
  // taps with weight 0 behind the last pixel are read too
  const auto pixels = static_cast<std::size_t>(axis.in + axis.taps);
  return (pixels * 3 + kRowPadding + 63) / 64 * 64;
}

// One direction's weights. The order of operations is Pillow's, so the doubles are the same.
ResizePlan::Axis make_axis(i64 in, i64 out) {
  ResizePlan::Axis axis;
  axis.in = in;
  axis.out = out;
  if (in == out) return axis;
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double filter_scale = std::max(scale, 1.0);
  const double support = filter_scale;  // the triangle is 1 wide on either side
  const double inverse = 1.0 / filter_scale;

  std::vector<std::vector<i32>> weights;
  for (i64 i = 0; i < out; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const i64 begin = std::max<i64>(0, static_cast<i64>(center - support + 0.5));
    const i64 end = std::min<i64>(in, static_cast<i64>(center + support + 0.5));
    std::vector<double> taps;
    double sum = 0;
    for (i64 x = begin; x < end; ++x) {
      const double distance = std::abs((static_cast<double>(x) - center + 0.5) * inverse);
      const double weight = distance < 1.0 ? 1.0 - distance : 0.0;
      taps.push_back(weight);
      sum += weight;
    }
    std::vector<i32> rounded;
    for (double weight : taps) {
      if (sum != 0.0) weight /= sum;
      rounded.push_back(static_cast<i32>(0.5 + weight * (1 << kPrecision)));
    }
    axis.first.push_back(static_cast<i32>(begin));
    axis.taps = std::max(axis.taps, static_cast<i64>(rounded.size()));
    weights.push_back(std::move(rounded));
  }

  // taps are done in pairs
  axis.taps = (axis.taps + 1) / 2 * 2;
  const auto taps = static_cast<std::size_t>(axis.taps);
  axis.weights.resize(weights.size() * taps);
  axis.spread.resize(weights.size() * taps * 4);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    for (std::size_t t = 0; t < weights[i].size(); ++t) {
      axis.weights[i * taps + t] = weights[i][t];
      std::fill_n(axis.spread.begin() + static_cast<long>((i * taps + t) * 4), 4, weights[i][t]);
    }
  }
  return axis;
}

using Bytes8 = u8 __attribute__((vector_size(8)));
using Ints8 = i32 __attribute__((vector_size(32)));

[[gnu::always_inline]] inline u8 byte_of(i32 sum) {
  return static_cast<u8>(std::clamp(sum >> kPrecision, 0, 255));
}

// row [in * 3 and padding] -> out [out * 3]. Two taps at a time: 8 bytes are two pixels and more,
// and become r g b x r g b x of 32 bits each.
[[gnu::always_inline]] inline void row_horizontal(const ResizePlan::Axis& axis, const u8* row,
                                                  u8* out) {
  const i32* weights = axis.spread.data();
  for (i64 i = 0; i < axis.out; ++i, out += 3) {
    const u8* from = row + static_cast<i64>(axis.first[static_cast<std::size_t>(i)]) * 3;
    Ints8 sum = {kHalf, kHalf, kHalf, kHalf, 0, 0, 0, 0};
    for (i64 t = 0; t < axis.taps; t += 2, from += 6, weights += 8) {
      Bytes8 bytes;
      std::memcpy(&bytes, from, 8);
      const Bytes8 pixels = __builtin_shufflevector(bytes, bytes, 0, 1, 2, 2, 3, 4, 5, 5);
      Ints8 weight;
      std::memcpy(&weight, weights, 32);
      sum += __builtin_convertvector(pixels, Ints8) * weight;
    }
    for (int c = 0; c < 3; ++c) out[c] = byte_of(sum[c] + sum[c + 4]);
  }
}

// rows of `width` bytes, `stride` apart -> out [width]: one output row
[[gnu::always_inline]] inline void row_vertical(const i32* weights, i64 taps, const u8* rows,
                                                i64 stride, i64 width, u8* out) {
  i64 x = 0;
  for (; x + 16 <= width; x += 16) {
    Ints8 low = {kHalf, kHalf, kHalf, kHalf, kHalf, kHalf, kHalf, kHalf};
    Ints8 high = low;
    for (i64 t = 0; t < taps; ++t) {
      Bytes8 a, b;
      std::memcpy(&a, rows + t * stride + x, 8);
      std::memcpy(&b, rows + t * stride + x + 8, 8);
      low += __builtin_convertvector(a, Ints8) * weights[t];
      high += __builtin_convertvector(b, Ints8) * weights[t];
    }
    for (int c = 0; c < 8; ++c) out[x + c] = byte_of(low[c]);
    for (int c = 0; c < 8; ++c) out[x + 8 + c] = byte_of(high[c]);
  }
  for (; x < width; ++x) {
    i32 sum = kHalf;
    for (i64 t = 0; t < taps; ++t) sum += rows[t * stride + x] * weights[t];
    out[x] = byte_of(sum);
  }
}

// Both directions; `middle` has in_height rows of out_width pixels, `row` one padded input row.
[[gnu::always_inline]] inline void resize_body(const ResizePlan& plan, View<const u8, 3> in,
                                               View<u8, 3> out, u8* row, u8* middle) {
  const ResizePlan::Axis& horizontal = plan.horizontal;
  const ResizePlan::Axis& vertical = plan.vertical;
  const i64 row_bytes = out.size(1) * 3;
  const u8* rows = in.data();
  i64 stride = in.stride(0);
  if (horizontal.in != horizontal.out) {
    const bool last = vertical.in == vertical.out;
    for (i64 y = 0; y < in.size(0); ++y) {
      std::memcpy(row, in.data() + y * in.stride(0), static_cast<std::size_t>(horizontal.in * 3));
      row_horizontal(horizontal, row,
                     last ? out.data() + y * out.stride(0) : middle + y * row_bytes);
    }
    if (last) return;
    rows = middle;
    stride = row_bytes;
  }
  for (i64 y = 0; y < out.size(0); ++y) {
    u8* to = out.data() + y * out.stride(0);
    if (vertical.in == vertical.out) {
      std::memcpy(to, rows + y * stride, static_cast<std::size_t>(row_bytes));
      continue;
    }
    const i64 first = vertical.first[static_cast<std::size_t>(y)];
    // rows behind the last do not exist; their weights are 0
    row_vertical(vertical.weights.data() + y * vertical.taps,
                 std::min(vertical.taps, vertical.in - first), rows + first * stride, stride,
                 row_bytes, to);
  }
}

void resize_any(const ResizePlan& plan, View<const u8, 3> in, View<u8, 3> out, u8* row,
                u8* middle) {
  resize_body(plan, in, out, row, middle);
}

#if defined(__x86_64__)
// the same source, compiled for AVX2; only what is inlined into it is
[[gnu::target("avx2")]] void resize_avx2(const ResizePlan& plan, View<const u8, 3> in,
                                         View<u8, 3> out, u8* row, u8* middle) {
  resize_body(plan, in, out, row, middle);
}
bool has_avx2() { return __builtin_cpu_supports("avx2"); }
#else
constexpr auto resize_avx2 = resize_any;
bool has_avx2() { return false; }
#endif

void check_packed(View<const u8, 3> picture, i64 height, i64 width, const char* which) {
  check(picture.size(0) == height && picture.size(1) == width && picture.size(2) == 3 &&
            picture.stride(2) == 1 && picture.stride(1) == 3,
        "resize_bilinear_u8: ", which, " is ", picture.shape(), ", the plan needs packed rows of (",
        height, ", ", width, ", 3)");
}

}  // namespace

std::size_t ResizePlan::scratch_bytes() const {
  return row_scratch_bytes(horizontal) + static_cast<std::size_t>(vertical.in * horizontal.out * 3);
}

ResizePlan make_resize_plan(i64 in_height, i64 in_width, i64 out_height, i64 out_width) {
  for (const i64 side : {in_height, in_width, out_height, out_width}) {
    check(side >= 1 && side <= kMaxSide, "resize: a side of ", side, " pixels, from 1 to ",
          kMaxSide, " are supported");
  }
  return {make_axis(in_width, out_width), make_axis(in_height, out_height), has_avx2()};
}

void resize_bilinear_u8(const ResizePlan& plan, View<const u8, 3> in, View<u8, 3> out,
                        std::span<std::byte> scratch) {
  check_packed(in, plan.vertical.in, plan.horizontal.in, "in");
  check_packed(out, plan.vertical.out, plan.horizontal.out, "out");
  check(scratch.size() >= plan.scratch_bytes(), "resize_bilinear_u8: scratch has ", scratch.size(),
        " bytes, ", plan.scratch_bytes(), " are needed");
  u8* row = reinterpret_cast<u8*>(scratch.data());
  u8* middle = row + row_scratch_bytes(plan.horizontal);
  // what is read behind the last pixel is multiplied by 0, but should not be undefined
  std::memset(row, 0, row_scratch_bytes(plan.horizontal));
  (plan.wide ? resize_avx2 : resize_any)(plan, in, out, row, middle);
}

std::vector<u8> resize_bilinear_u8(View<const u8, 3> in, i64 out_height, i64 out_width) {
  const ResizePlan plan = make_resize_plan(in.size(0), in.size(1), out_height, out_width);
  std::vector<std::byte> scratch(plan.scratch_bytes());
  std::vector<u8> out(static_cast<std::size_t>(out_height * out_width * 3));
  resize_bilinear_u8(plan, in, View<u8, 3>(out.data(), {out_height, out_width, 3}), scratch);
  return out;
}

}  // namespace orrery
