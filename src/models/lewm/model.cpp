#include "models/lewm/model.h"

#include <cmath>
#include <utility>

#include "ops/packed_image.h"

namespace orrery::lewm {

namespace {

// PyTorch's BatchNorm1d default, which the published heads use
constexpr double kBatchNormEps = 1e-5;
// a tensor-core product takes 16 to 32 inputs at a time: maps of fewer are not worth rounding
constexpr i64 kFewInputs = 32;

}  // namespace

PackedDense Model::packed(Context& ctx, const nn::Dense& host, const nn::Dense& resident,
                          Precision precision) const {
  PackedDense result;
  if (!host.weight) return result;
  const bool few = host.weight.size(1) < kFewInputs;
  result.weight = PackedMatrix(ctx, host.weight, few ? Precision::f32 : precision);
  result.bias = resident.bias;
  return result;
}

PackedHead Model::packed(Context& ctx, const HeadConfig& config, const Head& host,
                         const Head& resident, Precision precision) const {
  PackedHead result;
  if (!config.present) return result;
  result.activation = config.activation;
  result.down = packed(ctx, host.down, resident.down, precision);
  if (config.norm != HeadConfig::Norm::batch) {
    result.up = packed(ctx, host.up, resident.up, precision);
    if (config.norm == HeadConfig::Norm::layer) {
      result.norm_gain = resident.norm.weight;
      result.norm_bias = resident.norm.bias;
    }
    return result;
  }
  // (W x + b - mean) / sqrt(var + eps) * gain + bias  =  (factor W) x + (factor (b - mean) + bias)
  Tensor weight = Tensor::zeros<float>({config.hidden, config.input});
  Tensor bias = Tensor::zeros<float>({config.hidden});
  auto folded = weight.view<float, 2>();
  auto folded_bias = bias.view<float, 1>();
  for (i64 o = 0; o < config.hidden; ++o) {
    const double factor = static_cast<double>(host.norm.weight(o)) /
                          std::sqrt(static_cast<double>(host.running_var(o)) + kBatchNormEps);
    for (i64 i = 0; i < config.input; ++i) {
      folded(o, i) = static_cast<float>(factor * static_cast<double>(host.up.weight(o, i)));
    }
    folded_bias(o) = static_cast<float>(factor * (static_cast<double>(host.up.bias(o)) -
                                                  static_cast<double>(host.running_mean(o))) +
                                        static_cast<double>(host.norm.bias(o)));
  }
  result.folded_bias = Block(ctx, static_cast<std::size_t>(bias.byte_count()));
  ctx.upload(result.folded_bias.data(), bias.bytes(), result.folded_bias.bytes());
  result.up = packed(ctx, nn::Dense{folded, {}}, {}, precision);
  result.up.bias = View<const float, 1>(reinterpret_cast<const float*>(result.folded_bias.data()),
                                        {config.hidden});
  ctx.synchronize();  // the values may not go before they are copied
  return result;
}

void Model::fold_byte_patch(Context& ctx) {
  const nn::Dense& host = weights_.tensors.encoder.patch;
  Tensor weight = Tensor::zeros<float>({host.weight.size(0), host.weight.size(1)});
  Tensor bias = Tensor::zeros<float>({host.bias.size(0)});
  fold_normalization(host.weight, host.bias, weight.view<float, 2>(), bias.view<float, 1>());
  byte_patch_bias_ = Block(ctx, static_cast<std::size_t>(bias.byte_count()));
  ctx.upload(byte_patch_bias_.data(), bias.bytes(), byte_patch_bias_.bytes());
  byte_patch.weight = PackedMatrix(ctx, weight.view<float, 2>(), Precision::bf16);
  byte_patch.bias =
      View<const float, 1>(reinterpret_cast<const float*>(byte_patch_bias_.data()), {bias.size(0)});
  ctx.synchronize();  // the values may not go before they are copied
}

Model::Model(Context& ctx, Weights given, Precision precision)
    : weights_(std::move(given)), precision_(precision) {
  check(!config().encoder.hybrid() || ctx.device() == Device::cpu,
        "this model's encoder is a hybrid (layers ", config().encoder.pattern,
        ", L of them linear attention), which runs on the CPU; ", name_of(ctx.device()),
        " was asked for");
  check(!config().encoder.of_vectors() || ctx.device() == Device::cpu,
        "this model sees vectors (column ", config().encoder.vector.column,
        "), which runs on the CPU; ", name_of(ctx.device()), " was asked for");
  const Tensors& t = weights_.tensors;
  tensors_ = t;
  if (ctx.device() != Device::cpu) {
    resident_ = Block(ctx, static_cast<std::size_t>(weights_.parameters.byte_count()));
    ctx.upload(resident_.data(), weights_.parameters.bytes(), resident_.bytes());
    tensors_ = bind(config(), reinterpret_cast<float*>(resident_.data()), nullptr);
  }
  const Tensors& r = tensors_;
  // of everything but the encoder's blocks
  const Precision steady = narrow() ? Precision::bf16 : precision;

  patch = packed(ctx, t.encoder.patch, r.encoder.patch, steady);
  if (narrow()) fold_byte_patch(ctx);
  for (std::size_t i = 0; i < t.encoder.layers.size(); ++i) {
    const EncoderLayer& host = t.encoder.layers[i];
    const EncoderLayer& resident = r.encoder.layers[i];
    encoder.push_back({packed(ctx, host.qkv, resident.qkv, precision),
                       packed(ctx, host.output, resident.output, precision),
                       packed(ctx, host.up, resident.up, precision),
                       packed(ctx, host.down, resident.down, precision)});
  }
  smooth = packed(ctx, t.action.smooth, r.action.smooth, steady);
  action_up = packed(ctx, t.action.up, r.action.up, steady);
  action_down = packed(ctx, t.action.down, r.action.down, steady);
  input = packed(ctx, t.predictor.input, r.predictor.input, steady);
  condition = packed(ctx, t.predictor.condition, r.predictor.condition, steady);
  output = packed(ctx, t.predictor.output, r.predictor.output, steady);
  for (std::size_t i = 0; i < t.predictor.layers.size(); ++i) {
    const PredictorLayer& host = t.predictor.layers[i];
    const PredictorLayer& resident = r.predictor.layers[i];
    predictor.push_back({packed(ctx, nn::Dense{host.qkv, {}}, {}, steady),
                         packed(ctx, host.out, resident.out, steady),
                         packed(ctx, host.up, resident.up, steady),
                         packed(ctx, host.down, resident.down, steady),
                         packed(ctx, host.modulation, resident.modulation, steady)});
  }
  projector = packed(ctx, config().projector, t.projector, r.projector, steady);
  pred_proj = packed(ctx, config().pred_proj, t.pred_proj, r.pred_proj, steady);
  ctx.synchronize();
}

}  // namespace orrery::lewm
