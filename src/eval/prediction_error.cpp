#include "eval/prediction_error.h"

#include <algorithm>

#include "base/error.h"
#include "models/lewm/rollout.h"
#include "tensor/placed.h"

namespace orrery {

namespace {

constexpr i64 kTogether = 128;  // windows predicted together, as a training batch has

// mean over frames of |z - mean z|^2
double variance_of(const Tensor& latents) {
  const auto rows = latents.view<float, 2>();
  const auto count = static_cast<double>(rows.size(0));
  double variance = 0;
  for (i64 d = 0; d < rows.size(1); ++d) {
    double sum = 0;
    for (i64 r = 0; r < rows.size(0); ++r) sum += rows(r, d);
    const double mean = sum / count;
    for (i64 r = 0; r < rows.size(0); ++r) {
      const double off = rows(r, d) - mean;
      variance += off * off / count;
    }
  }
  return variance;
}

// The blocks that leave each frame, z-scored: [frames, stride * action width]. The last frame of a
// piece has none that counts.
Tensor blocks_after(const Episodes& episodes, const EncodedFrames& frames, const ZScore& scale) {
  const i64 action = episodes.column_index("action");
  const i64 width = episodes.column(action).width();
  check(scale.width() == width, "prediction errors: statistics of ", scale.width(),
        " action numbers, ", episodes.name(), " has ", width);
  Tensor blocks = Tensor::zeros<float>({frames.count(), frames.stride * width});
  for (const EncodedFrames::Piece& piece : frames.pieces) {
    for (i64 k = 0; k + 1 < piece.frames; ++k) {
      const i64 frame = piece.first + k;
      const i64 row = frames.rows[static_cast<std::size_t>(frame)];
      float* to = blocks.data<float>() + frame * blocks.size(1);
      episodes.read_f32(action, row, row + frames.stride, 1, to);
      scale.normalise({to, static_cast<std::size_t>(blocks.size(1))});
    }
  }
  return blocks;
}

// Batches of windows taken through the predictor, each on its own predictions.
class OpenLoop {
 public:
  OpenLoop(Context& ctx, const lewm::Model& model, const EncodedFrames& frames,
           const Tensor& blocks)
      : ctx_(ctx),
        model_(model),
        frames_(frames),
        blocks_(blocks),
        window_(model.config().predictor.window),
        dim_(model.config().latent()),
        width_(blocks.size(1)),
        state_(lewm::make_rollout_state(ctx, model, {.samples = kTogether, .blocks = window_})),
        latents_(ctx, kTogether * window_ * dim_),
        actions_(ctx, kTogether * window_ * width_),
        predicted_(ctx, kTogether * window_ * dim_) {}

  // Of windows that begin at the given frames: what is imagined for frames history, history + 1,
  // ... of each, [windows, horizons, D].
  Tensor imagine(std::span<const i64> starts, i64 history, i64 horizons) {
    const auto count = static_cast<i64>(starts.size());
    Tensor imagined = Tensor::zeros<float>({count, horizons, dim_});
    for (i64 h = 0; h < horizons; ++h) {
      // the predictor's window ends at the frame before the one to imagine
      const i64 time = std::min(window_, history + h);
      const i64 first = history + h - time;
      std::vector<float> latents, actions;
      for (i64 w = 0; w < count; ++w) {
        const i64 start = starts[static_cast<std::size_t>(w)];
        for (i64 t = first; t < first + time; ++t) {
          const float* latent = t < history ? frames_.latent(start + t).data()
                                            : &imagined.view<float, 3>()(w, t - history, 0);
          latents.insert(latents.end(), latent, latent + dim_);
          const float* block = blocks_.data<float>() + (start + t) * width_;
          actions.insert(actions.end(), block, block + width_);
        }
      }
      latents_.set(latents);
      actions_.set(actions);
      lewm::predict(ctx_, model_, state_, latents_.view<3>({count, time, dim_}),
                    actions_.view<3>({count, time, width_}),
                    predicted_.view<3>({count, time, dim_}));
      std::vector<float> predicted(latents.size());
      predicted_.get(predicted);
      for (i64 w = 0; w < count; ++w) {
        std::copy_n(predicted.data() + (w * time + time - 1) * dim_, dim_,
                    &imagined.view<float, 3>()(w, h, 0));
      }
    }
    return imagined;
  }

 private:
  Context& ctx_;
  const lewm::Model& model_;
  const EncodedFrames& frames_;
  const Tensor& blocks_;
  i64 window_, dim_, width_;
  lewm::RolloutState state_;
  Placed<float> latents_, actions_, predicted_;  // [windows, time, .]
};

}  // namespace

PredictionErrors prediction_errors(Context& ctx, const lewm::Model& model, const Episodes& episodes,
                                   const EncodedFrames& frames, const ZScore& scale,
                                   const PredictionChoice& choice) {
  const lewm::Config& config = model.config();
  const i64 history = choice.history > 0 ? choice.history : config.predictor.window;
  check(history <= config.predictor.window, "prediction errors: a history of ", history,
        " frames, the model's predictor sees 1 to ", config.predictor.window);
  check(choice.horizons >= 1, "prediction errors: ", choice.horizons, " blocks ahead, 1 or more");
  const Tensor blocks = blocks_after(episodes, frames, scale);
  check(blocks.size(1) == config.action.input, "prediction errors: blocks of ", blocks.size(1),
        " action numbers, the model takes ", config.action.input);

  PredictionErrors result;
  result.history = history;
  result.variance = variance_of(frames.latents);
  i64 longest = 0;
  for (const auto& piece : frames.pieces) longest = std::max(longest, piece.frames);
  const i64 horizons = std::min(choice.horizons, longest - history);
  if (horizons < 1) return result;
  std::vector<i64> starts;
  for (const EncodedFrames::Piece& piece : frames.pieces) {
    for (i64 k = 0; k + history + horizons <= piece.frames; ++k) starts.push_back(piece.first + k);
  }
  result.windows = static_cast<i64>(starts.size());
  for (i64 h = 0; h < horizons; ++h) result.horizons.push_back({.blocks = h + 1});

  OpenLoop loop(ctx, model, frames, blocks);
  const std::size_t dim = static_cast<std::size_t>(config.latent());
  for (i64 first = 0; first < result.windows; first += kTogether) {
    const i64 some = std::min(kTogether, result.windows - first);
    const auto group =
        std::span(starts).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(some));
    const Tensor imagined = loop.imagine(group, history, horizons);
    for (i64 w = 0; w < some; ++w) {
      const i64 start = group[static_cast<std::size_t>(w)];
      const auto last = frames.latent(start + history - 1);
      for (i64 h = 0; h < horizons; ++h) {
        const auto seen = frames.latent(start + history + h);
        auto& horizon = result.horizons[static_cast<std::size_t>(h)];
        horizon.error += squared_distance({&imagined.view<float, 3>()(w, h, 0), dim}, seen);
        horizon.unchanged += squared_distance(last, seen);
      }
    }
  }
  for (PredictionErrors::Horizon& horizon : result.horizons) {
    horizon.error /= static_cast<double>(result.windows);
    horizon.unchanged /= static_cast<double>(result.windows);
  }
  return result;
}

}  // namespace orrery
