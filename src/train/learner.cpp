#include "train/learner.h"

#include <array>

#include "models/lewm/initialize.h"
#include "ops/image.h"
#include "train/checkpoint.h"
#include "train/schedule.h"

namespace orrery::train {

namespace {

// normalised RGB, mean over all pixels
std::array<float, 3> mean_colour(View<const u8, 5> pixels) {
  std::array<i64, 3> sums = {};
  const i64 count = pixels.numel() / 3;
  for (i64 i = 0; i < count; ++i) {
    for (std::size_t c = 0; c < 3; ++c) sums[c] += pixels.data()[3 * i + static_cast<i64>(c)];
  }
  std::array<float, 3> colour = {};
  for (std::size_t c = 0; c < 3; ++c) {
    const double mean = static_cast<double>(sums[c]) / (255.0 * static_cast<double>(count));
    colour[c] = static_cast<float>((mean - static_cast<double>(kImageMean[c])) /
                                   static_cast<double>(kImageStd[c]));
  }
  return colour;
}

}  // namespace

Learner::Learner(Context& ctx, const lewm::Config& model, const TrainingSettings& settings)
    : ctx_(ctx),
      settings_(settings),
      weights_(model),
      optimiser_(weights_),
      state_(model, settings.batch, settings.num_steps, settings.unroll),
      losses_(settings.losses, LossSizes(state_)) {}

void Learner::begin(BatchSource& source) {
  if (settings_.initialization == "scaled") {
    lewm::initialize_scaled(weights_, settings_.seed, mean_colour(source.training_batch(0).pixels));
  } else {
    lewm::initialize(weights_, settings_.seed);
  }
}

double Learner::next_learning_rate() const {
  const Schedule schedule{settings_.lr, warmup_steps(settings_.warmup_fraction, settings_.steps),
                          settings_.steps};
  return schedule.learning_rate(optimiser_.steps);
}

StepReport Learner::step(BatchSource& source) {
  const StepSettings settings{.losses = settings_.losses,
                              .adamw = {.lr = static_cast<float>(next_learning_rate()),
                                        .weight_decay = static_cast<float>(settings_.weight_decay)},
                              .clip = settings_.clip};
  // batches are counted over the whole run: each has windows, directions and masks of its own
  const i64 first = optimiser_.steps * settings_.accumulate;
  StepReport report;
  begin_gradient(ctx_, optimiser_);
  for (i64 i = first; i < first + settings_.accumulate && report.finite; ++i) {
    draw_directions(settings_.seed, i + 1, losses_.directions());
    const lewm::PassMode mode{.dropout_seed = settings_.seed, .step = static_cast<u64>(i)};
    add_gradient(ctx_, settings, mode, source.training_batch(i), weights_, state_, losses_,
                 optimiser_, report);
  }
  if (report.finite) update(ctx_, settings, weights_, optimiser_, report);
  return report;
}

ValidationReport Learner::validate(BatchSource& source) {
  return train::validate(ctx_, settings_.losses, settings_.seed, settings_.validation_batches,
                         source, weights_, state_, losses_);
}

LatentSpread Learner::spread() const {
  Covariance covariance(state_.emb().size(2));
  covariance.add(state_.emb().as_rows());
  return {covariance.mean_std(), covariance.participation_ratio()};
}

TensorMap Learner::contents() const {
  TensorMap contents;
  contents.emplace("parameters", weights_.parameters.clone());
  contents.emplace("buffers", weights_.buffers.clone());
  contents.emplace("m", optimiser_.m.clone());
  contents.emplace("v", optimiser_.v.clone());
  contents.emplace("steps", tensor_of_count(optimiser_.steps));
  contents.emplace("batches_tracked", tensor_of_count(weights_.batches_tracked));
  return contents;
}

void Learner::restore(const TensorMap& contents, const std::string& where) {
  restore_tensor(contents, "parameters", where, weights_.parameters);
  restore_tensor(contents, "buffers", where, weights_.buffers);
  restore_tensor(contents, "m", where, optimiser_.m);
  restore_tensor(contents, "v", where, optimiser_.v);
  optimiser_.steps = count_from(contents, "steps", where);
  weights_.batches_tracked = count_from(contents, "batches_tracked", where);
}

}  // namespace orrery::train
