#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/types.h"
#include "tensor/view.h"

namespace orrery {

// Resizes pictures as Pillow's Image.resize(size, BILINEAR) does, byte for byte: a triangle filter
// that widens when the picture shrinks (so it averages), weights rounded to 22 bits behind the
// point, horizontally first and rounded to bytes, then vertically; a direction that keeps its size
// is left alone. exact
//
// Compared with Pillow 11.3 at any sizes. Pillow 13 goes vertically first for some sizes whose
// height shrinks more than their width, which moves bytes by one; squares to squares are the same.
//
// A plan holds the weights of one pair of sizes, computed once; it may be used by many threads.
struct ResizePlan {
  // One direction: output i is the rounded sum of `taps` weights times inputs from first[i] on.
  struct Axis {
    i64 in = 0;
    i64 out = 0;
    i64 taps = 0;              // the same for every output: missing ones have weight 0
    std::vector<i32> first;    // [out]; first + taps may reach beyond `in` where weights are 0
    std::vector<i32> weights;  // [out, taps], in units of 2^-22
    std::vector<i32> spread;   // the weights, each four times: one for each byte of a padded pixel
  };
  Axis horizontal;
  Axis vertical;
  bool wide = false;  // the machine has AVX2; false gives the same bytes on any machine

  std::size_t scratch_bytes() const;
};

// sizes from 1 to 16384
ResizePlan make_resize_plan(i64 in_height, i64 in_width, i64 out_height, i64 out_width);

//   in       [in_height, in_width, 3], out [out_height, out_width, 3]: rows of packed pixels
//   scratch  at least plan.scratch_bytes(); nothing is allocated
//
// out must not overlap in. 224 to 64 a side takes 52 us on one core with AVX2, 210 without.
void resize_bilinear_u8(const ResizePlan& plan, View<const u8, 3> in, View<u8, 3> out,
                        std::span<std::byte> scratch);

// The same for one picture, with a plan and memory of its own. out [out_height, out_width, 3]
std::vector<u8> resize_bilinear_u8(View<const u8, 3> in, i64 out_height, i64 out_width);

}  // namespace orrery
