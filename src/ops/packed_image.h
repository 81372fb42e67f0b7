#pragma once

#include "base/bf16.h"
#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// How a pixel's bytes lie.
enum class PixelFormat {
  rgb,   // three bytes beside each other
  bgr,   // three, blue first: what OpenCV and many cameras give
  nv12,  // a plane of luma, and one of (cb, cr) pairs for every 2 x 2 pixels: what video decoders
         // give
};

// Which luma the three primaries make: red and blue's shares are 0.299 and 0.114, or 0.2126 and
// 0.0722.
enum class YuvMatrix { bt601, bt709 };
// Black and white are luma 16 and 235 with chroma 16 .. 240, or 0 and 255 with chroma 0 .. 255.
enum class YuvRange { limited, full };
// Between chroma samples: the one whose 2 x 2 pixels these are, or bilinear, each sample lying at
// the left of its four pixels and vertically between them (MPEG-2's and H.264's siting), the last
// ones repeated beyond the border.
enum class ChromaFilter { nearest, bilinear };

// Rows of bytes, `pitch` bytes from one to the next, `image_pitch` bytes from one image to the
// next.
struct PixelPlane {
  const u8* data = nullptr;
  i64 pitch = 0;
  i64 image_pitch = 0;
};

// Frames as cameras and decoders leave them, where the context's operations run.
struct PackedImages {
  PixelFormat format = PixelFormat::rgb;
  i64 count = 0, height = 0, width = 0;
  PixelPlane pixels;  // rgb and bgr, or luma
  PixelPlane chroma;  // nv12: rows of (cb, cr), (height + 1) / 2 rows of (width + 1) / 2 pairs
  YuvMatrix matrix = YuvMatrix::bt601;
  YuvRange range = YuvRange::limited;
  ChromaFilter chroma_filter = ChromaFilter::bilinear;
  // The size that the model takes, when it is another: frames are resized on the way, as
  // resize_antialias does it. 0: as they are.
  i64 resized_height = 0, resized_width = 0;
};

// RGB frames [n, h, w, 3] without gaps between pixels
PackedImages packed_images(View<const u8, 4> rgb);

// What patch rows hold: bytes as they are, 0 .. 255, which bf16 holds exactly (see
// fold_normalization), or normalised as normalize_images does it.
enum class PatchValues { bytes, normalized };

// Patch rows, laid out as patch_rows does it, straight from frames: no image of floats is made.
//
//   out[n, gy * grid_w + gx, (c * patch + py) * patch + px] = channel c (red first) of pixel
//   (gy * patch + py, gx * patch + px)
//
// A pixel of nv12 is first made three bytes. With y = luma - 16 and gains 255/219 and 255/224
// (limited), or y = luma and gains 1 (full), and shares r, b of the matrix, g = 1 - r - b:
//   red   = gain_y y + gain_c 2 (1 - r) (cr - 128)
//   blue  = gain_y y + gain_c 2 (1 - b) (cb - 128)
//   green = gain_y y - gain_c 2 ((1 - r) r (cr - 128) + (1 - b) b (cb - 128)) / g
// in integers with factors to 16 bits behind the point, rounded to nearest (half up), clamped.
// source: ITU-R BT.601-7, BT.709-6
//
//   out   [count, grid_h * grid_w, 3 * patch * patch], contiguous patches; grid sizes are height /
//         patch and width / patch rounded down, of the resized frame where one is asked for
//
// exact: the same bits on every backend; from bytes within 0.51 of the formulas above
void patch_rows_from_packed(Context& ctx, const PackedImages& images, i64 patch, PatchValues values,
                            View<float, 3> out);
void patch_rows_from_packed(Context& ctx, const PackedImages& images, i64 patch, PatchValues values,
                            View<bf16, 3> out);

// A patch embedding for normalised values, made one for bytes:
//   folded_weight[o, i] = weight[o, i] / (255 std_c)
//   folded_bias[o]      = bias[o] - sum_i weight[o, i] mean_c / std_c      c the channel of input i
//
//   weight, folded_weight   [outputs, inputs], inputs = 3 * patch * patch; the host's memory
//   bias, folded_bias       [outputs]; the folded ones may be the given ones
//
// in double, rounded once
void fold_normalization(View<const float, 2> weight, View<const float, 1> bias,
                        View<float, 2> folded_weight, View<float, 1> folded_bias);

}  // namespace orrery
