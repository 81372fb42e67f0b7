#include <iostream>
#include <memory>
#include <optional>
#include <sstream>

#include "device/peak_memory.h"
#include "device_options.h"
#include "eval/examiners.h"
#include "io/json.h"
#include "io/tensors.h"
#include "models/lewm/presets.h"
#include "narrator.h"
#include "progress.h"
#include "rank_options.h"
#include "train/loop.h"
#include "train/recorded.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

struct Options {
  std::string data, config, output, page, init, init_encoder, observation;
  std::optional<std::string> preset;
  std::vector<std::string> set;  // key=value
  bool init_optimiser = false;
  bool resume = false;
  bool json = false;
  std::optional<i64> steps;
  std::optional<u64> seed;
  std::string precision;
  std::string device = "cpu";
  std::string rank_sums = "auto";
  int threads = 0;
  RankOptions ranks;
};

// A rank that does not tell, but may be asked to stop.
class Listener : public train::Observer {
 public:
  Listener() { stop_requested(); }
  bool wants_to_stop() override { return stop_requested(); }
};

// where to train; "auto" says why not on a device
DeviceChoice device_of(const Options& options, const dist::World& world) {
  std::string reason;
  const DeviceChoice choice = device_of_rank(options.device, &reason);
  if (!reason.empty() && world.rank() == 0) {
    std::cerr << "orrery: training on the CPU: " << reason << "\n";
  }
  return choice;
}

i64 megabytes(std::size_t bytes) { return static_cast<i64>(bytes / 1000000); }

// `key=value` put into `training`, or `model.key=value` into `model`, with dots between what lies
// in one another (`readout.weight`); a value that is no JSON is text
void put(const std::string& assignment, nlohmann::json& root) {
  const std::size_t equals = assignment.find('=');
  check(equals != std::string::npos && equals > 0, "--set ", assignment,
        ": key=value was needed, such as lr=1e-4");
  const std::string characters = assignment.substr(equals + 1);
  nlohmann::json value = nlohmann::json::parse(characters, nullptr, false);
  const std::string path = assignment.substr(0, equals);
  const bool of_model = path.rfind("model.", 0) == 0;
  check(!of_model || root.contains("model"), "--set ", assignment,
        ": the configuration has no model; --config with one was needed");
  nlohmann::json* node = of_model ? &root : &root["training"];
  std::istringstream keys(path);
  for (std::string key; std::getline(keys, key, '.');) {
    check(node->is_object() || node->is_null(), "--set ", assignment, ": ", key, " is asked of ",
          node->type_name(), ", an object was needed");
    // models of other programs have keys of their own, so a key that is not there cannot be told
    // from one that is mistyped
    check(!of_model || node->contains(key), "--set ", assignment,
          ": the configuration's model has no ", key);
    node = &(*node)[key];
  }
  *node = value.is_discarded() ? nlohmann::json(characters) : value;
}

// Model and settings of the configuration file and of what goes over it. Returns what the model is
// from, in words; nothing when none of them has one.
std::string read_configuration(const Options& options, train::Run& run) {
  nlohmann::json root = nlohmann::json::object();
  if (!options.config.empty()) root = read_json(options.config);
  check(root.is_object(), options.config, " holds ", root.type_name(), ", an object was needed");
  for (const auto& [key, value] : root.items()) {
    check(key == "model" || key == "training", options.config, ": ", key,
          " is unknown; model and training were expected");
  }
  if (!root.contains("training")) root["training"] = nlohmann::json::object();
  for (const std::string& assignment : options.set) put(assignment, root);
  std::string model_from;
  if (root.contains("model")) {
    model_from = options.config;
    run.model = lewm::config_from_json(root.at("model"), options.config + ": model");
  }
  // a model to begin with brings its own configuration
  const auto beside = std::filesystem::path(options.init).parent_path() / "config.json";
  if (model_from.empty() && !options.init.empty() && std::filesystem::exists(beside)) {
    model_from = text(beside.string(), " beside the weights of --init");
    run.model = lewm::read_config(beside);
  }
  run.settings = train::settings_from_json(
      root.at("training"), options.config.empty() ? std::string("--set") : options.config);
  return model_from;
}

// The column that a model of vectors sees: the one asked for, else the first that is known.
std::string observation_of(const Options& options) {
  if (!options.observation.empty()) return options.observation;
  const auto episodes = open_episodes(options.data);
  for (const char* name : {"observation", "observation.state", "state", "proprio"}) {
    if (episodes->find_column(name) >= 0) return name;
  }
  fail(options.data,
       " has no column observation, observation.state, state or proprio; name one with "
       "--observation");
}

// the model whose encoder is at rest while dynamics learn
lewm::Weights encoder_of(const Options& options, const lewm::Config& config) {
  check(!options.init.empty() || !options.init_encoder.empty(),
        "training.learn is dynamics, which needs the encoder of a trained model: --init-encoder "
        "MODEL, or --init FILE");
  if (!options.init_encoder.empty()) return lewm::load_model(options.init_encoder);
  return lewm::weights_from_tensors(config, read_tensors(options.init), options.init);
}

// Recorded frames are encoded by it, with progress; returns its fingerprint.
std::string encode_frames(const Options& options, Context& ctx, const train::Run& run,
                          train::Recorded& data, bool tells) {
  const lewm::Model model(ctx, encoder_of(options, run.model));
  check(model.config().latent() == run.model.latent() &&
            model.config().encoder.image_size == run.model.encoder.image_size,
        options.init_encoder, " encodes frames of ", model.config().encoder.image_size,
        " to latents of ", model.config().latent(), " numbers, the model to be trained takes ",
        run.model.encoder.image_size, " and ", run.model.latent());
  std::optional<Progress> progress;
  data.encode(ctx, model, [&](i64 done, i64 all) {
    if (!tells) return;
    if (!progress) progress.emplace("encoding", all, "frames");
    progress->update(done);
  });
  return train::fingerprint_of(model.weights().parameters);
}

// on every rank, of which the first tells
void train_on_rank(const Options& options, const dist::World& world, dist::Lockstep& ranks,
                   int& result) {
  train::Run run;
  const std::string model_from = read_configuration(options, run);
  const bool has_model = !model_from.empty();
  if (options.steps) run.settings.steps = *options.steps;
  if (options.seed) run.settings.seed = *options.seed;
  if (!options.precision.empty()) run.settings.precision = precision_from(options.precision);

  if (options.preset) {
    check(!has_model, model_from, " has a model, and so has --preset ", *options.preset,
          "; one of them was needed");
    run.model = lewm::preset(*options.preset);
  }
  lewm::EncoderConfig& encoder = run.model.encoder;
  if (encoder.of_vectors() && (!has_model || !options.observation.empty())) {
    encoder.vector.column = observation_of(options);
  }
  check(encoder.of_vectors() || options.observation.empty(),
        "--observation is of models that see vectors, such as --preset vector-mlp");
  train::settle(run.settings, run.model);
  Context ctx({.threads = options.ranks.threads(world, options.threads),
               .where = device_of(options, world)});
  // A CPU's threads have a step to make, and a batch takes one of them a small part of that; a
  // device leaves them to its batches.
  const bool away = ctx.device() != Device::cpu;
  const train::ReadAhead ahead{.threads = away ? std::max(1, ctx.threads() - 1) : 1,
                               .device = away ? &ctx : nullptr};
  // drawn pictures have the model's size
  train::Recorded data(options.data, run.settings, train::Ranks(&ranks),
                       has_model ? encoder.image_size : 0,
                       encoder.of_vectors() ? encoder.vector.column : std::string(), ahead);
  const i64 block = run.settings.frameskip * data.action_width();
  if (!has_model) {
    // a published model, for the data's actions and frames
    run.model.action.input = block;
    encoder.image_size = data.image_size();
    if (encoder.of_vectors()) encoder.vector.inputs = data.observed().width();
  }
  check(!encoder.of_vectors() || encoder.vector.inputs == data.observed().width(), options.data,
        ": column ", encoder.vector.column, " has ", data.observed().width(),
        " numbers, the model sees ", encoder.vector.inputs);
  check(run.model.action.input == block, options.data, " has actions of ", data.action_width(),
        " numbers, with frameskip ", run.settings.frameskip, " a block of ", block,
        "; the model takes blocks of ", run.model.action.input);
  train::add_learned_losses(run.settings, run.model, data.observed());
  if (run.settings.steps == 0) {
    run.settings.steps = run.settings.epochs * (data.training_windows() / run.settings.batch);
  }
  run.image_size = data.image_size();
  run.statistics = data.statistics();
  const std::string environment = environment_of(*open_episodes(options.data));
  if (!environment.empty()) run.statistics["environment"] = environment;
  run.output = options.output;
  run.resume = options.resume;
  run.init = options.init;
  run.init_optimiser = options.init_optimiser;
  run.init_encoder = options.init_encoder;
  run.sums = dist::sums_by_from(options.rank_sums);
  // with --json only the one object goes to standard output
  std::ostream silent(nullptr);
  std::ostream& out = world.rank() != 0 ? silent : options.json ? std::cerr : std::cout;
  out << options.data << ": " << data.training_windows() << " windows to learn from, "
      << data.validation_windows() << " held out" << std::endl;

  if (train::learns_dynamics(run.settings)) {
    run.encoder = encode_frames(options, ctx, run, data, world.rank() == 0);
  }
  // every rank knows what is measured, the first measures
  const auto examiners =
      examiners_for(ctx, options.data, run.settings, data.model_statistics(), data.image_size());
  for (const auto& examiner : examiners) run.examiners.push_back(examiner.get());
  if (world.rank() != 0) {
    Listener listener;
    train::train(ctx, run, data, listener, &ranks);
    return;
  }
  if (world.size() > 1) out << world.size() << " ranks" << std::endl;
  Narrator narrator(out, options.output, options.page);
  const train::Outcome outcome = train::train(ctx, run, data, narrator, &ranks);
  narrator.end_progress();
  if (options.json) {
    nlohmann::json object = narrator.summary();
    object["output"] = options.output;
    object["steps"] = outcome.steps;
    object["ranks"] = world.size();
    object["finished"] = outcome.kind == train::Outcome::Kind::finished;
    object["training_windows"] = data.training_windows();
    object["validation_windows"] = data.validation_windows();
    object["precision"] = name_of(run.settings.precision);
    object["device"] = name_of(ctx.device());
    object["peak_memory_bytes"] = peak_memory_bytes();
    object["settings"] = train::json_from_settings(run.settings);
    std::cout << object.dump() << std::endl;
  }
  if (outcome.kind != train::Outcome::Kind::finished) {
    std::cerr << "orrery: " << outcome.reason << "\n";
    result = 1;
    return narrator.draw_last_page();
  }
  out << "trained " << outcome.steps << " steps, " << megabytes(peak_memory_bytes())
      << " MB of memory at most; the model is in " << options.output << std::endl;
  narrator.draw_last_page();
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
                       ", or slim_<Z>d_<E>e_<P>p, hybrid_<H>d_<E>_<P> and vector_<Z>d_<P>p with "
                       "other numbers");
  verb->add_option("--observation", options->observation,
                   "column of numbers that a vector model sees in place of pictures (default: "
                   "observation, observation.state, state or proprio)");
  verb->add_option("--output", options->output, "folder for the model and the run")->required();
  verb->add_flag("--resume", options->resume,
                 "go on from the folder's checkpoint, if there is one");
  verb->add_option(
          "--set", options->set,
          "a setting that goes before the configuration's, such as lr=1e-4, readout.weight=1 or "
          "model.encoder.num_hidden_layers=2; one each time, may be repeated")
      ->allow_extra_args(false)
      ->option_text("KEY=VALUE");
  auto* init = verb->add_option("--init", options->init,
                                "begin with the weights of a file: .ckpt of Lightning, .pt or "
                                ".safetensors");
  verb->add_flag("--init-optimiser", options->init_optimiser,
                 "and with the AdamW moments and the step of the Lightning checkpoint")
      ->needs(init);
  verb->add_option(
          "--init-encoder", options->init_encoder,
          "begin with the encoder and projector of a model (folder or file of weights), the "
          "rest anew; with --set learn=dynamics they stay as they are")
      ->excludes(init);
  verb->add_option("--page", options->page,
                   "HTML page of curves, renewed while training (orrery curves draws one later)");
  verb->add_option("--steps", options->steps, "optimiser steps")->check(CLI::PositiveNumber);
  verb->add_option(
          "--device", options->device,
          "where to train: cpu, cuda, cuda:N, or auto (CUDA where it can be used); a run may "
          "go on on another; under mpirun, cuda spreads the ranks of a machine over its devices")
      ->capture_default_str();
  verb->add_option("--precision", options->precision,
                   "of products: f32, or bf16 with weights, gradients and losses in f32")
      ->check(CLI::IsMember({"f32", "bf16"}));
  verb->add_option("--seed", options->seed, "seed of weights, order, directions and dropout");
  verb->add_option("--threads", options->threads,
                   "threads; 0: all cores. On a CUDA device they make the batches")
      ->check(CLI::NonNegativeNumber);
  options->ranks.add_to(*verb);
  verb->add_option("--rank-sums", options->rank_sums,
                   "under mpirun, on CUDA devices: how ranks add up; nccl (a device for each), "
                   "host (any MPI), or auto: nccl where it can be used")
      ->check(CLI::IsMember({"auto", "nccl", "host"}))
      ->capture_default_str();
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, &result] { train_model(*options, result); });
}

}  // namespace orrery::cli
