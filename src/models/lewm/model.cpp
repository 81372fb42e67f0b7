#include "models/lewm/model.h"

#include <cmath>
#include <utility>

namespace orrery::lewm {

namespace {

// PyTorch's BatchNorm1d default, which the published heads use
constexpr double kBatchNormEps = 1e-5;

PackedDense packed(Context& ctx, const nn::Dense& layer) {
  PackedDense result;
  if (!layer.weight) return result;
  result.weight = PackedMatrix(ctx, layer.weight);
  result.bias = layer.bias;
  return result;
}

PackedHead packed(Context& ctx, const HeadConfig& config, const Head& head) {
  PackedHead result;
  if (!config.present) return result;
  result.activation = config.activation;
  result.down = packed(ctx, head.down);
  if (config.norm != HeadConfig::Norm::batch) {
    result.up = packed(ctx, head.up);
    if (config.norm == HeadConfig::Norm::layer) {
      result.norm_gain = head.norm.weight;
      result.norm_bias = head.norm.bias;
    }
    return result;
  }
  // (W x + b - mean) / sqrt(var + eps) * gain + bias  =  (factor W) x + (factor (b - mean) + bias)
  Tensor weight = Tensor::zeros<float>({config.hidden, config.input});
  result.folded_bias = Tensor::zeros<float>({config.hidden});
  auto folded = weight.view<float, 2>();
  auto folded_bias = result.folded_bias.view<float, 1>();
  for (i64 o = 0; o < config.hidden; ++o) {
    const double factor = static_cast<double>(head.norm.weight(o)) /
                          std::sqrt(static_cast<double>(head.running_var(o)) + kBatchNormEps);
    for (i64 i = 0; i < config.input; ++i) {
      folded(o, i) = static_cast<float>(factor * static_cast<double>(head.up.weight(o, i)));
    }
    folded_bias(o) = static_cast<float>(factor * (static_cast<double>(head.up.bias(o)) -
                                                  static_cast<double>(head.running_mean(o))) +
                                        static_cast<double>(head.norm.bias(o)));
  }
  result.up.weight = PackedMatrix(ctx, folded);
  result.up.bias = folded_bias;
  return result;
}

}  // namespace

Model::Model(Context& ctx, Weights given) : weights_(std::move(given)) {
  const Tensors& t = weights_.tensors;
  patch = packed(ctx, t.encoder.patch);
  for (const EncoderLayer& layer : t.encoder.layers) {
    encoder.push_back({packed(ctx, layer.qkv), packed(ctx, layer.output), packed(ctx, layer.up),
                       packed(ctx, layer.down)});
  }
  smooth = packed(ctx, t.action.smooth);
  action_up = packed(ctx, t.action.up);
  action_down = packed(ctx, t.action.down);
  input = packed(ctx, t.predictor.input);
  condition = packed(ctx, t.predictor.condition);
  output = packed(ctx, t.predictor.output);
  for (const PredictorLayer& layer : t.predictor.layers) {
    predictor.push_back({packed(ctx, nn::Dense{layer.qkv, {}}), packed(ctx, layer.out),
                         packed(ctx, layer.up), packed(ctx, layer.down),
                         packed(ctx, layer.modulation)});
  }
  projector = packed(ctx, config().projector, t.projector);
  pred_proj = packed(ctx, config().pred_proj, t.pred_proj);
}

}  // namespace orrery::lewm
