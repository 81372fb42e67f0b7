#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>

#include "device/peak_memory.h"
#include "eval/examiners.h"
#include "io/json.h"
#include "models/lewm/presets.h"
#include "progress.h"
#include "rank_options.h"
#include "train/loop.h"
#include "train/recorded.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

struct Options {
  std::string data, config, preset, output;
  bool resume = false;
  bool json = false;
  std::optional<i64> steps;
  std::optional<u64> seed;
  std::string precision;
  int threads = 0;
  RankOptions ranks;
};

i64 megabytes(std::size_t bytes) { return static_cast<i64>(bytes / 1000000); }

// Tells a run's progress, and passes on a polite request to stop.
class Narrator : public train::Observer {
 public:
  explicit Narrator(std::ostream& out) : out_(out) {
    stop_requested();  // from now on a request to end is heard after a step
  }

  std::size_t activation_bytes = 0;
  // the newest value of everything that was measured
  std::map<std::string, double> measures;

  void planned(std::size_t bytes) override { activation_bytes = bytes; }

  void began(i64 parameters, i64 first_step, i64 steps) override {
    out_ << "model of " << parameters << " parameters, " << megabytes(activation_bytes)
         << " MB of activations, steps " << first_step << " to " << steps << std::endl;
    first_ = first_step;
    progress_.emplace("training", steps - first_step, "steps");
  }

  void stepped(i64 step, double, const train::StepReport& report) override {
    std::ostringstream note;
    note << std::fixed << std::setprecision(4) << "loss " << report.losses.total;
    for (const train::LossTerm& term : train::kLossTerms) {
      if (report.losses.*term.value == 0) continue;
      note << "  " << term.name << " " << report.losses.*term.value;
    }
    for (const train::NamedLoss& added : report.losses.added) {
      note << "  " << added.name << " " << added.value;
    }
    progress_->update(step - first_, note.str());
  }

  void measured(i64 step, const std::vector<train::Measure>& values) override {
    out_ << "held out at step " << step << ":";
    const char* between = " ";
    for (const train::Measure& measure : values) {
      measures[measure.name] = measure.value;
      out_ << between << measure.name << " " << std::setprecision(4) << measure.value;
      between = ", ";
    }
    out_ << std::endl;
  }

  void noticed(const std::string& sentence) override { out_ << sentence << std::endl; }

  bool wants_to_stop() override { return stop_requested(); }

 private:
  std::ostream& out_;
  std::optional<Progress> progress_;
  i64 first_ = 0;
};

// A rank that does not tell, but may be asked to stop.
class Listener : public train::Observer {
 public:
  Listener() { stop_requested(); }
  bool wants_to_stop() override { return stop_requested(); }
};

// model and settings of a configuration file, whose other keys must be comments
void read_config_file(const Options& options, train::Run& run, bool& has_model) {
  has_model = false;
  if (options.config.empty()) return;
  const nlohmann::json root = read_json(options.config);
  check(root.is_object(), options.config, " holds ", root.type_name(), ", an object was needed");
  for (const auto& [key, value] : root.items()) {
    check(key == "model" || key == "training", options.config, ": ", key,
          " is unknown; model and training were expected");
  }
  if (root.contains("model")) {
    run.model = lewm::config_from_json(root.at("model"), options.config + ": model");
    has_model = true;
  }
  if (root.contains("training")) {
    run.settings = train::settings_from_json(root.at("training"), options.config);
  }
}

// on every rank, of which the first tells
void train_on_rank(const Options& options, const dist::World& world, dist::Lockstep& ranks,
                   int& result) {
  train::Run run;
  bool has_model = false;
  read_config_file(options, run, has_model);
  if (options.steps) run.settings.steps = *options.steps;
  if (options.seed) run.settings.seed = *options.seed;
  if (!options.precision.empty()) run.settings.precision = precision_from(options.precision);

  if (!options.preset.empty()) {
    check(!has_model, options.config, " has a model, and so has --preset ", options.preset,
          "; one of them was needed");
    run.model = lewm::preset(options.preset);
  }
  train::settle(run.settings, run.model);
  // drawn pictures have the model's size
  train::Recorded data(options.data, run.settings, train::Ranks(&ranks),
                       has_model ? run.model.encoder.image_size : 0);
  const i64 block = run.settings.frameskip * data.action_width();
  if (!has_model) {
    // a published model, for the data's actions and frames
    run.model.action.input = block;
    run.model.encoder.image_size = data.image_size();
  }
  check(run.model.action.input == block, options.data, " has actions of ", data.action_width(),
        " numbers, with frameskip ", run.settings.frameskip, " a block of ", block,
        "; the model takes blocks of ", run.model.action.input);
  train::add_learned_losses(run.settings, run.model);
  if (run.settings.steps == 0) {
    run.settings.steps = run.settings.epochs * (data.training_windows() / run.settings.batch);
  }
  run.image_size = data.image_size();
  run.statistics = data.statistics();
  run.output = options.output;
  run.resume = options.resume;
  // with --json only the one object goes to standard output
  std::ostream silent(nullptr);
  std::ostream& out = world.rank() != 0 ? silent : options.json ? std::cerr : std::cout;
  out << options.data << ": " << data.training_windows() << " windows to learn from, "
      << data.validation_windows() << " held out" << std::endl;

  Context ctx({.threads = options.ranks.threads(world, options.threads)});
  // every rank knows what is measured, the first measures
  const auto examiners = examiners_for(ctx, options.data, run.settings, data.model_statistics());
  for (const auto& examiner : examiners) run.examiners.push_back(examiner.get());
  if (world.rank() != 0) {
    Listener listener;
    train::train(ctx, run, data, listener, &ranks);
    return;
  }
  if (world.size() > 1) out << world.size() << " ranks" << std::endl;
  train::Outcome outcome;
  std::map<std::string, double> measures;
  std::size_t activation_bytes = 0;
  {
    Narrator narrator(out);
    outcome = train::train(ctx, run, data, narrator, &ranks);
    measures = narrator.measures;
    activation_bytes = narrator.activation_bytes;
  }
  if (options.json) {
    nlohmann::json object = {{"output", options.output},
                             {"steps", outcome.steps},
                             {"ranks", world.size()},
                             {"finished", outcome.kind == train::Outcome::Kind::finished},
                             {"training_windows", data.training_windows()},
                             {"validation_windows", data.validation_windows()},
                             {"precision", name_of(run.settings.precision)},
                             {"activation_bytes", activation_bytes},
                             {"peak_memory_bytes", peak_memory_bytes()}};
    if (!measures.empty()) object["validation"] = measures;
    std::cout << object.dump() << std::endl;
  }
  if (outcome.kind != train::Outcome::Kind::finished) {
    std::cerr << "orrery: " << outcome.reason << "\n";
    result = 1;
    return;
  }
  out << "trained " << outcome.steps << " steps, " << megabytes(peak_memory_bytes())
      << " MB of memory at most; the model is in " << options.output << std::endl;
}

void train_model(const Options& options, int& result) {
  const auto world = dist::join_world();
  dist::in_lockstep(*world, {.silence_s = options.ranks.silence_s},
                    [&](dist::Lockstep& ranks) { train_on_rank(options, *world, ranks, result); });
}

}  // namespace

void add_train(CLI::App& app, int& result) {
  auto* verb = app.add_subcommand(
      "train",
      "learn a LeWM from recorded episodes; mpirun -n N orrery train: N ranks share each batch");
  auto options = std::make_shared<Options>();
  verb->add_option("--data", options->data, "recording (stable-worldmodel HDF5)")->required();
  verb->add_option("--config", options->config,
                   "JSON with `model` and `training`; without it the published model");
  std::string names;
  for (const std::string& name : lewm::preset_names()) names += (names.empty() ? "" : ", ") + name;
  verb->add_option("--preset", options->preset,
                   "a published model in place of `model`: " + names +
                       ", or slim_<Z>d_<E>e_<P>p and hybrid_<H>d_<E>_<P> with other numbers");
  verb->add_option("--output", options->output, "folder for the model and the run")->required();
  verb->add_flag("--resume", options->resume,
                 "go on from the folder's checkpoint, if there is one");
  verb->add_option("--steps", options->steps, "optimiser steps")->check(CLI::PositiveNumber);
  verb->add_option("--precision", options->precision,
                   "of products: f32, or bf16 with weights, gradients and losses in f32")
      ->check(CLI::IsMember({"f32", "bf16"}));
  verb->add_option("--seed", options->seed, "seed of weights, order, directions and dropout");
  verb->add_option("--threads", options->threads, "threads; 0: all cores")
      ->check(CLI::NonNegativeNumber);
  options->ranks.add_to(*verb);
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, &result] { train_model(*options, result); });
}

}  // namespace orrery::cli
