#pragma once

// One pixel of a packed frame as three bytes, in integers: the same on host and device.

#include "base/host_device.h"
#include "ops/packed_image.h"
#include "ops/resize_taps.h"

namespace orrery {

// factors with 16 bits behind the point
struct YuvFactors {
  i32 black = 0;
  i32 luma = 0, red_cr = 0, green_cr = 0, green_cb = 0, blue_cb = 0;
};
YuvFactors yuv_factors(YuvMatrix matrix, YuvRange range);

// What a kernel needs of a call. The tables are empty where frames are not resized.
struct PackedPass {
  PackedImages images;
  YuvFactors factors;
  Taps rows, columns;
  i64 patch = 0;
  PatchValues values = PatchValues::bytes;
  i64 grid_w = 0;

  bool resizes() const { return images.resized_height != 0; }
  i64 height() const { return resizes() ? images.resized_height : images.height; }
  i64 width() const { return resizes() ? images.resized_width : images.width; }
};

struct Pixel {
  u8 v[3];  // red, green, blue
};

// sum = value << 19: 16 bits behind the point, and chroma counts in eighths
ORRERY_HD inline u8 byte_of(i32 sum) {
  const i32 value = (sum + (1 << 18)) >> 19;
  return static_cast<u8>(value < 0 ? 0 : value > 255 ? 255 : value);
}

ORRERY_HD inline Pixel nv12_pixel(const PackedImages& images, const YuvFactors& factors, i64 n,
                                  i64 y, i64 x) {
  const PixelPlane& plane = images.chroma;
  const u8* chroma = plane.data + n * plane.image_pitch;
  const i64 row = y / 2, column = x / 2;

  // cb and cr in eighths: 3 of this row and 1 of the nearer neighbour, times 2 of this column or 1
  // of each of two
  i32 cb = 0, cr = 0;
  const auto add = [&](i64 i, i64 j, i32 weight) {
    const u8* pair = chroma + i * plane.pitch + 2 * j;
    cb += weight * (pair[0] - 128);
    cr += weight * (pair[1] - 128);
  };
  if (images.chroma_filter == ChromaFilter::nearest) {
    add(row, column, 8);
  } else {
    const i64 last_row = (images.height + 1) / 2 - 1, last_column = (images.width + 1) / 2 - 1;
    const i64 beside = y % 2 == 0 ? row - 1 : row + 1;
    const i64 other_row = beside < 0 ? 0 : beside > last_row ? last_row : beside;
    const i64 next = x % 2 == 0 ? column : column + 1;
    const i64 other_column = next > last_column ? last_column : next;
    add(row, column, 3);
    add(row, other_column, 3);
    add(other_row, column, 1);
    add(other_row, other_column, 1);
  }
  const i32 luma = images.pixels.data[n * images.pixels.image_pitch + y * images.pixels.pitch + x];
  const i32 grey = 8 * factors.luma * (luma - factors.black);
  return {{byte_of(grey + factors.red_cr * cr),
           byte_of(grey + factors.green_cr * cr + factors.green_cb * cb),
           byte_of(grey + factors.blue_cb * cb)}};
}

ORRERY_HD inline Pixel pixel_of(const PackedImages& images, const YuvFactors& factors, i64 n, i64 y,
                                i64 x) {
  if (images.format == PixelFormat::nv12) return nv12_pixel(images, factors, n, y, x);
  const u8* from =
      images.pixels.data + n * images.pixels.image_pitch + y * images.pixels.pitch + 3 * x;
  if (images.format == PixelFormat::bgr) return {{from[2], from[1], from[0]}};
  return {{from[0], from[1], from[2]}};
}

// a value of the scale of bytes for each channel
struct PixelValues {
  float v[3];
};

// sum + weight * value, rounded twice on both sides
ORRERY_HD inline float plus_product(float sum, float weight, float value) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(sum, __fmul_rn(weight, value));
#else
  return sum + weight * value;
#endif
}

// pixel (y, x) of frame n as the model takes it: as it is, or out of the resizing filter, a row of
// inputs at a time, so that the order of sums is resize_antialias's
ORRERY_HD inline PixelValues values_at(const PackedPass& pass, i64 n, i64 y, i64 x) {
  if (pass.rows.width == 0) {
    const Pixel pixel = pixel_of(pass.images, pass.factors, n, y, x);
    return {{static_cast<float>(pixel.v[0]), static_cast<float>(pixel.v[1]),
             static_cast<float>(pixel.v[2])}};
  }
  PixelValues result = {{0, 0, 0}};
  for (i64 j = 0; j < pass.rows.width; ++j) {
    PixelValues line = {{0, 0, 0}};
    for (i64 i = 0; i < pass.columns.width; ++i) {
      const Pixel pixel =
          pixel_of(pass.images, pass.factors, n, pass.rows.first[y] + j, pass.columns.first[x] + i);
      const float weight = pass.columns.weights[x * pass.columns.width + i];
      for (int c = 0; c < 3; ++c) {
        line.v[c] = plus_product(line.v[c], weight, static_cast<float>(pixel.v[c]));
      }
    }
    const float weight = pass.rows.weights[y * pass.rows.width + j];
    for (int c = 0; c < 3; ++c) result.v[c] = plus_product(result.v[c], weight, line.v[c]);
  }
  return result;
}

}  // namespace orrery
