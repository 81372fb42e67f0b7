#include "train/loop.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "train/run_folder.h"

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
  std::vector<std::string> names = names_of_validation();
  for (const Examiner* examiner : run.examiners) {
    for (const std::string& name : examiner->names()) names.push_back(name);
  }
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  check(std::find(names.begin(), names.end(), settings.best_by) != names.end(),
        "training.best_by is ", settings.best_by, "; this run measures ", known);
}

// The clock of a run: breaks between resumed parts are left out.
class Stopwatch {
 public:
  void begin(double before) {
    before_ = before;
    start_ = told_ = now_s();
  }
  double seconds() const { return before_ + now_s() - start_; }
  // samples since the last call, as a rate
  Pace lap(i64 samples) {
    const double now = now_s(), passed = std::max(now - told_, 1e-9);
    told_ = now;
    return {seconds(), static_cast<double>(samples) / passed};
  }

 private:
  double before_ = 0, start_ = 0, told_ = 0;
};

// Steps after which ranks compare their weights. Two passes over memory, beside hundreds a step.
constexpr i64 kCompareEvery = 100;

// A run and everything it holds in memory.
class Trainer {
 public:
  Trainer(Context& ctx, const Run& run, BatchSource& source, Observer& observer,
          dist::Lockstep* lockstep)
      : ranks_(lockstep, run.sums),
        run_(run),
        settings_(run.settings),
        source_(source),
        asked_(observer),
        observer_(ranks_.leads() ? observer : silent_),
        learner_(ctx, run.model, settings_, ranks_),
        description_({{"model", lewm::json_from_config(run.model)},
                      {"training", json_from_settings(settings_)},
                      {"statistics", run.statistics},
                      {"windows", {source.training_windows(), source.validation_windows()}}}) {
    if (!run.encoder.empty()) description_["encoder"] = run.encoder;
  }

  Outcome run() {
    start();
    observer_.planned(learner_.activation_bytes(), learner_.device_bytes());
    observer_.began(learner_.weights().parameters.numel(), learner_.steps(), settings_.steps);
    i64 logged = learner_.steps();
    while (learner_.steps() < settings_.steps) {
      const double lr = learner_.next_learning_rate();
      const StepReport report = learner_.step(source_);
      // a step that was not finite has not been counted
      const i64 step = learner_.steps() + (report.finite ? 0 : 1);
      const bool last = step == settings_.steps;
      observer_.stepped(step, lr, report);
      if (!report.finite || last || step % settings_.log_every == 0) {
        const LatentSpread spread = learner_.spread();
        const Pace pace = stopwatch_.lap((step - logged) * settings_.batch * settings_.accumulate);
        logged = step;
        if (metrics_) metrics_->add_step(step, lr, report, spread, pace);
        observer_.logged(step, spread, pace);
      }
      if (!report.finite) return not_finite(step, report);
      if (every(kCompareEvery, step, false)) learner_.must_agree();
      if (const auto end = measure(step, last)) return *end;
      const bool stop = ranks_.any(!last && asked_.wants_to_stop());
      if (stop || every(settings_.checkpoint_every, step, last)) save();
      if (stop) {
        return {Outcome::Kind::stopped, step, text("stopped after step ", step, kept())};
      }
    }
    return {Outcome::Kind::finished, learner_.steps(), ""};
  }

 private:
  static bool every(i64 interval, i64 step, bool last) {
    return interval > 0 && (last || step % interval == 0);
  }

  void start() {
    must_be_one_run();
    if (!ranks_.notice().empty()) observer_.noticed(ranks_.notice());
    i64 begun = 0;
    if (ranks_.leads()) {
      folder_.emplace(run_.output);
      begun = folder_->checkpoints().empty() ? 0 : 1;
      check(run_.resume || begun == 0, run_.output.string(),
            " holds a run already; resume it or give another folder");
    }
    ranks_.take_from_rank_0(begun);
    // from the beginning, or from the checkpoint
    if (begun == 0) learner_.begin(source_);
    if (begun == 0 && ranks_.leads() && !run_.init.empty()) {
      learner_.begin_with(run_.init, run_.init_optimiser);
      check(learner_.steps() < settings_.steps, run_.init.string(), " has taken ", learner_.steps(),
            " steps already, the run has ", settings_.steps);
    }
    if (begun == 0 && ranks_.leads() && !run_.init_encoder.empty()) {
      learner_.begin_encoder_with(lewm::load_model(run_.init_encoder), run_.init_encoder.string());
    }
    const double seconds = begun != 0 && ranks_.leads() ? restore() : 0;
    if (ranks_.leads()) describe();
    learner_.take_from_rank_0();
    stopwatch_.begin(seconds);
  }

  // all ranks do what rank 0 does
  void must_be_one_run() {
    const auto all = ranks_.gather(description_.dump());
    for (std::size_t rank = 1; rank < all.size(); ++rank) {
      const std::string other =
          difference(json::parse(all[0]), json::parse(all[rank]), json::object(), {});
      check(other.empty(), "rank ", rank, " was started for another run than rank 0: ", other);
    }
  }

  // the small files that say what the run is
  void describe() {
    metrics_.emplace(run_.output / "metrics.jsonl", run_.resume, learner_.steps());
    write_json(run_.output / "config.json", lewm::json_from_config(run_.model));
    write_json(run_.output / "statistics.json", run_.statistics);
    write_json(run_.output / "training.json", json_from_settings(settings_));
  }

  // goes on from the newest checkpoint; returns the seconds that the run had taken
  double restore() {
    const auto checkpoint =
        folder_->newest([&](const std::string& sentence) { observer_.noticed(sentence); });
    const json defaults = {{"training", json_from_settings(TrainingSettings{})}};
    const std::string other =
        difference(checkpoint->description, description_, defaults, settings_free_to_change());
    check(other.empty(), run_.output.string(), " holds a run of another configuration: ", other);
    learner_.restore(checkpoint->tensors, run_.output.string());
    const json& notes = checkpoint->notes;
    const json best = notes.value("best", json::object());
    if (best.value("by", "") == settings_.best_by) best_ = best;
    return notes.value("seconds", 0.0);
  }

  // validation and examinations that are due; an outcome when the latent has collapsed
  std::optional<Outcome> measure(i64 step, bool last) {
    if (settings_.settle_batches > 0) {
      bool due = every(settings_.validation_every, step, last);
      for (const Examiner* examiner : run_.examiners) due = due || examiner->due(step, last);
      if (ranks_.any(due)) learner_.settle(source_);
    }
    if (every(settings_.validation_every, step, last)) {
      const ValidationReport validation = learner_.validate(source_);
      take(step, measures_of(validation));
      if (collapsed(validation)) return collapse(step, validation);
    }
    for (Examiner* examiner : run_.examiners) {
      if (ranks_.leads() && examiner->due(step, last)) {
        take(step, examiner->examine(step, learner_.judged()));
      }
    }
    return std::nullopt;
  }

  void take(i64 step, const std::vector<Measure>& measures) {
    if (!ranks_.leads()) return;
    metrics_->add_measures(step, measures);
    observer_.measured(step, measures);
    for (const Measure& measure : measures) {
      if (measure.name != settings_.best_by || !std::isfinite(measure.value)) continue;
      const double sign = measure.more_is_better ? 1 : -1;
      if (!best_.empty() && sign * measure.value <= sign * best_.at("value").get<double>()) {
        continue;
      }
      best_ = {{"by", measure.name}, {"value", measure.value}, {"step", step}};
      write_weights("weights_best.safetensors", learner_.judged());
    }
  }

  void write_weights(const char* name, const lewm::Weights& weights) const {
    write_safetensors(run_.output / name, lewm::tensors_from_weights(weights));
  }

  void save() {
    learner_.must_agree();
    learner_.settle(source_);
    if (!ranks_.leads()) return;
    // the checkpoint last: whoever resumes from it finds everything else written
    write_weights("weights.safetensors", learner_.weights());
    if (const auto* average = learner_.average()) {
      write_weights("weights_ema.safetensors", *average);
    }
    const json notes = {{"seconds", stopwatch_.seconds()}, {"best", best_}};
    folder_->add(learner_.steps(), {description_, notes, learner_.contents()}, settings_.keep_last);
    observer_.saved(learner_.steps());
  }

  // not before BatchNorm's running statistics have forgotten where they began: 0.9^50 is 0.5 %
  bool collapsed(const ValidationReport& report) const {
    if (learner_.batches_tracked() < 50) return false;
    return !(report.effective_rank >= settings_.min_effective_rank) ||
           !(report.latent_std >= settings_.min_latent_std);
  }

  std::string kept() const {
    return checkpoints_in(run_.output).empty()
               ? std::string("; there is no checkpoint yet")
               : text("; the last checkpoint is kept in ", run_.output.string());
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

  Ranks ranks_;
  const Run& run_;
  const TrainingSettings& settings_;
  BatchSource& source_;
  Observer silent_;
  Observer& asked_;     // whether to stop
  Observer& observer_;  // is told
  // of the rank that leads
  std::optional<RunFolder> folder_;
  std::optional<Metrics> metrics_;
  Learner learner_;
  json description_;
  json best_ = json::object();  // by, value, step
  Stopwatch stopwatch_;
};

}  // namespace

Outcome train(Context& ctx, const Run& run, BatchSource& source, Observer& observer,
              dist::Lockstep* ranks) {
  check_fit(run, source);
  return Trainer(ctx, run, source, observer, ranks).run();
}

}  // namespace orrery::train
