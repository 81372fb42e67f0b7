#include "ops/quantize_rows.h"

#include "base/error.h"
#include "ops/row_codes.h"

namespace orrery {

namespace cpu {
template <typename In, typename Code>
void quantize_rows(Context& ctx, View<const In, 2> x, View<Code, 2> codes, View<float, 1> scales) {
  ctx.parallel(x.size(0), [&](i64 r, int) {
    float largest = 0.0f;
    for (i64 i = 0; i < x.size(1); ++i) largest = larger_size(largest, static_cast<float>(x(r, i)));
    const RowScale<Code> row(largest);
    for (i64 i = 0; i < x.size(1); ++i) codes(r, i) = row.code(static_cast<float>(x(r, i)));
    scales(r) = row.scale;
  });
}
}  // namespace cpu

namespace cuda {
template <typename In, typename Code>
void quantize_rows(Context& ctx, View<const In, 2> x, View<Code, 2> codes, View<float, 1> scales);
}

namespace {

template <typename In, typename Code>
void checked(Context& ctx, View<const In, 2> x, View<Code, 2> codes, View<float, 1> scales) {
  check(codes.sizes() == x.sizes(), "quantize_rows: codes are ", codes.shape(), ", x is ",
        x.shape());
  check(scales.size(0) == x.size(0) && scales.stride(0) == 1, "quantize_rows: scales are ",
        scales.shape(), ", x has ", x.size(0), " rows");
  check(x.stride(1) == 1 && codes.stride(1) == 1,
        "quantize_rows: last dimensions must be contiguous");
  if (x.size(0) == 0) return;
  ORRERY_ON_DEVICE(ctx, quantize_rows, x, codes, scales);
}

}  // namespace

void quantize_rows(Context& ctx, View<const float, 2> x, View<i8, 2> codes, View<float, 1> scales) {
  checked(ctx, x, codes, scales);
}
void quantize_rows(Context& ctx, View<const float, 2> x, View<e4m3, 2> codes,
                   View<float, 1> scales) {
  checked(ctx, x, codes, scales);
}
void quantize_rows(Context& ctx, View<const bf16, 2> x, View<i8, 2> codes, View<float, 1> scales) {
  checked(ctx, x, codes, scales);
}
void quantize_rows(Context& ctx, View<const bf16, 2> x, View<e4m3, 2> codes,
                   View<float, 1> scales) {
  checked(ctx, x, codes, scales);
}

}  // namespace orrery
