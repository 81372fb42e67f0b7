// How a linear layer becomes a product for a kernel: which tile, and what happens to x before.

#include "device/cuda.h"
#include "device/tensor_map.h"
#include "ops/gemm.h"
#include "ops/gemm_pack.h"
#include "ops/gemm_product.h"
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

// x in the format of the weight, in the context's scratch: rows of multiples of 16 bytes
template <typename Out, typename In>
View<Out, 2> converted(Context& ctx, View<const In, 2> x) {
  const i64 bytes = static_cast<i64>(sizeof(Out));
  const i64 stride = (x.size(1) * bytes + 15) / 16 * 16 / bytes;
  auto* memory = ctx.shared_scratch(static_cast<std::size_t>(x.size(0) * stride * bytes),
                                    Context::Slot::matrix);
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
Product product_of(const PackedMatrix& weight, const Epilogue& epilogue, View<Out, 2> y) {
  check(y.size(0) < (i64{1} << 31) && y.size(1) < (i64{1} << 31) &&
            weight.inputs() * value_bytes(weight.precision()) < (i64{1} << 31),
        "linear: y is ", y.shape(), ", kernels take sizes below 2^31");
  Product p;
  p.rows = static_cast<int>(y.size(0));
  p.outputs = static_cast<int>(y.size(1));
  p.inputs = static_cast<int>(weight.inputs());
  p.weight = weight.rows();
  p.weight_stride = weight.row_bytes();
  p.weight_scales = weight.scales();
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
void run_prepared(Context& ctx, View<const float, 2> x, Precision precision, Product p) {
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
    auto* memory = ctx.shared_scratch(
        static_cast<std::size_t>(bytes + x.size(0) * i64{sizeof(float)}), Context::Slot::matrix);
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
