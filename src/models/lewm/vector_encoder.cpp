#include "models/lewm/vector_encoder.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "nn/dense.h"
#include "ops/layer_norm.h"
#include "ops/strided.h"

namespace orrery::lewm {

namespace {

constexpr float kNormEps = 1e-5f;
// rows of activations that a thread takes at a time: 64 KB of the published 512 units
constexpr i64 kRowsEach = 32;

constexpr float kRoot = 0.7978845608028654f;  // sqrt(2 / pi)
constexpr float kCubic = 0.044715f;

// of rows x and, for the slope, of what flows back
void tanh_gelu(Context& ctx, View<const float, 2> x, View<float, 2> y) {
  ctx.parallel_ranges(x.size(0), kRowsEach, [&](i64 begin, i64 end, int) {
    for (i64 i = begin * x.size(1); i < end * x.size(1); ++i) {
      const float v = x.data()[i];
      y.data()[i] = 0.5f * v * (1 + std::tanh(kRoot * (v + kCubic * v * v * v)));
    }
  });
}

// dx = dy times the slope at x; dx may be dy
void tanh_gelu_backward(Context& ctx, View<const float, 2> x, View<const float, 2> dy,
                        View<float, 2> dx) {
  ctx.parallel_ranges(x.size(0), kRowsEach, [&](i64 begin, i64 end, int) {
    for (i64 i = begin * x.size(1); i < end * x.size(1); ++i) {
      const float v = x.data()[i];
      const float t = std::tanh(kRoot * (v + kCubic * v * v * v));
      const float inner = kRoot * (1 + 3 * kCubic * v * v);
      dx.data()[i] = dy.data()[i] * 0.5f * (1 + t + v * (1 - t * t) * inner);
    }
  });
}

void z_score(const VectorEncoder& encoder, View<const float, 2> observations,
             View<float, 2> inputs) {
  for (i64 row = 0; row < observations.size(0); ++row) {
    for (i64 k = 0; k < inputs.size(1); ++k) {
      const float value = (observations(row, k) - encoder.mean(k)) / std::sqrt(encoder.variance(k));
      inputs(row, k) = std::isfinite(value) ? value : 0.0f;
    }
  }
}

}  // namespace

VectorEncoderState take_vector_encoder(Arena& arena, const EncoderConfig& config, i64 rows,
                                       Precision precision) {
  const VectorEncoderConfig& vector = config.vector;
  VectorEncoderState state;
  state.precision = precision;
  state.inputs = arena.take<float, 2>({rows, vector.inputs});
  for (i64 i = 0; i + 1 < vector.depth; ++i) {
    VectorEncoderState::Layer layer;
    layer.wide = arena.take<float, 2>({rows, vector.hidden});
    layer.normed = arena.take<float, 2>({rows, vector.hidden});
    layer.active = arena.take<float, 2>({rows, vector.hidden});
    layer.mean = arena.take<float, 1>({rows});
    layer.rstd = arena.take<float, 1>({rows});
    state.layers.push_back(layer);
  }
  state.latents = arena.take<float, 2>({rows, config.hidden});
  state.dwide = arena.take<float, 2>({rows, vector.hidden});
  state.dactive = arena.take<float, 2>({rows, vector.hidden});
  return state;
}

void vector_forward(Context& ctx, const VectorEncoder& encoder, View<const float, 2> observations,
                    VectorEncoderState& state) {
  check(observations.sizes() == state.inputs.sizes() && observations.contiguous(),
        "observations are ", observations.shape(), ", the encoder was made for ",
        state.inputs.shape());
  z_score(encoder, observations, state.inputs);
  View<const float, 2> x = state.inputs;
  for (std::size_t i = 0; i < state.layers.size(); ++i) {
    VectorEncoderState::Layer& layer = state.layers[i];
    nn::dense(ctx, state.precision, encoder.layers[i], x, layer.wide);
    layer_norm(ctx, layer.wide, encoder.norms[i].weight, encoder.norms[i].bias, kNormEps,
               layer.normed, layer.mean, layer.rstd);
    tanh_gelu(ctx, layer.normed, layer.active);
    x = layer.active;
  }
  nn::dense(ctx, state.precision, encoder.layers.back(), x, state.latents);
}

void vector_backward(Context& ctx, const VectorEncoder& encoder, const VectorEncoder& gradient,
                     View<const float, 2> dlatents, VectorEncoderState& state) {
  View<const float, 2> dy = dlatents;
  for (std::size_t i = encoder.layers.size(); i-- > 0;) {
    const View<const float, 2> x = i == 0 ? View<const float, 2>(state.inputs)
                                          : View<const float, 2>(state.layers[i - 1].active);
    nn::dense_backward(ctx, state.precision, encoder.layers[i], gradient.layers[i], x, dy,
                       i == 0 ? View<float, 2>() : state.dactive);
    if (i == 0) return;
    const VectorEncoderState::Layer& layer = state.layers[i - 1];
    tanh_gelu_backward(ctx, layer.normed, state.dactive, state.dactive);
    layer_norm_backward(ctx, layer.wide, encoder.norms[i - 1].weight, layer.mean, layer.rstd,
                        state.dactive, false, state.dwide, gradient.norms[i - 1].weight,
                        gradient.norms[i - 1].bias);
    dy = state.dwide;
  }
}

void set_observation_scale(Weights& weights, const std::vector<double>& mean,
                           const std::vector<double>& deviation) {
  const VectorEncoder& encoder = weights.tensors.encoder.vector;
  const i64 inputs = weights.config.encoder.vector.inputs;
  check(static_cast<i64>(mean.size()) == inputs && mean.size() == deviation.size(),
        "observations of ", mean.size(), " numbers came, the model sees ", inputs);
  for (i64 k = 0; k < inputs; ++k) {
    const auto at = static_cast<std::size_t>(k);
    encoder.mean(k) = static_cast<float>(mean[at]);
    encoder.variance(k) =
        deviation[at] > 0 ? static_cast<float>(deviation[at] * deviation[at]) : 1.0f;
  }
}

VectorReader::VectorReader(const Model& model, i64 rows) : model_(&model), rows_(rows) {
  const EncoderConfig& encoder = model.config().encoder;
  check(encoder.of_vectors(), "the model sees pictures, not vectors");
  check(rows >= 1, "a reader of ", rows, " observations was asked for, at least one is needed");
  Arena measure;
  take_vector_encoder(measure, encoder, rows_, Precision::f32);
  memory_ = Block(measure.used());
  Arena arena(memory_);
  state_ = take_vector_encoder(arena, encoder, rows_, Precision::f32);
}

void VectorReader::read(Context& ctx, View<const float, 2> observations, View<float, 2> latents) {
  const VectorEncoder& encoder = model_->weights().tensors.encoder.vector;
  const i64 count = observations.size(0), width = state_.inputs.size(1);
  check(observations.size(1) == width && observations.contiguous(), "observations are ",
        observations.shape(), ", the model sees ", width, " numbers");
  check(latents.size(0) == count && latents.size(1) == state_.latents.size(1),
        "latents to fill are ", latents.shape(), ", needed (", count, ", ", state_.latents.size(1),
        ")");
  for (i64 first = 0; first < count; first += rows_) {
    const i64 some = std::min(rows_, count - first);
    // a smaller group is the first rows of the same memory
    VectorEncoderState state = state_;
    const auto shortened = [&](auto& view) { view = view.slice(0, 0, some); };
    shortened(state.inputs);
    for (VectorEncoderState::Layer& layer : state.layers) {
      shortened(layer.wide);
      shortened(layer.normed);
      shortened(layer.active);
      shortened(layer.mean);
      shortened(layer.rstd);
    }
    shortened(state.latents);
    vector_forward(ctx, encoder, observations.slice(0, first, first + some), state);
    for (i64 row = 0; row < some; ++row) {
      std::copy_n(&state.latents(row, 0), latents.size(1), &latents(first + row, 0));
    }
  }
}

}  // namespace orrery::lewm
