#include "train/inverse_dynamics.h"

#include "ops/elementwise.h"
#include "ops/latent_terms.h"
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

void InverseDynamics::settle_on(Context& ctx) {
  parameters_.settle_on(ctx, head_.parameters);
  optimiser_.settle_on(ctx);
}

lewm::Head InverseDynamics::learned() {
  return head_.bound(parameters_.view(head_.parameters).data());
}

void InverseDynamics::begin(u64 seed) {
  lewm::initialize(head_, seed);
  parameters_.push(head_.parameters);
  optimiser_.begin();
}

void InverseDynamics::make_room(const Context& ctx, i64 rows) {
  if (rows == rows_) return;
  rows_ = rows;
  Arena measured;
  lay_out(measured, rows);
  memory_ = Block(ctx, measured.used());
  Arena arena(memory_);
  lay_out(arena, rows);
}

void InverseDynamics::lay_out(Arena& arena, i64 rows) {
  pairs_ = arena.take<float, 2>({rows, head_.config.input});
  state_ = lewm::take_head(arena, head_.config, rows, Precision::f32);
  wanted_ = arena.take<float, 2>({rows, head_.config.output});
  guess_ = arena.take<float, 2>({rows, head_.config.output});
  dguess_ = arena.take<float, 2>({rows, head_.config.output});
  dpairs_ = arena.take<float, 2>({rows, head_.config.input});
}

double InverseDynamics::value_and_gradient(Context& ctx, const LossInputs& in, double weight,
                                           const LossSlopes& slopes) {
  must_be_cpu(ctx, "inverse dynamics whose value is returned");
  double value = 0;
  measure(ctx, in, weight, slopes, View<double, 1>(&value, {1}));
  return value;
}

void InverseDynamics::measure(Context& ctx, const LossInputs& in, double weight,
                              const LossSlopes& slopes, View<double, 1> value) {
  const i64 windows = in.emb.size(0), steps = in.emb.size(1) - 1, width = in.emb.size(2);
  const i64 numbers = head_.config.output;
  check(2 * width == head_.config.input && in.actions.size(0) == windows &&
            in.actions.size(1) == steps + 1 && in.actions.size(2) == numbers,
        kName, ": latents are ", in.emb.shape(), " and actions ", in.actions.shape(),
        ", the head takes ", head_.config.input, " numbers and gives ", numbers);
  make_room(ctx, windows * steps);
  const View<float, 3> pairs = pairs_.reshaped<3>({windows, steps, 2 * width});
  copy(ctx, in.emb.slice(1, 1, steps + 1), pairs.slice(2, 0, width));
  copy(ctx, in.emb.slice(1, 0, steps), pairs.slice(2, width, 2 * width));
  const lewm::Head head = learned();
  lewm::head_forward(ctx, head_.config, head, true, {}, pairs_, state_, guess_);

  const auto by_window = [&](View<float, 2> numbers_of) {
    return numbers_of.reshaped<3>({windows, steps, numbers});
  };
  copy_numbers(ctx, in.actions.slice(1, 0, steps), by_window(wanted_));
  prediction_term(ctx, by_window(wanted_), by_window(guess_), 0,
                  {.weight = 1.0, .windows = in.share.whole(windows), .dz = {}, .value = value},
                  by_window(dguess_));
  lewm::head_backward(ctx, head_.config, head, head_.bound(optimiser_.gradient().data()), {},
                      pairs_, state_, dguess_, dpairs_);
  if (weight != 0) {
    scale(ctx, static_cast<float>(weight), dpairs_.flat());
    const View<float, 3> dpairs = dpairs_.reshaped<3>({windows, steps, 2 * width});
    add_to(ctx, dpairs.slice(2, 0, width), slopes.emb.slice(1, 1, steps + 1));
    add_to(ctx, dpairs.slice(2, width, 2 * width), slopes.emb.slice(1, 0, steps));
  }
  if (in.share.sums != nullptr) in.share.sums->add_up(value);
}

void InverseDynamics::learn(Context& ctx, View<const double, 1> well) {
  optimiser_.learn(ctx, well, parameters_.view(head_.parameters));
}

TensorMap InverseDynamics::contents() const {
  parameters_.pull(head_.parameters);
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
  parameters_.push(head_.parameters);
  optimiser_.restore(contents, where);
}

}  // namespace orrery::train
