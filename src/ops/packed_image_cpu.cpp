// Plain loops, like image_cpu.cpp: frames are prepared once each.
#include "ops/image_ref.h"
#include "ops/packed_pixel.h"

namespace orrery::cpu {

namespace {

template <typename T>
void make_patch_rows(Context& ctx, PackedPass& pass, View<T, 3> out) {
  const PackedImages& images = pass.images;
  if (pass.resizes()) {
    const std::size_t row_bytes = tap_bytes(images.height, pass.height());
    std::byte* memory = ctx.shared_scratch(row_bytes + tap_bytes(images.width, pass.width()));
    pass.rows = make_taps(images.height, pass.height(), memory);
    pass.columns = make_taps(images.width, pass.width(), memory + row_bytes);
  }
  const i64 patch = pass.patch, plane = patch * patch, per_image = out.size(1);
  ctx.parallel_ranges(out.size(0) * per_image, 16, [&](i64 begin, i64 end, int) {
    for (i64 index = begin; index < end; ++index) {
      const i64 n = index / per_image, p = index % per_image;
      const i64 top = p / pass.grid_w * patch, left = p % pass.grid_w * patch;
      T* to = out.data() + n * out.stride(0) + p * out.size(2);
      for (i64 place = 0; place < plane; ++place) {
        const PixelValues pixel = values_at(pass, n, top + place / patch, left + place % patch);
        for (i64 c = 0; c < 3; ++c) {
          const float value = pixel.v[c];
          to[c * plane + place] =
              T(pass.values == PatchValues::bytes ? value : normalized_value(value, c));
        }
      }
    }
  });
}

}  // namespace

void patch_rows_from_packed(Context& ctx, PackedPass pass, View<float, 3> out) {
  make_patch_rows(ctx, pass, out);
}
void patch_rows_from_packed(Context& ctx, PackedPass pass, View<bf16, 3> out) {
  make_patch_rows(ctx, pass, out);
}

}  // namespace orrery::cpu
