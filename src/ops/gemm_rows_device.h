#pragma once

// Rows of x that the matrix product prepares itself: floats are read, normalised and modulated if
// asked, rounded to the product's format, and kept in the block's shared memory or written to
// memory by a kernel of their own.

#include "device/ptx.h"
#include "ops/gemm_pack.h"
#include "ops/gemm_product.h"
#include "ops/row_codes.h"
#include "ops/warp_device.h"

namespace orrery::cuda {

// of a row, lane l holds values 64 j + 2 l and one further for each j < kPairs
template <int kPairs>
struct LaneValues {
  float v[kPairs][2];
};

template <int kPairs>
__device__ void load_lane_values(const float* from, int count, bool in_pairs, int lane,
                                 LaneValues<kPairs>& values) {
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const int k = 64 * j + 2 * lane;
    values.v[j][0] = values.v[j][1] = 0.0f;
    if (in_pairs && k < count) {
      const float2 pair = *reinterpret_cast<const float2*>(from + k);
      values.v[j][0] = pair.x;
      values.v[j][1] = pair.y;
    } else if (!in_pairs) {
      if (k < count) values.v[j][0] = from[k];
      if (k + 1 < count) values.v[j][1] = from[k + 1];
    }
  }
}

// (v - mean) / sqrt(variance + eps), rows side by side so that their trips between lanes overlap;
// values beyond the row stay 0
template <int kPairs, int kRows>
__device__ void normalise(LaneValues<kPairs> (&rows)[kRows], int count, float eps, int lane) {
  const float share = 1.0f / static_cast<float>(count);
  float sum[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    sum[r] = 0.0f;
#pragma unroll
    for (int j = 0; j < kPairs; ++j) sum[r] += rows[r].v[j][0] + rows[r].v[j][1];
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) sum[r] = group_sum(sum[r]) * share;
  float squares[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    squares[r] = 0.0f;
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const bool there = 64 * j + 2 * lane + e < count;
        const float deviation = there ? rows[r].v[j][e] - sum[r] : 0.0f;
        rows[r].v[j][e] = deviation;
        squares[r] = fmaf(deviation, deviation, squares[r]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const float rstd = 1.0f / sqrtf(group_sum(squares[r]) * share + eps);
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      rows[r].v[j][0] *= rstd;
      rows[r].v[j][1] *= rstd;
    }
  }
}

// Writes a row's values in the format, with zeros up to a multiple of 32 bytes, which is what the
// products read (or of 16, as memory has them); place(byte) is where a byte of the row goes,
// row_scale gets the scale of formats that have one.
template <Precision kPrecision, int kPairs, typename Place>
__device__ void put_row(const LaneValues<kPairs>& values, int count, int lane, int multiple,
                        const Place& place_of, float* row_scale) {
  constexpr bool kCodes = kPrecision == Precision::int8 || kPrecision == Precision::fp8;
  constexpr int kBytes = static_cast<int>(value_bytes(kPrecision));
  const int end = (count * kBytes + multiple - 1) / multiple * multiple;
  const auto byte_at = [&](int j) { return (64 * j + 2 * lane) * kBytes; };
  const auto place = [&](int j) { return place_of(byte_at(j)); };
  const auto inside = [&](int j) { return byte_at(j) < end; };
  if constexpr (kCodes) {
    using Code = std::conditional_t<kPrecision == Precision::int8, i8, e4m3>;
    float largest = 0.0f;
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      largest = larger_size(larger_size(largest, values.v[j][0]), values.v[j][1]);
    }
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2) {
      largest = larger_size(largest, __shfl_xor_sync(kAllLanes, largest, step));
    }
    const RowScale<Code> scale(largest);
    const auto byte_of = [&](float v) {
      return static_cast<u32>(std::bit_cast<u8>(scale.code(v)));
    };
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      if (!inside(j)) continue;
      *reinterpret_cast<u16*>(place(j)) =
          static_cast<u16>(byte_of(values.v[j][0]) | byte_of(values.v[j][1]) << 8);
    }
    if (lane == 0) *row_scale = scale.scale;
  } else {
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      if (!inside(j)) continue;
      const float a = values.v[j][0], b = values.v[j][1];
      if constexpr (kPrecision == Precision::bf16) {
        *reinterpret_cast<u32*>(place(j)) = pack_bf16(a, b);
      } else if constexpr (kPrecision == Precision::tf32) {
        *reinterpret_cast<uint2*>(place(j)) = make_uint2(to_tf32(a), to_tf32(b));
      } else {
        *reinterpret_cast<float2*>(place(j)) = make_float2(a, b);
      }
    }
  }
}

// Rows [first_row, first_row + row_count) of x, kRows at a time per warp, each handed to
// put(row - first_row, its values). Rows beyond x count as zeros: what they give is never stored.
template <int kWarps, int kPairs, int kRows, typename Put>
__device__ void prepare_rows_of(const Product& p, i64 first_row, int row_count, const Put& put) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int count = p.inputs;
#pragma unroll 1
  for (int begin = warp * kRows; begin < row_count; begin += kWarps * kRows) {
    LaneValues<kPairs> rows[kRows];
    // with several rows in flight all that is read is asked for before the first sum
    constexpr bool kAhead = kRows > 1;
    LaneValues<kPairs> shift[kAhead ? kRows : 1], scale[kAhead ? kRows : 1];
    const auto load = [&](const float* from, i64 stride, int r, LaneValues<kPairs>& to) {
      const i64 row = first_row + begin + r;
      const bool there = row < p.rows;
      load_lane_values(there ? from + row * stride : from, there ? count : 0, p.x_aligned, lane,
                       to);
    };
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      load(reinterpret_cast<const float*>(p.x), p.x_stride / 4, r, rows[r]);
      if (kAhead && p.shift != nullptr) {
        load(p.shift, p.shift_stride, r, shift[r]);
        load(p.scale, p.scale_stride, r, scale[r]);
      }
    }
    if (p.shift != nullptr) {
      normalise(rows, count, p.bare_eps, lane);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if constexpr (!kAhead) {
          load(p.shift, p.shift_stride, r, shift[0]);
          load(p.scale, p.scale_stride, r, scale[0]);
        }
        const int at = kAhead ? r : 0;
#pragma unroll
        for (int j = 0; j < kPairs; ++j) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            rows[r].v[j][e] = fmaf(rows[r].v[j][e], 1.0f + scale[at].v[j][e], shift[at].v[j][e]);
          }
        }
      }
    }
    if (p.gain != nullptr) {
      normalise(rows, count, p.eps, lane);
#pragma unroll
      for (int j = 0; j < kPairs; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int k = 64 * j + 2 * lane + e;
          const float gain = k < count ? p.gain[k] : 0.0f;
          const float bias = k < count ? p.norm_bias[k] : 0.0f;
#pragma unroll
          for (int r = 0; r < kRows; ++r) rows[r].v[j][e] = fmaf(rows[r].v[j][e], gain, bias);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) put(begin + r, rows[r]);
  }
}

// LeWM's rows of 192 kRows at a time, longer ones one by one
template <int kWarps, int kRows, typename Put>
__device__ void prepare_rows(const Product& p, i64 first_row, int row_count, const Put& put) {
  if (p.inputs <= 192) {
    prepare_rows_of<kWarps, 3, kRows>(p, first_row, row_count, put);
  } else {
    prepare_rows_of<kWarps, static_cast<int>(kLongestKept) / 64, 1>(p, first_row, row_count, put);
  }
}

// the rows of a block's tile, to shared memory
template <Precision kPrecision, int kTile>
__device__ void keep_rows(const Product& p, i64 first_row, std::byte* x, float* row_scales) {
  constexpr ProductTile kShape = kProductTiles[kTile];
  constexpr int kWarps = kShape.threads() / kWarp;
  // 19 registers a row; where several blocks share a multiprocessor two rows are what fits
  constexpr int kRows = kShape.threads() * kShape.blocks < 512 ? 4 : 2;
  static_assert(kShape.rows % (kWarps * kRows) == 0);
  constexpr int kPlaneBytes = kShape.rows * kChunkBytes;
  constexpr bool kWholeChunks = kShape.warpgroups;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  prepare_rows<kWarps, kRows>(p, first_row, kShape.rows, [&](int row, const auto& values) {
    const auto place = [&](int byte) {
      return x + byte / kChunkBytes * kPlaneBytes + chunk_place(row, byte % kChunkBytes, row);
    };
    put_row<kPrecision>(values, p.inputs, lane, 32, place, row_scales + row);
    if constexpr (kWholeChunks) {
      // these multiply whole chunks: zeros to the end of the last one, which may hold anything
      constexpr int kBytes = static_cast<int>(value_bytes(kPrecision));
      const int end = (p.inputs * kBytes + 31) / 32 * 32;
      const int byte = end + 4 * lane;
      if (byte < (end + kChunkBytes - 1) / kChunkBytes * kChunkBytes) {
        *reinterpret_cast<u32*>(place(byte)) = 0;
      }
    }
  });
}

}  // namespace orrery::cuda
