#include "ops/strided.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace orrery {

// plain loops: the compiler's own vectors do, these pass through memory once
namespace cpu {

namespace {

// about 64 KiB a task: far above the cost of handing one out
constexpr i64 kTaskFloats = 16384;

const float* row_of(View<const float, 3> view, i64 i, i64 j) {
  return view.data() + i * view.stride(0) + j * view.stride(1);
}

// body(i, j, to row) for every row
template <typename Body>
void for_each_row(Context& ctx, View<float, 3> to, const Body& body) {
  const i64 rows = to.size(0) * to.size(1);
  const i64 grain = std::max<i64>(1, kTaskFloats / std::max<i64>(1, to.size(2)));
  ctx.parallel_ranges(rows, grain, [&](i64 begin, i64 end, int) {
    for (i64 row = begin; row < end; ++row) {
      const i64 i = row / to.size(1), j = row % to.size(1);
      body(i, j, to.data() + i * to.stride(0) + j * to.stride(1));
    }
  });
}

}  // namespace

void copy(Context& ctx, View<const float, 3> from, View<float, 3> to) {
  const auto bytes = static_cast<std::size_t>(to.size(2)) * sizeof(float);
  for_each_row(ctx, to,
               [&](i64 i, i64 j, float* out) { std::memcpy(out, row_of(from, i, j), bytes); });
}

void copy_numbers(Context& ctx, View<const float, 3> from, View<float, 3> to) {
  const i64 width = to.size(2);
  for_each_row(ctx, to, [&](i64 i, i64 j, float* out) {
    const float* in = row_of(from, i, j);
    for (i64 k = 0; k < width; ++k) out[k] = std::isnan(in[k]) ? 0.0f : in[k];
  });
}

void add_to(Context& ctx, View<const float, 3> from, View<float, 3> to) {
  const i64 width = to.size(2);
  for_each_row(ctx, to, [&](i64 i, i64 j, float* out) {
    const float* in = row_of(from, i, j);
    for (i64 k = 0; k < width; ++k) out[k] += in[k];
  });
}

void add(Context& ctx, View<const float, 3> a, View<const float, 3> b, View<float, 3> to) {
  const i64 width = to.size(2);
  for_each_row(ctx, to, [&](i64 i, i64 j, float* out) {
    const float *left = row_of(a, i, j), *right = row_of(b, i, j);
    for (i64 k = 0; k < width; ++k) out[k] = left[k] + right[k];
  });
}

void fill(Context& ctx, float value, View<float, 1> to) {
  ctx.parallel_ranges(to.numel(), kTaskFloats, [&](i64 begin, i64 end, int) {
    std::fill(to.data() + begin, to.data() + end, value);
  });
}

}  // namespace cpu

namespace cuda {
void copy(Context& ctx, View<const float, 3> from, View<float, 3> to);
void copy_numbers(Context& ctx, View<const float, 3> from, View<float, 3> to);
void add_to(Context& ctx, View<const float, 3> from, View<float, 3> to);
void add(Context& ctx, View<const float, 3> a, View<const float, 3> b, View<float, 3> to);
void fill(Context& ctx, float value, View<float, 1> to);
}  // namespace cuda

namespace {

void check_pair(const char* name, View<const float, 3> from, View<float, 3> to) {
  check(from.sizes() == to.sizes(), name, ": from is ", from.shape(), ", to is ", to.shape());
  check(to.size(2) <= 1 || (from.stride(2) == 1 && to.stride(2) == 1), name,
        ": last dimensions must be contiguous");
}

}  // namespace

void copy(Context& ctx, View<const float, 3> from, View<float, 3> to) {
  check_pair("copy", from, to);
  ORRERY_ON_DEVICE(ctx, copy, from, to);
}

void copy_numbers(Context& ctx, View<const float, 3> from, View<float, 3> to) {
  check_pair("copy_numbers", from, to);
  ORRERY_ON_DEVICE(ctx, copy_numbers, from, to);
}

void add_to(Context& ctx, View<const float, 3> from, View<float, 3> to) {
  check_pair("add_to", from, to);
  ORRERY_ON_DEVICE(ctx, add_to, from, to);
}

void add(Context& ctx, View<const float, 3> a, View<const float, 3> b, View<float, 3> to) {
  check_pair("add", a, to);
  check_pair("add", b, to);
  ORRERY_ON_DEVICE(ctx, add, a, b, to);
}

void fill(Context& ctx, float value, View<float, 1> to) {
  check(to.contiguous(), "fill: the view must be contiguous");
  ORRERY_ON_DEVICE(ctx, fill, value, to);
}

}  // namespace orrery
