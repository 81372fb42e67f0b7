#include "train/inverse_dynamics.h"

#include <cmath>

#include "ops/elementwise.h"
#include "ops/strided.h"
#include "train/checkpoint.h"

namespace orrery::train {

namespace {

lewm::HeadConfig head_config(i64 latent, i64 action, i64 hidden) {
  return {.input = 2 * latent,
          .hidden = hidden,
          .output = action,
          .norm = lewm::HeadConfig::Norm::layer};
}

}  // namespace

InverseDynamics::InverseDynamics(i64 latent, i64 action, const Settings& settings)
    : head_(kName, head_config(latent, action, settings.hidden)),
      optimiser_(kName, settings.lr, settings.weight_decay, head_.parameters) {}

void InverseDynamics::begin(u64 seed) {
  lewm::initialize(head_, seed);
  optimiser_.begin();
}

void InverseDynamics::begin_step(Context& ctx) { optimiser_.begin_step(ctx); }

void InverseDynamics::make_room(i64 rows) {
  if (rows == rows_) return;
  rows_ = rows;
  Arena measure;
  lay_out(measure, rows);
  memory_ = Block(measure.used());
  Arena arena(memory_);
  lay_out(arena, rows);
}

void InverseDynamics::lay_out(Arena& arena, i64 rows) {
  pairs_ = arena.take<float, 2>({rows, head_.config.input});
  state_ = lewm::take_head(arena, head_.config, rows, Precision::f32);
  guess_ = arena.take<float, 2>({rows, head_.config.output});
  dguess_ = arena.take<float, 2>({rows, head_.config.output});
  dpairs_ = arena.take<float, 2>({rows, head_.config.input});
}

double InverseDynamics::value_and_gradient(Context& ctx, const LossInputs& in, double weight,
                                           const LossSlopes& slopes) {
  const i64 windows = in.emb.size(0), steps = in.emb.size(1) - 1, width = in.emb.size(2);
  const i64 numbers = head_.config.output;
  check(2 * width == head_.config.input && in.actions.size(0) == windows &&
            in.actions.size(1) == steps + 1 && in.actions.size(2) == numbers,
        kName, ": latents are ", in.emb.shape(), " and actions ", in.actions.shape(),
        ", the head takes ", head_.config.input, " numbers and gives ", numbers);
  make_room(windows * steps);
  const View<float, 3> pairs = pairs_.reshaped<3>({windows, steps, 2 * width});
  copy(ctx, in.emb.slice(1, 1, steps + 1), pairs.slice(2, 0, width));
  copy(ctx, in.emb.slice(1, 0, steps), pairs.slice(2, width, 2 * width));
  lewm::head_forward(ctx, head_.config, head_.tensors, true, {}, pairs_, state_, guess_);

  const auto count = static_cast<double>(in.share.whole(windows) * steps * numbers);
  double sum = 0;
  for (i64 row = 0; row < rows_; ++row) {
    for (i64 a = 0; a < numbers; ++a) {
      const float came = in.actions(row / steps, row % steps, a);
      const double error = static_cast<double>(guess_(row, a)) -
                           (std::isnan(came) ? 0.0 : static_cast<double>(came));
      sum += error * error;
      dguess_(row, a) = static_cast<float>(2.0 * error / count);
    }
  }
  lewm::head_backward(ctx, head_.config, head_.tensors, head_.bound(optimiser_.gradient().data()),
                      {}, pairs_, state_, dguess_, dpairs_);
  if (weight != 0) {
    scale(ctx, static_cast<float>(weight), dpairs_.flat());
    const View<float, 3> dpairs = dpairs_.reshaped<3>({windows, steps, 2 * width});
    add_to(ctx, dpairs.slice(2, 0, width), slopes.emb.slice(1, 1, steps + 1));
    add_to(ctx, dpairs.slice(2, width, 2 * width), slopes.emb.slice(1, 0, steps));
  }
  if (in.share.sums != nullptr) in.share.sums->add_up(View<double, 1>(&sum, {1}));
  return sum / count;
}

void InverseDynamics::end_step(Context& ctx, const LearningStep& step) {
  optimiser_.end_step(ctx, step, head_.parameters.view<float, 1>());
}

TensorMap InverseDynamics::contents() const {
  TensorMap contents = lewm::tensors_from_head(head_);
  optimiser_.add_contents(contents);
  return contents;
}

void InverseDynamics::restore(const TensorMap& contents, const std::string& where) {
  TensorMap tensors;
  for (const auto& [name, tensor] : lewm::tensors_from_head(head_)) {
    const auto at = contents.find(name);
    check(at != contents.end(), where, ": ", name, " is missing");
    tensors.emplace(name, at->second.clone());
  }
  lewm::read_head(head_, tensors, where);
  optimiser_.restore(contents, where);
}

}  // namespace orrery::train
