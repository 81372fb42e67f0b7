#include "ops/image.h"

namespace orrery {

namespace cpu {
void normalize_images(Context& ctx, View<const u8, 4> bytes, View<float, 4> out);
void resize_antialias(Context& ctx, View<const float, 4> in, View<float, 4> out);
void patch_rows(Context& ctx, View<const float, 4> in, i64 patch, View<float, 3> out);
void patch_rows_from_bytes(Context& ctx, View<const u8, 4> bytes, i64 patch, View<float, 3> out);
void bicubic_grid(Context& ctx, View<const float, 3> in, View<float, 3> out);
}  // namespace cpu
namespace cuda {
void normalize_images(Context& ctx, View<const u8, 4> bytes, View<float, 4> out);
void resize_antialias(Context& ctx, View<const float, 4> in, View<float, 4> out);
void patch_rows(Context& ctx, View<const float, 4> in, i64 patch, View<float, 3> out);
void patch_rows_from_bytes(Context& ctx, View<const u8, 4> bytes, i64 patch, View<float, 3> out);
void bicubic_grid(Context& ctx, View<const float, 3> in, View<float, 3> out);
}  // namespace cuda

namespace {

// out of the patches of n images of channels x height x width
void check_patches(const char* op, i64 n, i64 channels, i64 height, i64 width, i64 patch,
                   View<float, 3> out) {
  check(patch >= 1, op, ": patch is ", patch, ", at least 1 was needed");
  const Shape needed = {n, (height / patch) * (width / patch), channels * patch * patch};
  check(out.shape() == needed && (n == 0 || out[0].contiguous()), op, ": out is ", out.shape(),
        ", contiguous ", needed, " was needed for ", n, " images of ", height, " x ", width,
        " in patches of ", patch);
}

}  // namespace

void normalize_images(Context& ctx, View<const u8, 4> bytes, View<float, 4> out) {
  check(bytes.size(3) == 3, "normalize_images: bytes have ", bytes.size(3),
        " channels, 3 (RGB) were needed");
  const Shape needed = {bytes.size(0), 3, bytes.size(1), bytes.size(2)};
  check(out.shape() == needed, "normalize_images: out is ", out.shape(), ", ", needed,
        " was needed");
  ORRERY_ON_DEVICE(ctx, normalize_images, bytes, out);
}

void resize_antialias(Context& ctx, View<const float, 4> in, View<float, 4> out) {
  check(in.size(0) == out.size(0) && in.size(1) == out.size(1), "resize_antialias: in is ",
        in.shape(), ", out ", out.shape(), "; images and channels must agree");
  check(in.size(2) >= 1 && in.size(3) >= 1 && out.size(2) >= 1 && out.size(3) >= 1,
        "resize_antialias: an image has no pixels: in is ", in.shape(), ", out ", out.shape());
  check(in.contiguous() && out.contiguous(), "resize_antialias: contiguous images were needed");
  ORRERY_ON_DEVICE(ctx, resize_antialias, in, out);
}

void patch_rows(Context& ctx, View<const float, 4> in, i64 patch, View<float, 3> out) {
  check_patches("patch_rows", in.size(0), in.size(1), in.size(2), in.size(3), patch, out);
  check(in.stride(3) == 1, "patch_rows: contiguous rows of pixels were needed");
  ORRERY_ON_DEVICE(ctx, patch_rows, in, patch, out);
}

void patch_rows_from_bytes(Context& ctx, View<const u8, 4> bytes, i64 patch, View<float, 3> out) {
  check(bytes.size(3) == 3, "patch_rows_from_bytes: bytes have ", bytes.size(3),
        " channels, 3 (RGB) were needed");
  check(bytes.stride(3) == 1 && bytes.stride(2) == 3,
        "patch_rows_from_bytes: contiguous rows of pixels were needed");
  check_patches("patch_rows_from_bytes", bytes.size(0), 3, bytes.size(1), bytes.size(2), patch,
                out);
  ORRERY_ON_DEVICE(ctx, patch_rows_from_bytes, bytes, patch, out);
}

void bicubic_grid(Context& ctx, View<const float, 3> in, View<float, 3> out) {
  check(in.size(2) == out.size(2), "bicubic_grid: in has vectors of ", in.size(2), ", out of ",
        out.size(2));
  check(in.size(0) >= 1 && in.size(1) >= 1, "bicubic_grid: in is ", in.shape(),
        ", a grid with vectors was needed");
  check(in.stride(2) == 1 && out.stride(2) == 1, "bicubic_grid: contiguous vectors were needed");
  ORRERY_ON_DEVICE(ctx, bicubic_grid, in, out);
}

}  // namespace orrery
