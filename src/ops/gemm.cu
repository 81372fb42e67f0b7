// How a linear layer becomes a product for a kernel: which tile, and what happens to x before.

#include "device/cuda.h"
#include "device/tensor_map.h"
#include "ops/gemm.h"
#include "ops/gemm_columns_device.h"
#include "ops/gemm_pack.h"
#include "ops/gemm_product.h"
#include "ops/multiply_bf16_cuda.h"
#include "ops/norm_linear.h"
#include "ops/quantize_rows.h"
#include "ops/rows_device.h"

namespace orrery {

namespace {

using namespace cuda;

int attribute(const Context& ctx, cudaDeviceAttr which) {
  int value = 0;
  cuda_check(cudaDeviceGetAttribute(&value, which, ctx.device_index()),
             "reading a device's properties");
  return value;
}

ProductDevice device_of(const Context& ctx) {
  ProductDevice device = {attribute(ctx, cudaDevAttrMultiProcessorCount),
                          attribute(ctx, cudaDevAttrMaxSharedMemoryPerBlockOptin)};
  device.warpgroups = attribute(ctx, cudaDevAttrComputeCapabilityMajor) == 9;
  return device;
}

// rows of one element type to rows of another
template <typename In, typename Out>
struct Convert {
  View<const In, 2> x;
  View<Out, 2> y;
  template <bool kAligned>
  __device__ void four(i64 i, i64, i64 k, i64 count) const {
    const Four value = load_four<kAligned>(x.data() + i * x.stride(0) + k, count);
    store_four<kAligned>(value, y.data() + i * y.stride(0) + k, count);
  }
};

// `bytes` of the context's scratch behind the first `taken`, which the caller uses
std::byte* scratch_behind(Context& ctx, i64 taken, i64 bytes) {
  return ctx.shared_scratch(static_cast<std::size_t>(taken + bytes), Context::Slot::matrix) + taken;
}

// x in the format of the weight, in the context's scratch: rows of multiples of 16 bytes
template <typename Out, typename In>
View<Out, 2> converted(Context& ctx, View<const In, 2> x, i64 taken = 0) {
  const i64 bytes = static_cast<i64>(sizeof(Out));
  const i64 stride = (x.size(1) * bytes + 15) / 16 * 16 / bytes;
  auto* memory = scratch_behind(ctx, taken, x.size(0) * stride * bytes);
  const View<Out, 2> y(reinterpret_cast<Out*>(memory), {x.size(0), x.size(1)}, {stride, 1});
  pass_over_rows(ctx, "linear: converting rows", in_fours(x) && in_fours(View<const Out, 2>(y)),
                 x.size(0), 1, x.size(1), Convert<In, Out>{x, y});
  return y;
}

template <typename Code, typename In>
void take_codes(Context& ctx, View<const In, 2> x, Product& product) {
  const i64 stride = (x.size(1) + 15) / 16 * 16;
  const i64 code_bytes = x.size(0) * stride;
  auto* memory = ctx.shared_scratch(
      static_cast<std::size_t>(code_bytes + x.size(0) * i64{sizeof(float)}), Context::Slot::matrix);
  const View<Code, 2> codes(reinterpret_cast<Code*>(memory), {x.size(0), x.size(1)}, {stride, 1});
  const View<float, 1> scales(reinterpret_cast<float*>(memory + code_bytes), {x.size(0)});
  quantize_rows(ctx, x, codes, scales);
  product.x = memory;
  product.x_stride = stride;
  product.x_aligned = true;
  product.row_scales = scales.data();
}

template <typename In>
void take_rows(View<const In, 2> x, Product& product) {
  constexpr i64 kBytes = sizeof(In);
  product.x = reinterpret_cast<const std::byte*>(x.data());
  product.x_stride = x.stride(0) * kBytes;
  product.x_aligned =
      reinterpret_cast<std::size_t>(x.data()) % 16 == 0 && product.x_stride % 16 == 0;
}

// y and what the epilogue reads
template <typename Out>
Product product_of(i64 inputs, const Epilogue& epilogue, View<Out, 2> y) {
  check(y.size(0) < (i64{1} << 31) && y.size(1) < (i64{1} << 31) &&
            inputs * i64{sizeof(float)} < (i64{1} << 31),
        "linear: y is ", y.shape(), ", of ", inputs, " inputs; kernels take sizes below 2^31");
  Product p;
  p.rows = static_cast<int>(y.size(0));
  p.outputs = static_cast<int>(y.size(1));
  p.inputs = static_cast<int>(inputs);
  p.activation = epilogue.activation;
  p.in_fours = in_fours(y.data(), y.size(1), y.stride(0));
  if constexpr (std::is_same_v<Out, float>) {
    p.y = y.data();
  } else {
    p.y_bf16 = y.data();
  }
  p.y_stride = y.stride(0);
  if (epilogue.bias) {
    p.bias = epilogue.bias.data();
    p.in_fours = p.in_fours && in_fours(epilogue.bias);
  }
  if (epilogue.gate) {
    p.gate = epilogue.gate.data();
    p.gate_stride = epilogue.gate.stride(0);
    p.in_fours = p.in_fours && in_fours(epilogue.gate);
  }
  if (epilogue.residual) {
    p.residual = epilogue.residual.data();
    p.residual_stride = epilogue.residual.stride(0);
    p.in_fours = p.in_fours && in_fours(epilogue.residual);
  }
  return p;
}

template <typename Out>
Product product_of(const PackedMatrix& weight, const Epilogue& epilogue, View<Out, 2> y) {
  Product p = product_of(weight.inputs(), epilogue, y);
  p.weight = weight.rows();
  p.weight_stride = weight.row_bytes();
  p.weight_scales = weight.scales();
  return p;
}

// body with the precision as a type's value
template <typename Body>
void with(Precision precision, const Body& body) {
  switch (precision) {
    case Precision::f32:
      return body(std::integral_constant<Precision, Precision::f32>());
    case Precision::tf32:
      return body(std::integral_constant<Precision, Precision::tf32>());
    case Precision::bf16:
      return body(std::integral_constant<Precision, Precision::bf16>());
    case Precision::int8:
      return body(std::integral_constant<Precision, Precision::int8>());
    case Precision::fp8:
      return body(std::integral_constant<Precision, Precision::fp8>());
  }
}

void run(const Context& ctx, ProductPlan plan, Precision precision, Product p) {
  // groups of columns of the same number of tiles
  const ProductTile& tile = kProductTiles[plan.tile];
  const int tiles = (p.outputs + tile.cols - 1) / tile.cols;
  p.group_tiles = (tiles + plan.groups - 1) / plan.groups;
  plan.groups = (tiles + p.group_tiles - 1) / p.group_tiles;
  with(precision, [&](auto known) { run_product<known>(ctx, plan, p); });
  remember_product(plan, precision);
}

void run_ready(const Context& ctx, Precision precision, const Product& p) {
  ProductShape shape = {p.rows, p.outputs, p.inputs, precision};
  shape.x_in_boxes = tensor_map_takes(p.x, p.inputs * value_bytes(precision), p.rows, p.x_stride);
  run(ctx, plan_product(shape, device_of(ctx), wanted_product_tile()), precision, p);
}

// Runs the product with rows of floats that kernels prepare as p's norm says.
void run_prepared(Context& ctx, View<const float, 2> x, Precision precision, Product p,
                  i64 taken = 0) {
  take_rows(x, p);
  // pairs of floats at multiples of 8 bytes
  const auto in_pairs = [](const float* data, i64 stride) {
    return reinterpret_cast<std::size_t>(data) % 8 == 0 && stride % 2 == 0;
  };
  p.x_aligned = x.size(1) % 2 == 0 && in_pairs(x.data(), x.stride(0)) &&
                in_pairs(p.shift, p.shift_stride) && in_pairs(p.scale, p.scale_stride);
  const ProductShape shape = {p.rows,    p.outputs,   p.inputs,
                              precision, Rows::apart, p.shift == nullptr ? 1 : 3};
  const ProductPlan plan = plan_prepared_product(shape, device_of(ctx), wanted_product_tile());
  if (plan.x == Rows::apart) {
    PreparedRows ready;
    ready.stride = (x.size(1) * value_bytes(precision) + 15) / 16 * 16;
    const i64 bytes = x.size(0) * ready.stride;
    auto* memory = scratch_behind(ctx, taken, bytes + x.size(0) * i64{sizeof(float)});
    ready.values = memory;
    ready.scales = reinterpret_cast<float*>(memory + bytes);
    with(precision, [&](auto known) { run_prepare<known>(ctx, p, ready); });
    p.x = ready.values;
    p.x_stride = ready.stride;
    p.x_aligned = true;
    p.row_scales = ready.scales;
    p.gain = p.norm_bias = p.shift = p.scale = nullptr;
  }
  run(ctx, plan, precision, p);
}

// Values of any strides as rows of multiples of 16 bytes with zeros behind the columns, in the
// format of a product. Memory-bound: a block turns 32 x 32 values in shared memory, so that both
// sides are met in whole lines whichever dimension is contiguous.
constexpr int kTurn = 32, kTurnRows = 8;
template <typename In, typename Out>
__global__ void pack_kernel(View<const In, 2> from, View<Out, 2> to) {
  __shared__ float tile[kTurn][kTurn + 1];
  const i64 blocks = (to.stride(0) + kTurn - 1) / kTurn;
  const i64 first_row = blockIdx.x / blocks * kTurn, first_col = blockIdx.x % blocks * kTurn;
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  // neighbouring threads along the dimension whose values lie closer
  const bool by_columns = from.stride(1) <= from.stride(0);
  for (int i = y; i < kTurn; i += kTurnRows) {
    const int r = by_columns ? i : x, c = by_columns ? x : i;
    const i64 row = first_row + r, col = first_col + c;
    const bool there = row < from.size(0) && col < from.size(1);
    tile[r][c] =
        there ? static_cast<float>(from.data()[row * from.stride(0) + col * from.stride(1)]) : 0.0f;
  }
  __syncthreads();
  for (int r = y; r < kTurn; r += kTurnRows) {
    const i64 row = first_row + r, col = first_col + x;
    if (row < to.size(0) && col < to.stride(0)) {
      to.data()[row * to.stride(0) + col] = Out(tile[r][x]);
    }
  }
}

// of the context's scratch, behind the first `taken` bytes
template <typename Out, typename In>
View<const Out, 2> packed(Context& ctx, View<const In, 2> from, i64 taken) {
  constexpr i64 kBytes = sizeof(Out);
  const i64 stride = (from.size(1) * kBytes + 15) / 16 * 16 / kBytes;
  auto* memory = scratch_behind(ctx, taken, from.size(0) * stride * kBytes);
  const View<Out, 2> to(reinterpret_cast<Out*>(memory), from.sizes(), {stride, 1});
  const i64 blocks = (from.size(0) + kTurn - 1) / kTurn * ((stride + kTurn - 1) / kTurn);
  launch(ctx,
         {"gemm: packing a factor", dim3(static_cast<unsigned>(blocks)), dim3(kTurn, kTurnRows)},
         pack_kernel<In, Out>, from, to);
  return to;
}
template <typename T>
i64 packed_bytes(View<const T, 2> rows) {
  return (rows.size(0) * rows.stride(0) * i64{sizeof(T)} + 127) / 128 * 128;
}

// neighbours along the last dimension
template <typename T>
bool in_rows(View<const T, 2> view) {
  return view.stride(1) == 1 || view.size(1) == 1;
}

// rows that the product reads where they are: whole steps of 32 bytes, and nothing behind them
bool is_packed(View<const float, 2> weight) {
  return weight.contiguous() && weight.size(1) % 8 == 0 &&
         reinterpret_cast<std::size_t>(weight.data()) % 16 == 0;
}

// y = epilogue(a weight^T), where `p` holds y and the epilogue: factors of any strides, in values
// of T, of which rows already are as they must be
template <typename Value, typename A, typename W>
void run_factors(Context& ctx, View<const A, 2> a, View<const W, 2> weight, Precision precision,
                 Product p) {
  i64 taken = 0;
  const auto take_weight = [&](View<const Value, 2> rows) {
    p.weight = reinterpret_cast<const std::byte*>(rows.data());
    p.weight_stride = rows.stride(0) * i64{sizeof(Value)};
  };
  bool taken_as_is = false;
  if constexpr (std::is_same_v<Value, float>) {
    taken_as_is = is_packed(weight);
    if (taken_as_is) take_weight(weight);
  }
  if (!taken_as_is) {
    const auto rows = packed<Value>(ctx, weight, 0);
    taken = packed_bytes(rows);
    take_weight(rows);
  }
  if (!in_rows(a)) {
    take_rows(packed<Value>(ctx, a, taken), p);
  } else if constexpr (std::is_same_v<A, Value>) {
    take_rows(a, p);
  } else {
    // rows of floats for a product of bf16
    if (a.size(1) <= kLongestKept) return run_prepared(ctx, a, precision, p, taken);
    take_rows(View<const Value, 2>(converted<Value>(ctx, a, taken)), p);
  }
  run_ready(ctx, precision, p);
}

}  // namespace

namespace cuda {

void check_precision(const Context& ctx, Precision precision) {
  if (precision != Precision::fp8) return;
  const int major = attribute(ctx, cudaDevAttrComputeCapabilityMajor);
  const int minor = attribute(ctx, cudaDevAttrComputeCapabilityMinor);
  check(major * 10 + minor >= 89,
        "matrix to pack: fp8 needs compute capability 8.9, the device has ", major, ".", minor);
}

template <typename In, typename Out>
void linear(Context& ctx, View<const In, 2> x, const PackedMatrix& weight, const Epilogue& epilogue,
            View<Out, 2> y) {
  const Precision precision = weight.precision();
  Product p = product_of(weight, epilogue, y);
  const bool codes = precision == Precision::int8 || precision == Precision::fp8;
  const bool floats = precision == Precision::f32 || precision == Precision::tf32;
  if constexpr (std::is_same_v<In, float>) {
    if (!floats && x.size(1) <= kLongestKept) return run_prepared(ctx, x, precision, p);
  }
  if (codes) {
    if (precision == Precision::int8) take_codes<i8>(ctx, x, p);
    if (precision == Precision::fp8) take_codes<e4m3>(ctx, x, p);
  } else if (floats == std::is_same_v<In, float>) {
    take_rows(x, p);
  } else if (floats) {
    take_rows(View<const float, 2>(converted<float>(ctx, x)), p);
  } else {
    take_rows(View<const bf16, 2>(converted<bf16>(ctx, x)), p);
  }
  run_ready(ctx, precision, p);
}

template <typename Out>
bool norm_linear(Context& ctx, View<const float, 2> x, const RowNorm& norm,
                 const PackedMatrix& weight, const Epilogue& epilogue, View<Out, 2> y) {
  if (x.size(1) > kLongestKept) return false;
  Product p = product_of(weight, epilogue, y);
  p.gain = norm.gain.data();
  p.norm_bias = norm.bias.data();
  p.eps = norm.eps;
  if (norm.shift) {
    p.shift = norm.shift.data();
    p.shift_stride = norm.shift.stride(0);
    p.scale = norm.scale.data();
    p.scale_stride = norm.scale.stride(0);
    p.bare_eps = norm.bare_eps;
  }
  run_prepared(ctx, x, weight.precision(), p);
  return true;
}

// a [m, k] b [k, n]. Where both factors lie with their k-th values apart, as in a weight's
// gradient, sums run over rows of both; else b is turned into a weight of rows.
void gemm(Context& ctx, View<const float, 2> a, View<const float, 2> b, const Epilogue& epilogue,
          View<float, 2> c) {
  if (!in_rows(a) && a.stride(0) == 1 && in_rows(b)) {
    return multiply_columns(ctx, a.transposed(), b, epilogue, c);
  }
  run_factors<float>(ctx, a, b.transposed(), Precision::f32, product_of(a.size(1), epilogue, c));
}

template <typename A, typename B, typename Out>
void multiply_bf16(Context& ctx, View<const A, 2> a, View<const B, 2> b, const Epilogue& epilogue,
                   const Trained& trained, View<Out, 2> c) {
  const bool plain = trained.activation == Activation::none;
  if (plain && !in_rows(a) && a.stride(0) == 1 && in_rows(b)) {
    return multiply_columns_bf16(ctx, a.transposed(), b, epilogue, c);
  }
  Product p = product_of(a.size(1), epilogue, c);
  p.trained = trained.activation;
  if (trained.active) {
    p.active = trained.active.data();
    p.active_stride = trained.active.stride(0);
    p.in_fours = p.in_fours && in_fours(trained.active);
  }
  if (trained.wide) {
    p.wide = trained.wide.data();
    p.wide_stride = trained.wide.stride(0);
    p.in_fours = p.in_fours && in_fours(trained.wide);
  }
  run_factors<bf16>(ctx, a, b.transposed(), Precision::bf16, p);
}

#define ORRERY_MULTIPLY(A, B, Out)                                                           \
  template void multiply_bf16(Context&, View<const A, 2>, View<const B, 2>, const Epilogue&, \
                              const Trained&, View<Out, 2>)
ORRERY_MULTIPLY(float, float, float);
ORRERY_MULTIPLY(float, bf16, float);
ORRERY_MULTIPLY(bf16, float, float);
ORRERY_MULTIPLY(bf16, bf16, float);
ORRERY_MULTIPLY(float, float, bf16);
ORRERY_MULTIPLY(float, bf16, bf16);
ORRERY_MULTIPLY(bf16, float, bf16);
ORRERY_MULTIPLY(bf16, bf16, bf16);
#undef ORRERY_MULTIPLY

#define ORRERY_LINEAR(In, Out)                                                            \
  template void linear(Context&, View<const In, 2>, const PackedMatrix&, const Epilogue&, \
                       View<Out, 2>)
ORRERY_LINEAR(float, float);
ORRERY_LINEAR(float, bf16);
ORRERY_LINEAR(bf16, float);
ORRERY_LINEAR(bf16, bf16);
#undef ORRERY_LINEAR
template bool norm_linear(Context&, View<const float, 2>, const RowNorm&, const PackedMatrix&,
                          const Epilogue&, View<float, 2>);
template bool norm_linear(Context&, View<const float, 2>, const RowNorm&, const PackedMatrix&,
                          const Epilogue&, View<bf16, 2>);

}  // namespace cuda

}  // namespace orrery
