#include "media/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

u8 byte_of(i32 sum) { return static_cast<u8>(std::clamp(sum >> kPrecision, 0, 255)); }

// One row in each direction. row [in * 3 bytes and padding] -> out [out * 3]; taps rows of `width`
// bytes that are `stride` apart -> out [width].
struct RowKernels {
  void (*horizontal)(const ResizePlan::Axis& axis, const u8* row, u8* out);
  void (*vertical)(const i32* weights, i64 taps, const u8* rows, i64 stride, i64 width, u8* out);
};

void horizontal_plain(const ResizePlan::Axis& axis, const u8* row, u8* out) {
  const i32* weights = axis.weights.data();
  for (i64 i = 0; i < axis.out; ++i, out += 3, weights += axis.taps) {
    const u8* from = row + static_cast<i64>(axis.first[static_cast<std::size_t>(i)]) * 3;
    i32 sums[3] = {kHalf, kHalf, kHalf};
    for (i64 t = 0; t < axis.taps; ++t) {
      for (int c = 0; c < 3; ++c) sums[c] += from[t * 3 + c] * weights[t];
    }
    for (int c = 0; c < 3; ++c) out[c] = byte_of(sums[c]);
  }
}

void vertical_plain(const i32* weights, i64 taps, const u8* rows, i64 stride, i64 width, u8* out) {
  for (i64 x = 0; x < width; ++x) {
    i32 sum = kHalf;
    for (i64 t = 0; t < taps; ++t) sum += rows[t * stride + x] * weights[t];
    out[x] = byte_of(sum);
  }
}

constexpr RowKernels kPlain = {horizontal_plain, vertical_plain};

#if defined(__x86_64__)

// two taps at a time: 8 bytes are two pixels and more, and become r g b x r g b x of 32 bits
[[gnu::target("avx2")]] void horizontal_avx2(const ResizePlan::Axis& axis, const u8* row, u8* out) {
  const __m128i split = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const i32* weights = axis.spread.data();
  for (i64 i = 0; i < axis.out; ++i, out += 3) {
    const u8* from = row + static_cast<i64>(axis.first[static_cast<std::size_t>(i)]) * 3;
    __m256i sums = _mm256_setr_epi32(kHalf, kHalf, kHalf, 0, 0, 0, 0, 0);
    for (i64 t = 0; t < axis.taps; t += 2, from += 6, weights += 8) {
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
      const __m256i pixels = _mm256_cvtepu8_epi32(_mm_shuffle_epi8(bytes, split));
      const __m256i weight = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
      sums = _mm256_add_epi32(sums, _mm256_mullo_epi32(pixels, weight));
    }
    const __m128i sum =
        _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    const __m128i words = _mm_packus_epi32(_mm_srai_epi32(sum, kPrecision), _mm_setzero_si128());
    const i32 pixel = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    std::memcpy(out, &pixel, 3);
  }
}

[[gnu::target("avx2")]] void vertical_avx2(const i32* weights, i64 taps, const u8* rows, i64 stride,
                                           i64 width, u8* out) {
  i64 x = 0;
  for (; x + 16 <= width; x += 16) {
    __m256i low = _mm256_set1_epi32(kHalf);
    __m256i high = low;
    for (i64 t = 0; t < taps; ++t) {
      const __m128i bytes =
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + t * stride + x));
      const __m256i weight = _mm256_set1_epi32(weights[t]);
      low = _mm256_add_epi32(low, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(bytes), weight));
      high = _mm256_add_epi32(
          high, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)), weight));
    }
    // packing works within halves of 128 bits: put the quarters back in order
    const __m256i words =
        _mm256_permute4x64_epi64(_mm256_packus_epi32(_mm256_srai_epi32(low, kPrecision),
                                                     _mm256_srai_epi32(high, kPrecision)),
                                 0b11'01'10'00);
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + x), bytes);
  }
  vertical_plain(weights, taps, rows + x, stride, width - x, out + x);
}

constexpr RowKernels kAvx2 = {horizontal_avx2, vertical_avx2};
bool has_avx2() { return __builtin_cpu_supports("avx2") != 0; }

#else

constexpr RowKernels kAvx2 = kPlain;
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
  const RowKernels& kernels = plan.wide ? kAvx2 : kPlain;
  const ResizePlan::Axis& horizontal = plan.horizontal;
  const ResizePlan::Axis& vertical = plan.vertical;
  const i64 row_bytes = out.size(1) * 3;
  const u8* rows = in.data();
  i64 stride = in.stride(0);

  if (horizontal.in != horizontal.out) {
    // a copy of each row, padded: what is read behind the last pixel is multiplied by 0
    u8* row = reinterpret_cast<u8*>(scratch.data());
    u8* middle = row + row_scratch_bytes(horizontal);
    std::memset(row, 0, row_scratch_bytes(horizontal));
    const bool last = vertical.in == vertical.out;
    for (i64 y = 0; y < in.size(0); ++y) {
      std::memcpy(row, in.data() + y * in.stride(0), static_cast<std::size_t>(horizontal.in * 3));
      kernels.horizontal(horizontal, row,
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
    // rows behind the last do not exist; their weights are 0
    const i64 first = vertical.first[static_cast<std::size_t>(y)];
    kernels.vertical(vertical.weights.data() + y * vertical.taps,
                     std::min(vertical.taps, vertical.in - first), rows + first * stride, stride,
                     row_bytes, to);
  }
}

std::vector<u8> resize_bilinear_u8(View<const u8, 3> in, i64 out_height, i64 out_width) {
  const ResizePlan plan = make_resize_plan(in.size(0), in.size(1), out_height, out_width);
  std::vector<std::byte> scratch(plan.scratch_bytes());
  std::vector<u8> out(static_cast<std::size_t>(out_height * out_width * 3));
  resize_bilinear_u8(plan, in, View<u8, 3>(out.data(), {out_height, out_width, 3}), scratch);
  return out;
}

}  // namespace orrery
