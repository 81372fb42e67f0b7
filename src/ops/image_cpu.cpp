// Pictures are prepared once per frame, so these are plain loops: table look-ups, copies, and sums
// short enough for the compiler. No instruction set is chosen here.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "ops/image.h"
#include "ops/image_ref.h"
#include "ops/resize_taps.h"

namespace orrery::cpu {

namespace {

// the 256 values each channel can take
const std::array<std::array<float, 256>, 3>& normalized_bytes() {
  static const auto table = [] {
    std::array<std::array<float, 256>, 3> values;
    for (std::size_t c = 0; c < 3; ++c) {
      for (std::size_t byte = 0; byte < 256; ++byte) {
        values[c][byte] = normalized_byte(static_cast<u8>(byte), static_cast<i64>(c));
      }
    }
    return values;
  }();
  return table;
}

}  // namespace

void normalize_images(Context& ctx, View<const u8, 4> bytes, View<float, 4> out) {
  const auto& table = normalized_bytes();
  const i64 height = bytes.size(1);
  ctx.parallel_ranges(bytes.size(0) * height, 32, [&](i64 begin, i64 end, int) {
    for (i64 row = begin; row < end; ++row) {
      const auto from = bytes[row / height][row % height];
      for (i64 c = 0; c < 3; ++c) {
        const auto to = out[row / height][c][row % height];
        for (i64 x = 0; x < from.size(0); ++x)
          to(x) = table[static_cast<std::size_t>(c)][from(x, c)];
      }
    }
  });
}

void resize_antialias(Context& ctx, View<const float, 4> in, View<float, 4> out) {
  const i64 planes = in.size(0) * in.size(1);
  const i64 in_h = in.size(2), in_w = in.size(3), out_h = out.size(2), out_w = out.size(3);

  // scratch: both sets of taps, then [planes, in_h, out_w] between the passes
  const std::size_t col_bytes = tap_bytes(in_w, out_w);
  const std::size_t row_bytes = tap_bytes(in_h, out_h);
  const std::size_t between_bytes = static_cast<std::size_t>(planes * in_h * out_w) * sizeof(float);
  std::byte* memory = ctx.shared_scratch(col_bytes + row_bytes + between_bytes);
  const Taps cols = make_taps(in_w, out_w, memory);
  const Taps rows = make_taps(in_h, out_h, memory + col_bytes);
  auto* between = reinterpret_cast<float*>(memory + col_bytes + row_bytes);

  ctx.parallel_ranges(planes * in_h, 32, [&](i64 begin, i64 end, int) {
    for (i64 row = begin; row < end; ++row) {
      const float* from = in.data() + row * in_w;
      float* to = between + row * out_w;
      for (i64 x = 0; x < out_w; ++x) {
        float sum = 0;
        for (i64 k = 0; k < cols.width; ++k)
          sum += cols.weights[x * cols.width + k] * from[cols.first[x] + k];
        to[x] = sum;
      }
    }
  });
  ctx.parallel_ranges(planes * out_h, 32, [&](i64 begin, i64 end, int) {
    for (i64 row = begin; row < end; ++row) {
      const i64 y = row % out_h;
      const float* from = between + (row / out_h * in_h + rows.first[y]) * out_w;
      float* to = out.data() + row * out_w;
      std::fill_n(to, out_w, 0.0f);
      for (i64 k = 0; k < rows.width; ++k) {
        const float weight = rows.weights[y * rows.width + k];
        for (i64 x = 0; x < out_w; ++x) to[x] += weight * from[k * out_w + x];
      }
    }
  });
}

void patch_rows(Context& ctx, View<const float, 4> in, i64 patch, View<float, 3> out) {
  const i64 grid_w = in.size(3) / patch;
  const i64 per_image = out.size(1);
  ctx.parallel_ranges(in.size(0) * per_image, 16, [&](i64 begin, i64 end, int) {
    for (i64 index = begin; index < end; ++index) {
      const i64 n = index / per_image, p = index % per_image;
      const i64 top = p / grid_w * patch, left = p % grid_w * patch;
      float* to = out.data() + n * out.stride(0) + p * out.size(2);
      for (i64 c = 0; c < in.size(1); ++c) {
        for (i64 y = 0; y < patch; ++y, to += patch) {
          std::memcpy(to, &in(n, c, top + y, left),
                      static_cast<std::size_t>(patch) * sizeof(float));
        }
      }
    }
  });
}

void patch_rows_from_bytes(Context& ctx, View<const u8, 4> bytes, i64 patch, View<float, 3> out) {
  const auto& table = normalized_bytes();
  const i64 grid_w = bytes.size(2) / patch;
  const i64 per_image = out.size(1);
  const i64 plane = patch * patch;
  ctx.parallel_ranges(bytes.size(0) * per_image, 16, [&](i64 begin, i64 end, int) {
    for (i64 index = begin; index < end; ++index) {
      const i64 n = index / per_image, p = index % per_image;
      const i64 top = p / grid_w * patch, left = p % grid_w * patch;
      float* to = out.data() + n * out.stride(0) + p * out.size(2);
      for (i64 y = 0; y < patch; ++y, to += patch) {
        const u8* from = &bytes(n, top + y, left, 0);
        for (i64 x = 0; x < patch; ++x) {
          to[x] = table[0][from[3 * x]];
          to[plane + x] = table[1][from[3 * x + 1]];
          to[2 * plane + x] = table[2][from[3 * x + 2]];
        }
      }
    }
  });
}

void bicubic_grid(Context& ctx, View<const float, 3> in, View<float, 3> out) {
  const i64 height = in.size(0), width = in.size(1);
  const double scale_y = static_cast<double>(height) / static_cast<double>(out.size(0));
  const double scale_x = static_cast<double>(width) / static_cast<double>(out.size(1));
  ctx.parallel(out.size(0), [&](i64 y, int) {
    const double center_y = (static_cast<double>(y) + 0.5) * scale_y - 0.5;
    const double base_y = std::floor(center_y);
    for (i64 x = 0; x < out.size(1); ++x) {
      const double center_x = (static_cast<double>(x) + 0.5) * scale_x - 0.5;
      const double base_x = std::floor(center_x);
      float* to = &out(y, x, 0);
      std::fill_n(to, out.size(2), 0.0f);
      for (i64 j = -1; j <= 2; ++j) {
        const double weight_y = cubic_weight_ref(center_y - base_y - static_cast<double>(j));
        const i64 from_y = std::clamp<i64>(static_cast<i64>(base_y) + j, 0, height - 1);
        for (i64 i = -1; i <= 2; ++i) {
          const double weight_x = cubic_weight_ref(center_x - base_x - static_cast<double>(i));
          const i64 from_x = std::clamp<i64>(static_cast<i64>(base_x) + i, 0, width - 1);
          const float weight = static_cast<float>(weight_y * weight_x);
          const float* from = &in(from_y, from_x, 0);
          for (i64 d = 0; d < out.size(2); ++d) to[d] += weight * from[d];
        }
      }
    }
  });
}

}  // namespace orrery::cpu
