#include <algorithm>
#include <cstring>

#include "ops/cpu_path.h"
#include "ops/modulate.h"
#include "ops/pieces.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/modulate_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;

// Every operation here is on one row of `dim` values; memory-bound.
void ModulateRow(const float* x, const float* shift, const float* scale, float* y, i64 dim) {
  const D d;
  ForVectors(d, dim, [&](i64 i, auto part) HWY_ATTR {
    const auto factor = hn::Add(part.load(d, scale + i), hn::Set(d, 1.0f));
    part.store(hn::MulAdd(part.load(d, x + i), factor, part.load(d, shift + i)), d, y + i);
  });
}

void ModulateBackwardRow(const float* x, const float* scale, const float* dy, float* dx,
                         float* dshift, float* dscale, i64 dim) {
  const D d;
  ForVectors(d, dim, [&](i64 i, auto part) HWY_ATTR {
    const auto slope = part.load(d, dy + i);
    const auto input = part.load(d, x + i);
    const auto factor = hn::Add(part.load(d, scale + i), hn::Set(d, 1.0f));
    part.store(hn::Mul(slope, factor), d, dx + i);
    part.store(slope, d, dshift + i);
    part.store(hn::Mul(slope, input), d, dscale + i);
  });
}

void GatedAddRow(const float* x, const float* gate, const float* branch, float* y, i64 dim) {
  const D d;
  ForVectors(d, dim, [&](i64 i, auto part) HWY_ATTR {
    part.store(hn::MulAdd(part.load(d, gate + i), part.load(d, branch + i), part.load(d, x + i)), d,
               y + i);
  });
}

void GatedAddBackwardRow(const float* gate, const float* branch, const float* dy, float* dgate,
                         float* dbranch, i64 dim) {
  const D d;
  ForVectors(d, dim, [&](i64 i, auto part) HWY_ATTR {
    const auto slope = part.load(d, dy + i);
    const auto through_gate = hn::Mul(slope, part.load(d, branch + i));
    const auto through_branch = hn::Mul(slope, part.load(d, gate + i));
    part.store(through_gate, d, dgate + i);
    part.store(through_branch, d, dbranch + i);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery::cpu {

HWY_EXPORT(ModulateRow);
HWY_EXPORT(ModulateBackwardRow);
HWY_EXPORT(GatedAddRow);
HWY_EXPORT(GatedAddBackwardRow);

namespace {

// body(batch, token) for every row, about kValuesPerPiece values per task
template <typename Body>
void for_each_row(Context& ctx, View<const float, 3> like, const Body& body) {
  const i64 tokens = like.size(1);
  const i64 grain = std::max<i64>(1, kValuesPerPiece / std::max<i64>(1, like.size(2)));
  ctx.parallel_ranges(like.size(0) * tokens, grain, [&](i64 begin, i64 end, int) {
    for (i64 row = begin; row < end; ++row) body(row / tokens, row % tokens);
  });
}

template <typename T>
T* row_of(View<T, 3> view, i64 b, i64 t) {
  return view.data() + b * view.stride(0) + t * view.stride(1);
}

}  // namespace

void modulate(Context& ctx, View<const float, 3> x, View<const float, 3> shift,
              View<const float, 3> scale, View<float, 3> y) {
  const auto kernel = ORRERY_KERNEL(ModulateRow);
  for_each_row(ctx, x, [&](i64 b, i64 t) {
    kernel(row_of(x, b, t), row_of(shift, b, t), row_of(scale, b, t), row_of(y, b, t), x.size(2));
  });
}

void modulate_backward(Context& ctx, View<const float, 3> x, View<const float, 3> scale,
                       View<const float, 3> dy, View<float, 3> dx, View<float, 3> dshift,
                       View<float, 3> dscale) {
  const auto kernel = ORRERY_KERNEL(ModulateBackwardRow);
  for_each_row(ctx, x, [&](i64 b, i64 t) {
    kernel(row_of(x, b, t), row_of(scale, b, t), row_of(dy, b, t), row_of(dx, b, t),
           row_of(dshift, b, t), row_of(dscale, b, t), x.size(2));
  });
}

void gated_add(Context& ctx, View<const float, 3> x, View<const float, 3> gate,
               View<const float, 3> branch, View<float, 3> y) {
  const auto kernel = ORRERY_KERNEL(GatedAddRow);
  for_each_row(ctx, x, [&](i64 b, i64 t) {
    kernel(row_of(x, b, t), row_of(gate, b, t), row_of(branch, b, t), row_of(y, b, t), x.size(2));
  });
}

void gated_add_backward(Context& ctx, View<const float, 3> gate, View<const float, 3> branch,
                        View<const float, 3> dy, View<float, 3> dgate, View<float, 3> dbranch) {
  const auto kernel = ORRERY_KERNEL(GatedAddBackwardRow);
  for_each_row(ctx, gate, [&](i64 b, i64 t) {
    kernel(row_of(gate, b, t), row_of(branch, b, t), row_of(dy, b, t), row_of(dgate, b, t),
           row_of(dbranch, b, t), gate.size(2));
  });
}

}  // namespace orrery::cpu
#endif  // HWY_ONCE
