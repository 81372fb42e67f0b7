#include "train/settings.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <variant>
#include <vector>

#include "base/nearest.h"

#include "train/inverse_dynamics.h"

namespace orrery::train {

namespace {

using nlohmann::json;

// a number of the configuration with the range it must lie in
struct Whole {
  i64* value;
  i64 least, most;
};
struct Real {
  double* value;
  double least, most;
};
struct Name {
  std::string* value;
};
struct Products {
  Precision* value;
};
using Field = std::variant<Whole, Real, Name, Products>;

constexpr i64 kMostSteps = 1'000'000'000;
constexpr double kMostWeight = 1e6;

// every key with the member it sets: one table for reading and writing
std::map<std::string, Field> fields_of(TrainingSettings& s) {
  std::map<std::string, Field> fields = {
      {"steps", Whole{&s.steps, 0, kMostSteps}},
      {"epochs", Whole{&s.epochs, 1, 1'000'000}},
      {"batch", Whole{&s.batch, 2, 65536}},
      {"accumulate", Whole{&s.accumulate, 1, 65536}},
      {"num_steps", Whole{&s.num_steps, 0, 1024}},
      {"objective", Name{&s.objective}},
      {"inverse_dynamics_hidden", Whole{&s.inverse_dynamics_hidden, 0, 65536}},
      {"inverse_dynamics_lr", Real{&s.inverse_dynamics_lr, 0.0, 10.0}},
      {"inverse_dynamics_weight", Real{&s.inverse_dynamics_weight, 0.0, kMostWeight}},
      {"history", Whole{&s.history, 0, 1024}},
      {"prediction_steps", Whole{&s.unroll.steps, 1, 1024}},
      {"prediction_context", Whole{&s.unroll.context, 0, 1024}},
      {"frameskip", Whole{&s.frameskip, 1, 1024}},
      {"window_order", Name{&s.window_order}},
      {"lr", Real{&s.lr, 0.0, 10.0}},
      {"weight_decay", Real{&s.weight_decay, 0.0, 10.0}},
      {"warmup_fraction", Real{&s.warmup_fraction, 0.0, 1.0}},
      {"precision", Products{&s.precision}},
      // below 1, or the average would never move
      {"beta1", Real{&s.beta1, 0.0, 0.999999}},
      {"beta2", Real{&s.beta2, 0.0, 0.999999}},
      {"eps", Real{&s.eps, 1e-30, 1.0}},
      {"settle_batches", Whole{&s.settle_batches, 0, 65536}},
      {"ema_decay", Real{&s.ema_decay, 0.0, 0.999999}},
      {"clip", Real{&s.clip, 0.0, 1e9}},
      {"sigreg_projections", Whole{&s.losses.projections, 1, 65536}},
      {"validation_fraction", Real{&s.validation_fraction, 0.0, 0.9}},
      {"validation_every", Whole{&s.validation_every, 0, kMostSteps}},
      {"validation_batches", Whole{&s.validation_batches, 1, 65536}},
      {"checkpoint_every", Whole{&s.checkpoint_every, 1, kMostSteps}},
      {"keep_last", Whole{&s.keep_last, 1, kMostSteps}},
      {"best_by", Name{&s.best_by}},
      {"initialization", Name{&s.initialization}},
      {"learn", Name{&s.learn}},
      {"log_every", Whole{&s.log_every, 1, kMostSteps}},
      {"probe_frames", Whole{&s.probe_frames, 0, kMostSteps}},
      {"success_every", Whole{&s.success_every, 0, kMostSteps}},
      {"success_episodes", Whole{&s.success_episodes, 1, 65536}},
      {"success_samples", Whole{&s.success_samples, 2, 65536}},
      {"success_iterations", Whole{&s.success_iterations, 1, 65536}},
      {"success_env", Name{&s.success_env}},
      {"success_data", Name{&s.success_data}},
      {"min_effective_rank", Real{&s.min_effective_rank, 0.0, 1e6}},
      {"min_latent_std", Real{&s.min_latent_std, 0.0, 1e6}},
  };
  for (const LossTerm& term : kLossTerms) {
    fields.emplace(std::string(term.name) + "_weight",
                   Real{&(s.losses.weights.*term.weight), 0.0, kMostWeight});
  }
  return fields;
}

void read_field(const json& value, const Field& field, const std::string& name) {
  const std::string came = value.dump().substr(0, 40);
  if (const auto* whole = std::get_if<Whole>(&field)) {
    check(value.is_number_integer() && value >= whole->least && value <= whole->most, name, " is ",
          came, ", a whole number from ", whole->least, " to ", whole->most, " was needed");
    *whole->value = value.get<i64>();
  } else if (const auto* text = std::get_if<Name>(&field)) {
    check(value.is_string(), name, " is ", came, ", text was needed");
    *text->value = value.get<std::string>();
  } else if (const auto* products = std::get_if<Products>(&field)) {
    check(value == name_of(Precision::f32) || value == name_of(Precision::bf16), name, " is ", came,
          ", \"f32\" or \"bf16\" was needed");
    *products->value = precision_from(value.get<std::string>());
  } else {
    const auto& real = std::get<Real>(field);
    check(
        value.is_number() && value.get<double>() >= real.least && value.get<double>() <= real.most,
        name, " is ", came, ", a number from ", real.least, " to ", real.most, " was needed");
    *real.value = value.get<double>();
  }
}

}  // namespace

TrainingSettings settings_from_json(const json& node, const std::string& where) {
  check(node.is_object(), where, ": training is ", node.type_name(), ", an object was needed");
  TrainingSettings settings;
  // the objective first, so that other keys may differ from it
  if (node.contains("objective")) {
    const json& name = node.at("objective");
    check(name.is_string(), where, ": training.objective is ", name.dump().substr(0, 40),
          ", text was needed");
    choose_objective(settings, name.get<std::string>());
  }
  const auto fields = fields_of(settings);
  for (const auto& [key, value] : node.items()) {
    const std::string name = where + ": training." + key;
    if (key == "seed") {
      check(value.is_number_unsigned(), name, " is ", value.dump().substr(0, 40),
            ", a whole number not below 0 was needed");
      settings.seed = value.get<u64>();
      continue;
    }
    if (key == "groups") {
      settings.groups = groups_from_json(value, name);
      continue;
    }
    if (key == "readout") {
      settings.readout = readout_from_json(value, name);
      continue;
    }
    const auto at = fields.find(key);
    if (at == fields.end()) {
      std::vector<std::string> names = {"seed", "groups", "readout"};
      for (const auto& field : fields) names.push_back(field.first);
      fail(name, " is not a setting of training; the nearest is ", nearest_name(key, names));
    }
    read_field(value, at->second, name);
  }
  check(settings.initialization == "published" || settings.initialization == "scaled", where,
        ": training.initialization is ", settings.initialization,
        ", published or scaled was needed");
  check(settings.window_order == "shuffled" || settings.window_order == "by_chunk", where,
        ": training.window_order is ", settings.window_order, ", shuffled or by_chunk was needed");
  check(settings.learn == "all" || settings.learn == "dynamics", where, ": training.learn is ",
        settings.learn, ", all or dynamics was needed");
  check(settings.inverse_dynamics_hidden > 0 || settings.inverse_dynamics_weight == 0, where,
        ": training.inverse_dynamics_weight needs inverse_dynamics_hidden");
  return settings;
}

json json_from_settings(const TrainingSettings& settings) {
  TrainingSettings copy = settings;
  json node = {{"seed", settings.seed}, {"groups", json_from_groups(settings.groups)}};
  if (settings.readout.asked()) node["readout"] = json_from_readout(settings.readout);
  for (const auto& [key, field] : fields_of(copy)) {
    if (const auto* whole = std::get_if<Whole>(&field)) {
      node[key] = *whole->value;
    } else if (const auto* text = std::get_if<Name>(&field)) {
      node[key] = *text->value;
    } else if (const auto* products = std::get_if<Products>(&field)) {
      node[key] = name_of(*products->value);
    } else {
      node[key] = *std::get<Real>(field).value;
    }
  }
  return node;
}

std::set<std::string> settings_free_to_change() {
  std::set<std::string> names;
  for (const char* key : {"validation_every", "validation_batches", "checkpoint_every", "keep_last",
                          "best_by", "log_every", "min_effective_rank", "min_latent_std",
                          "probe_frames", "success_every", "success_episodes", "success_samples",
                          "success_iterations", "success_env", "success_data"}) {
    names.insert(text("training.", key));
  }
  names.insert("statistics.environment");  // a name that is told, no number
  return names;
}

bool learns_dynamics(const TrainingSettings& settings) { return settings.learn == "dynamics"; }

AdamW adamw_of(const TrainingSettings& settings, double lr) {
  return {.lr = static_cast<float>(lr),
          .beta1 = static_cast<float>(settings.beta1),
          .beta2 = static_cast<float>(settings.beta2),
          .eps = static_cast<float>(settings.eps),
          .weight_decay = static_cast<float>(settings.weight_decay)};
}

void choose_objective(TrainingSettings& settings, const std::string& name) {
  check(name == "lewm" || name == "pldm", "the objective is \"", name.substr(0, 40),
        "\", lewm or pldm was needed");
  settings.objective = name;
  settings.losses.weights = {};
  settings.inverse_dynamics_hidden = 0;
  settings.inverse_dynamics_weight = 0;
  if (name == "lewm") return;
  settings.losses.weights = {
      .sigreg = 0, .temporal_alignment = 0.2, .std = 18, .std_time = 0.7, .cov = 12};
  settings.inverse_dynamics_hidden = 512;
}

void add_learned_losses(TrainingSettings& settings, const lewm::Config& model,
                        const ColumnStatistics& observed) {
  std::vector<AddedLoss>& added = settings.losses.added;
  const auto missing = [&](const char* name) {
    return std::none_of(added.begin(), added.end(),
                        [&](const AddedLoss& one) { return one.loss->name() == name; });
  };
  if (settings.readout.asked() && missing(Readout::kName)) {
    added.push_back({std::make_shared<Readout>(model.latent(), settings.readout, observed),
                     settings.readout.weight});
  }
  if (settings.inverse_dynamics_hidden > 0 && missing(InverseDynamics::kName)) {
    added.push_back({std::make_shared<InverseDynamics>(
                         model.latent(), model.action.input,
                         InverseDynamics::Settings{.hidden = settings.inverse_dynamics_hidden,
                                                   .lr = settings.inverse_dynamics_lr,
                                                   .weight_decay = settings.weight_decay}),
                     settings.inverse_dynamics_weight});
  }
}

void settle(TrainingSettings& settings, lewm::Config& model) {
  if (settings.history == 0) settings.history = model.predictor.window;
  model.predictor.window = settings.history;
  if (settings.num_steps == 0) {
    settings.num_steps = lewm::frames_needed(model.predictor, settings.unroll);
  }
  if (learns_dynamics(settings)) {
    settings.losses.weights = {.prediction = settings.losses.weights.prediction,
                               .rollout = settings.losses.weights.rollout,
                               .sigreg = 0};
    settings.inverse_dynamics_hidden = 0;
    settings.inverse_dynamics_weight = 0;
    settings.readout = {};
  }
}

}  // namespace orrery::train
