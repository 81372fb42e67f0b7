#include "ops/packed_image.h"

#include <cmath>

#include "ops/image.h"
#include "ops/packed_pixel.h"

namespace orrery {

namespace cpu {
void patch_rows_from_packed(Context& ctx, PackedPass pass, View<float, 3> out);
void patch_rows_from_packed(Context& ctx, PackedPass pass, View<bf16, 3> out);
}  // namespace cpu
namespace cuda {
void patch_rows_from_packed(Context& ctx, PackedPass pass, View<float, 3> out);
void patch_rows_from_packed(Context& ctx, PackedPass pass, View<bf16, 3> out);
}  // namespace cuda

namespace {

constexpr const char* kName = "patch_rows_from_packed";
// far above any camera, far below what could overflow
constexpr i64 kLargestSide = 1 << 20;

void check_plane(const char* what, const PixelPlane& plane, i64 count, i64 row_bytes) {
  check(plane.data != nullptr, kName, ": there is no ", what);
  check(plane.pitch >= row_bytes, kName, ": rows of ", what, " are ", plane.pitch,
        " bytes apart, a row has ", row_bytes);
  check(count <= 1 || plane.image_pitch >= 0, kName, ": images of ", what, " are ",
        plane.image_pitch, " bytes apart, at least 0 was needed");
}

// checks everything but the output's element type
template <typename T>
PackedPass checked_pass(const PackedImages& images, i64 patch, PatchValues values, View<T, 3> out) {
  check(images.height >= 1 && images.width >= 1 && images.height <= kLargestSide &&
            images.width <= kLargestSide,
        kName, ": frames are ", images.height, " x ", images.width, ", 1 to ", kLargestSide,
        " a side was needed");
  check((images.resized_height == 0 && images.resized_width == 0) ||
            (images.resized_height >= 1 && images.resized_width >= 1 &&
             images.resized_height <= kLargestSide && images.resized_width <= kLargestSide),
        kName, ": a size of ", images.resized_height, " x ", images.resized_width,
        " was asked for, 1 to ", kLargestSide, " a side, or 0 for both, was needed");
  check(patch >= 1 && patch <= kLargestSide, kName, ": patch is ", patch, ", 1 to ", kLargestSide,
        " was needed");
  PackedPass pass = {.images = images, .patch = patch, .values = values};
  // a resizing to the same size is none
  if (images.resized_height == images.height && images.resized_width == images.width) {
    pass.images.resized_height = pass.images.resized_width = 0;
  }
  pass.grid_w = pass.width() / patch;
  const Shape needed = {images.count, (pass.height() / patch) * pass.grid_w, 3 * patch * patch};
  check(out.shape() == needed && (images.count == 0 || out[0].contiguous()), kName, ": out is ",
        out.shape(), ", contiguous ", needed, " was needed for ", images.count, " frames of ",
        pass.height(), " x ", pass.width(), " in patches of ", patch);
  if (images.count == 0) return pass;
  if (images.format == PixelFormat::nv12) {
    check_plane("luma", images.pixels, images.count, images.width);
    check_plane("chroma", images.chroma, images.count, (images.width + 1) / 2 * 2);
    pass.factors = yuv_factors(images.matrix, images.range);
  } else {
    check_plane("pixels", images.pixels, images.count, 3 * images.width);
  }
  return pass;
}

}  // namespace

YuvFactors yuv_factors(YuvMatrix matrix, YuvRange range) {
  const double red = matrix == YuvMatrix::bt601 ? 0.299 : 0.2126;
  const double blue = matrix == YuvMatrix::bt601 ? 0.114 : 0.0722;
  const double green = 1 - red - blue;
  const bool limited = range == YuvRange::limited;
  const double gain_y = limited ? 255.0 / 219.0 : 1.0;
  const double gain_c = limited ? 255.0 / 224.0 : 1.0;
  const auto fixed = [](double value) { return static_cast<i32>(std::lround(value * 65536)); };
  YuvFactors factors;
  factors.black = limited ? 16 : 0;
  factors.luma = fixed(gain_y);
  factors.red_cr = fixed(gain_c * 2 * (1 - red));
  factors.green_cr = fixed(-gain_c * 2 * (1 - red) * red / green);
  factors.green_cb = fixed(-gain_c * 2 * (1 - blue) * blue / green);
  factors.blue_cb = fixed(gain_c * 2 * (1 - blue));
  return factors;
}

PackedImages packed_images(View<const u8, 4> rgb) {
  check(rgb.size(3) == 3 && rgb.stride(3) == 1 && rgb.stride(2) == 3, "packed_images: frames are ",
        rgb.shape(), ", [n, h, w, 3] with pixels beside each other was needed");
  return {.format = PixelFormat::rgb,
          .count = rgb.size(0),
          .height = rgb.size(1),
          .width = rgb.size(2),
          .pixels = {rgb.data(), rgb.stride(1), rgb.stride(0)}};
}

void patch_rows_from_packed(Context& ctx, const PackedImages& images, i64 patch, PatchValues values,
                            View<float, 3> out) {
  const PackedPass pass = checked_pass(images, patch, values, out);
  if (out.numel() == 0) return;
  ORRERY_ON_DEVICE(ctx, patch_rows_from_packed, pass, out);
}

void patch_rows_from_packed(Context& ctx, const PackedImages& images, i64 patch, PatchValues values,
                            View<bf16, 3> out) {
  const PackedPass pass = checked_pass(images, patch, values, out);
  if (out.numel() == 0) return;
  ORRERY_ON_DEVICE(ctx, patch_rows_from_packed, pass, out);
}

void fold_normalization(View<const float, 2> weight, View<const float, 1> bias,
                        View<float, 2> folded_weight, View<float, 1> folded_bias) {
  const i64 outputs = weight.size(0), inputs = weight.size(1);
  check(inputs % 3 == 0, "fold_normalization: weight is ", weight.shape(),
        ", inputs of three channels were needed");
  check(bias.size(0) == outputs && folded_bias.size(0) == outputs &&
            folded_weight.sizes() == weight.sizes(),
        "fold_normalization: weight is ", weight.shape(), ", bias ", bias.shape(),
        ", folded weight ", folded_weight.shape(), ", folded bias ", folded_bias.shape());
  const i64 plane = inputs / 3;
  for (i64 o = 0; o < outputs; ++o) {
    double offset = static_cast<double>(bias(o));
    for (i64 i = 0; i < inputs; ++i) {
      const i64 c = i / plane;
      const double share = static_cast<double>(weight(o, i)) / static_cast<double>(kImageStd[c]);
      offset -= share * static_cast<double>(kImageMean[c]);
      folded_weight(o, i) = static_cast<float>(share / 255.0);
    }
    folded_bias(o) = static_cast<float>(offset);
  }
}

}  // namespace orrery
