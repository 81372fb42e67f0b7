#include "ops/image_device.h"
#include "ops/packed_pixel.h"

namespace orrery::cuda {

namespace {

constexpr int kThreads = 256;

// Memory-bound without resizing: reads each byte once (chroma from the cache after its first
// pixel), writes each value once. A thread has one pixel of a patch, three values; neighbours read
// and write neighbours. With resizing it reads as many pixels as the filter covers, from the cache.
template <typename T>
__global__ void packed_kernel(PackedPass pass, View<T, 3> out) {
  const i64 index = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
  const i64 patch = pass.patch, plane = patch * patch, patches = out.size(1);
  if (index >= out.size(0) * patches * plane) return;
  const i64 place = index % plane, row = index / plane;
  const i64 p = row % patches, n = row / patches;
  const i64 y = p / pass.grid_w * patch + place / patch,
            x = p % pass.grid_w * patch + place % patch;
  const PixelValues pixel = values_at(pass, n, y, x);
  T* to = out.data() + n * out.stride(0) + p * out.size(2) + place;
  for (int c = 0; c < 3; ++c) {
    const float value = pixel.v[c];
    to[c * plane] = T(pass.values == PatchValues::bytes ? value : normalized(value, c));
  }
}

template <typename T>
void make_patch_rows(Context& ctx, PackedPass& pass, View<T, 3> out) {
  const PackedImages& images = pass.images;
  if (pass.resizes()) {
    const std::size_t row_bytes = tap_bytes(images.height, pass.height());
    std::byte* memory = ctx.shared_scratch(row_bytes + tap_bytes(images.width, pass.width()));
    pass.rows = make_taps(ctx, images.height, pass.height(), memory);
    pass.columns = make_taps(ctx, images.width, pass.width(), memory + row_bytes);
  }
  launch(ctx,
         {"patch_rows_from_packed", dim3(blocks_for(out.numel() / 3, kThreads)), dim3(kThreads)},
         packed_kernel<T>, pass, out);
}

}  // namespace

void patch_rows_from_packed(Context& ctx, PackedPass pass, View<float, 3> out) {
  make_patch_rows(ctx, pass, out);
}
void patch_rows_from_packed(Context& ctx, PackedPass pass, View<bf16, 3> out) {
  make_patch_rows(ctx, pass, out);
}

}  // namespace orrery::cuda
