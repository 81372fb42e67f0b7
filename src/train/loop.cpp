#include "train/loop.h"

#include <cmath>

#include "io/json.h"
#include "io/safetensors.h"
#include "models/lewm/initialize.h"
#include "train/checkpoint.h"
#include "train/metrics.h"
#include "train/schedule.h"

namespace orrery::train {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

void check_fit(const Run& run, const BatchSource& source) {
  const TrainingSettings& settings = run.settings;
  check(run.image_size == run.model.encoder.image_size, "the data has frames of ", run.image_size,
        "x", run.image_size, ", the model is for ", run.model.encoder.image_size, "x",
        run.model.encoder.image_size);
  check(settings.steps >= 1, "training: no steps are to be taken");
  check(source.training_windows() >= settings.batch, "the data has ", source.training_windows(),
        " training windows, a batch needs ", settings.batch);
  check(settings.validation_every == 0 || source.validation_windows() >= settings.batch,
        "the data has ", source.validation_windows(),
        " held-out windows, a validation batch needs ", settings.batch,
        " (validation_fraction, or validation_every 0)");
}

// A run and everything it holds in memory.
class Trainer {
 public:
  Trainer(Context& ctx, const Run& run, BatchSource& source, Observer& observer)
      : ctx_(ctx),
        run_(run),
        settings_(run.settings),
        source_(source),
        observer_(observer),
        weights_(run.model),
        optimiser_(weights_),
        state_(run.model, settings_.batch, settings_.num_steps),
        losses_(settings_.losses, settings_.batch, settings_.num_steps, run.model.latent()),
        description_({{"model", lewm::json_from_config(run.model)},
                      {"training", json_from_settings(settings_)},
                      {"statistics", run.statistics},
                      {"windows", {source.training_windows(), source.validation_windows()}}}),
        fingerprint_(fingerprint_of(description_.dump())) {}

  Outcome run() {
    start();
    Metrics metrics(run_.output / "metrics.jsonl", run_.resume, optimiser_.steps);
    observer_.began(weights_.parameters.numel(), optimiser_.steps, settings_.steps);
    const Schedule schedule{settings_.lr, warmup_steps(settings_.warmup_fraction, settings_.steps),
                            settings_.steps};
    while (optimiser_.steps < settings_.steps) {
      const i64 step = optimiser_.steps;
      const double lr = schedule.learning_rate(step);
      const StepReport report = take_step(step, lr);
      observer_.stepped(step + 1, lr, report);
      const bool last = step + 1 == settings_.steps;
      if (!report.finite || last || (step + 1) % settings_.log_every == 0) {
        metrics.add_step(step + 1, lr, report);
      }
      if (!report.finite) return not_finite(step + 1, report);

      if (every(settings_.validation_every, step + 1, last)) {
        const ValidationReport validation =
            validate(ctx_, settings_.losses, settings_.seed, settings_.validation_batches, source_,
                     weights_, state_, losses_);
        metrics.add_validation(step + 1, validation);
        observer_.validated(step + 1, validation);
        if (collapsed(validation)) return collapse(step + 1, validation);
      }
      const bool stop = !last && observer_.wants_to_stop();
      if (stop || every(settings_.checkpoint_every, step + 1, last)) save();
      if (stop) {
        return {Outcome::Kind::stopped, optimiser_.steps,
                text("stopped after step ", optimiser_.steps, kept())};
      }
    }
    return {Outcome::Kind::finished, optimiser_.steps, ""};
  }

 private:
  fs::path checkpoint() const { return run_.output / "checkpoint.safetensors"; }
  static bool every(i64 interval, i64 step, bool last) {
    return interval > 0 && (last || step % interval == 0);
  }

  // from the checkpoint or from the beginning; the small files that describe the model are written
  void start() {
    fs::create_directories(run_.output);
    const bool begun = fs::exists(checkpoint());
    check(run_.resume || !begun, run_.output.string(),
          " holds a run already; resume it or give another folder");
    if (begun) {
      read_checkpoint(checkpoint(), fingerprint_, weights_, optimiser_);
    } else {
      lewm::initialize(weights_, settings_.seed);
    }
    write_json(run_.output / "config.json", lewm::json_from_config(run_.model));
    write_json(run_.output / "statistics.json", run_.statistics);
    write_json(run_.output / "training.json", json_from_settings(settings_));
  }

  StepReport take_step(i64 step, double lr) {
    draw_directions(settings_.seed, step + 1, losses_.directions());
    const StepSettings settings{
        .losses = settings_.losses,
        .adamw = {.lr = static_cast<float>(lr),
                  .weight_decay = static_cast<float>(settings_.weight_decay)},
        .clip = settings_.clip};
    const lewm::PassMode mode{.dropout_seed = settings_.seed, .step = static_cast<u64>(step)};
    return train_step(ctx_, settings, mode, source_.training_batch(step), weights_, state_, losses_,
                      optimiser_);
  }

  void save() {
    write_checkpoint(checkpoint(), fingerprint_, weights_, optimiser_);
    write_safetensors(run_.output / "weights.safetensors", lewm::tensors_from_weights(weights_));
    observer_.saved(optimiser_.steps);
  }

  // not before BatchNorm's running statistics have forgotten where they began: 0.9^50 is 0.5 %
  bool collapsed(const ValidationReport& report) const {
    if (weights_.batches_tracked < 50) return false;
    return !(report.effective_rank >= settings_.min_effective_rank) ||
           !(report.latent_std >= settings_.min_latent_std);
  }

  std::string kept() const {
    return fs::exists(checkpoint())
               ? text("; the last checkpoint is kept in ", run_.output.string())
               : text("; there is no checkpoint yet");
  }
  Outcome not_finite(i64 step, const StepReport& report) const {
    return {Outcome::Kind::not_finite, step,
            text("step ", step, ": the loss is ", report.losses.total, " and the gradient's norm ",
                 report.gradient_norm, kept())};
  }
  Outcome collapse(i64 step, const ValidationReport& report) const {
    return {
        Outcome::Kind::collapsed, step,
        text("step ", step, ": the latent has collapsed: effective rank ", report.effective_rank,
             " (at least ", settings_.min_effective_rank, " was needed), standard deviation ",
             report.latent_std, " (at least ", settings_.min_latent_std, ")", kept())};
  }

  Context& ctx_;
  const Run& run_;
  const TrainingSettings& settings_;
  BatchSource& source_;
  Observer& observer_;
  lewm::Weights weights_;
  Optimiser optimiser_;
  lewm::TrainingState state_;
  LossState losses_;
  json description_;
  std::string fingerprint_;
};

}  // namespace

Outcome train(Context& ctx, const Run& run, BatchSource& source, Observer& observer) {
  check_fit(run, source);
  return Trainer(ctx, run, source, observer).run();
}

}  // namespace orrery::train
