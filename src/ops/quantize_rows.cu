#include "device/cuda.h"
#include "ops/quantize_rows.h"
#include "ops/row_codes.h"

namespace orrery {

namespace {

constexpr int kThreads = 128;
constexpr int kWarp = 32;

// memory-bound: reads x twice, the second time from the cache, and writes a byte a value
// one warp a row
template <typename In, typename Code>
__global__ void quantize_rows_kernel(View<const In, 2> x, View<Code, 2> codes, float* scales) {
  const i64 r = static_cast<i64>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (r >= x.size(0)) return;  // the whole warp
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const In* from = x.data() + r * x.stride(0);
  float largest = 0.0f;
  for (i64 i = lane; i < x.size(1); i += kWarp) {
    largest = larger_size(largest, static_cast<float>(from[i]));
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    largest = larger_size(largest, __shfl_xor_sync(0xffffffffu, largest, step));
  }
  const RowScale<Code> row(largest);
  Code* to = codes.data() + r * codes.stride(0);
  for (i64 i = lane; i < x.size(1); i += kWarp) to[i] = row.code(static_cast<float>(from[i]));
  if (lane == 0) scales[r] = row.scale;
}

}  // namespace

namespace cuda {

template <typename In, typename Code>
void quantize_rows(Context& ctx, View<const In, 2> x, View<Code, 2> codes, View<float, 1> scales) {
  launch(ctx, {"quantize_rows", dim3(blocks_for(x.size(0), kThreads / kWarp)), dim3(kThreads)},
         quantize_rows_kernel<In, Code>, x, codes, scales.data());
}

template void quantize_rows(Context&, View<const float, 2>, View<i8, 2>, View<float, 1>);
template void quantize_rows(Context&, View<const float, 2>, View<e4m3, 2>, View<float, 1>);
template void quantize_rows(Context&, View<const bf16, 2>, View<i8, 2>, View<float, 1>);
template void quantize_rows(Context&, View<const bf16, 2>, View<e4m3, 2>, View<float, 1>);

}  // namespace cuda

}  // namespace orrery
