#pragma once

#include "device/context.h"
#include "tensor/view.h"

namespace orrery {

// ImageNet statistics, RGB, as torchvision has them.
inline constexpr float kImageMean[3] = {0.485f, 0.456f, 0.406f};
inline constexpr float kImageStd[3] = {0.229f, 0.224f, 0.225f};

// out[n, c, y, x] = (float(bytes[n, y, x, c]) * float32(1/255) - mean_c) / std_c, each step rounded
// to f32
//
// exact: equals torchvision's conversion and normalisation bit for bit
void normalize_images(Context& ctx, View<const u8, 4> bytes, View<float, 4> out);

// Antialiased bilinear resize of planes [n, c, h, w] -> [n, c, height, width] (Pillow's and
// torchvision's triangle filter, horizontal pass first).
//
// exact between our backends: taps in double, products and sums rounded to f32 one by one. To the
// exact values 2e-6; torch itself is 2e-5 off
void resize_antialias(Context& ctx, View<const float, 4> in, View<float, 4> out);

// Rows of non-overlapping patches, ready for the patch embedding matrix:
//   out[n, gy * grid_w + gx, (c * patch + py) * patch + px] = in[n, c, gy * patch + py, gx * patch
//   + px]
//
//   in    [n, channels, h, w]; grid sizes are h / patch and w / patch rounded down, the rest of the
//   image is not used out   [n, grid_h * grid_w, channels * patch * patch]
// exact
void patch_rows(Context& ctx, View<const float, 4> in, i64 patch, View<float, 3> out);

// normalize_images and patch_rows in one pass, without the f32 image between. exact, equal to the
// two
void patch_rows_from_bytes(Context& ctx, View<const u8, 4> bytes, i64 patch, View<float, 3> out);

// Bicubic resampling of a grid of vectors [h, w, dim] -> [out_h, out_w, dim] as PyTorch's
// interpolate does it: a = -0.75, align_corners false, no antialias, indices clamped at the border,
// scale = in / out. tolerant: 2e-6 for values of unit size
void bicubic_grid(Context& ctx, View<const float, 3> in, View<float, 3> out);

}  // namespace orrery
