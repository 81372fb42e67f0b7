// Pictures are prepared once per frame, so these kernels are plain: one thread a pixel or a value,
// all bound by memory. Where the CPU rounds twice, so do they: both give the same bits.

#include "ops/image.h"

#include "device/cuda.h"
#include "ops/image_device.h"

namespace orrery::cuda {

namespace {

constexpr int kThreads = 256;

__device__ i64 thread_index() { return static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x; }

Launch one_thread_each(const char* name, i64 count) {
  return {name, dim3(blocks_for(count, kThreads)), dim3(kThreads)};
}

__global__ void normalize_kernel(View<const u8, 4> bytes, View<float, 4> out) {
  const i64 index = thread_index();
  const i64 height = bytes.size(1), width = bytes.size(2);
  if (index >= bytes.size(0) * height * width) return;
  const i64 x = index % width, row = index / width;
  const i64 y = row % height, n = row / height;
  for (int c = 0; c < 3; ++c) {
    out(n, c, y, x) = normalized(static_cast<float>(bytes(n, y, x, c)), c);
  }
}

__global__ void taps_kernel(Taps taps, i64 in, i64 out) {
  const i64 i = thread_index();
  if (i < out) fill_taps(taps, in, out, i);
}

// [rows, in_w] -> [rows, out_w]
__global__ void resize_rows_kernel(const float* in, i64 rows, i64 in_w, i64 out_w, Taps taps,
                                   float* out) {
  const i64 index = thread_index();
  if (index >= rows * out_w) return;
  const i64 row = index / out_w, x = index % out_w;
  const float* from = in + row * in_w + taps.first[x];
  float sum = 0;
  for (i64 k = 0; k < taps.width; ++k) {
    sum = __fadd_rn(sum, __fmul_rn(taps.weights[x * taps.width + k], from[k]));
  }
  out[index] = sum;
}

// [planes, in_h, width] -> [planes, out_h, width]
__global__ void resize_columns_kernel(const float* in, i64 planes, i64 in_h, i64 out_h, i64 width,
                                      Taps taps, float* out) {
  const i64 index = thread_index();
  if (index >= planes * out_h * width) return;
  const i64 row = index / width, x = index % width;
  const i64 plane = row / out_h, y = row % out_h;
  const float* from = in + (plane * in_h + taps.first[y]) * width + x;
  float sum = 0;
  for (i64 k = 0; k < taps.width; ++k) {
    sum = __fadd_rn(sum, __fmul_rn(taps.weights[y * taps.width + k], from[k * width]));
  }
  out[index] = sum;
}

// A thread has one value of a patch: neighbours write neighbours.
__global__ void patch_rows_kernel(View<const float, 4> in, i64 patch, View<float, 3> out) {
  const i64 index = thread_index();
  const i64 per_patch = out.size(2), patches = out.size(1);
  if (index >= out.size(0) * patches * per_patch) return;
  const i64 grid_w = in.size(3) / patch;
  const i64 place = index % per_patch, row = index / per_patch;
  const i64 p = row % patches, n = row / patches;
  const i64 px = place % patch, line = place / patch;
  const i64 py = line % patch, c = line / patch;
  out.data()[n * out.stride(0) + p * per_patch + place] =
      in(n, c, p / grid_w * patch + py, p % grid_w * patch + px);
}

// A thread has one pixel of a patch, three values: neighbours read and write neighbours.
__global__ void patch_rows_from_bytes_kernel(View<const u8, 4> bytes, i64 patch,
                                             View<float, 3> out) {
  const i64 index = thread_index();
  const i64 plane = patch * patch, patches = out.size(1);
  if (index >= out.size(0) * patches * plane) return;
  const i64 grid_w = bytes.size(2) / patch;
  const i64 place = index % plane, row = index / plane;
  const i64 p = row % patches, n = row / patches;
  const i64 y = p / grid_w * patch + place / patch, x = p % grid_w * patch + place % patch;
  const u8* from = bytes.data() + n * bytes.stride(0) + y * bytes.stride(1) + 3 * x;
  float* to = out.data() + n * out.stride(0) + p * out.size(2) + place;
  for (int c = 0; c < 3; ++c) to[c * plane] = normalized(static_cast<float>(from[c]), c);
}

// weight of an input at distance t: Keys' cubic with a = -0.75
__device__ double cubic_weight(double t) {
  constexpr double a = -0.75;
  t = fabs(t);
  if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  if (t < 2) return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a;
  return 0;
}

__global__ void bicubic_kernel(View<const float, 3> in, View<float, 3> out) {
  const i64 index = thread_index();
  const i64 dim = out.size(2), out_w = out.size(1);
  if (index >= out.size(0) * out_w * dim) return;
  const i64 d = index % dim, place = index / dim;
  const i64 y = place / out_w, x = place % out_w;
  const i64 height = in.size(0), width = in.size(1);
  const auto center = [](i64 at, i64 from, i64 to) {
    const double scale = static_cast<double>(from) / static_cast<double>(to);
    return (static_cast<double>(at) + 0.5) * scale - 0.5;
  };
  const auto inside = [](i64 at, i64 size) { return at < 0 ? 0 : at < size ? at : size - 1; };
  const double center_y = center(y, height, out.size(0)), center_x = center(x, width, out_w);
  const i64 base_y = static_cast<i64>(floor(center_y)), base_x = static_cast<i64>(floor(center_x));
  float sum = 0;
  for (i64 j = base_y - 1; j <= base_y + 2; ++j) {
    const double weight_y = cubic_weight(center_y - static_cast<double>(j));
    for (i64 i = base_x - 1; i <= base_x + 2; ++i) {
      const double weight_x = cubic_weight(center_x - static_cast<double>(i));
      const float value =
          in.data()[inside(j, height) * in.stride(0) + inside(i, width) * in.stride(1) + d];
      sum = fmaf(static_cast<float>(weight_y * weight_x), value, sum);
    }
  }
  out.data()[y * out.stride(0) + x * out.stride(1) + d] = sum;
}

}  // namespace

Taps make_taps(Context& ctx, i64 in, i64 out, std::byte* memory) {
  const Taps taps = taps_in(memory, in, out);
  launch(ctx, one_thread_each("resize taps", out), taps_kernel, taps, in, out);
  return taps;
}

void normalize_images(Context& ctx, View<const u8, 4> bytes, View<float, 4> out) {
  const i64 pixels = bytes.size(0) * bytes.size(1) * bytes.size(2);
  if (pixels == 0) return;
  launch(ctx, one_thread_each("normalize_images", pixels), normalize_kernel, bytes, out);
}

void resize_antialias(Context& ctx, View<const float, 4> in, View<float, 4> out) {
  const i64 planes = in.size(0) * in.size(1);
  const i64 in_h = in.size(2), in_w = in.size(3), out_h = out.size(2), out_w = out.size(3);
  if (planes == 0) return;

  // scratch: both tables, then [planes, in_h, out_w] between the passes
  const std::size_t col_bytes = tap_bytes(in_w, out_w), row_bytes = tap_bytes(in_h, out_h);
  std::byte* memory = ctx.shared_scratch(
      col_bytes + row_bytes + static_cast<std::size_t>(planes * in_h * out_w) * sizeof(float));
  const Taps cols = make_taps(ctx, in_w, out_w, memory);
  const Taps rows = make_taps(ctx, in_h, out_h, memory + col_bytes);
  auto* between = reinterpret_cast<float*>(memory + col_bytes + row_bytes);
  launch(ctx, one_thread_each("resize_antialias", planes * in_h * out_w), resize_rows_kernel,
         in.data(), planes * in_h, in_w, out_w, cols, between);
  launch(ctx, one_thread_each("resize_antialias", planes * out_h * out_w), resize_columns_kernel,
         between, planes, in_h, out_h, out_w, rows, out.data());
}

void patch_rows(Context& ctx, View<const float, 4> in, i64 patch, View<float, 3> out) {
  if (out.numel() == 0) return;
  launch(ctx, one_thread_each("patch_rows", out.numel()), patch_rows_kernel, in, patch, out);
}

void patch_rows_from_bytes(Context& ctx, View<const u8, 4> bytes, i64 patch, View<float, 3> out) {
  if (out.numel() == 0) return;
  launch(ctx, one_thread_each("patch_rows_from_bytes", out.numel() / 3),
         patch_rows_from_bytes_kernel, bytes, patch, out);
}

void bicubic_grid(Context& ctx, View<const float, 3> in, View<float, 3> out) {
  if (out.numel() == 0) return;
  launch(ctx, one_thread_each("bicubic_grid", out.numel()), bicubic_kernel, in, out);
}

}  // namespace orrery::cuda
