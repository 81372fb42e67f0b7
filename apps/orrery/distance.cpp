#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "models/lewm/statistics.h"
#include "progress.h"
#include "train/distance.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

struct Options {
  std::string model, data;
  train::DistanceSettings settings;
  std::optional<i64> frameskip;
  int threads = 0;
  bool json = false;
};

class Narrator : public train::DistanceObserver {
 public:
  void encoded(i64 frames, i64 of) override {
    told(encoding_, "encoding", "frames", frames, of, "");
  }
  void stepped(i64 step, i64 of, double loss) override {
    told(learning_, "learning", "steps", step, of, text("loss ", loss));
  }

 private:
  static void told(std::optional<Progress>& progress, const char* what, const char* unit, i64 done,
                   i64 of, const std::string& note) {
    if (!progress) progress.emplace(what, of, unit);
    progress->update(done, note);
  }
  std::optional<Progress> encoding_, learning_;
};

void learn(const Options& options) {
  const auto statistics = lewm::statistics_of_model(options.model);
  check(options.frameskip || statistics, options.model,
        " has no statistics.json to tell its frameskip; give --frameskip");
  const i64 frameskip = options.frameskip ? *options.frameskip : statistics->frameskip;
  const std::filesystem::path given = options.model;
  const auto folder = std::filesystem::is_directory(given) ? given : given.parent_path();

  Context ctx({.threads = options.threads});
  const lewm::Model model(ctx, lewm::load_model(options.model));
  // drawn pictures have the model's size
  const auto episodes =
      open_episodes(options.data, {.image_size = model.config().encoder.image_size});
  train::DistanceReport report;
  Narrator narrator;
  const lewm::DistanceHead head =
      train::learn_distance(ctx, model, *episodes, frameskip, options.settings, report, narrator);
  lewm::write_distance_head(folder, head);
  if (options.json) {
    std::cout << nlohmann::json{{"model", options.model},
                                {"latents", report.latents},
                                {"largest_gap", options.settings.largest_gap},
                                {"error_blocks", report.error},
                                {"rank_correlation", report.rank_correlation},
                                {"latent_rank_correlation", report.latent_rank_correlation}}
                     .dump()
              << std::endl;
    return;
  }
  std::cout << std::fixed << std::setprecision(3) << "held out: off by " << report.error
            << " blocks in the mean, rank correlation with the time between frames "
            << report.rank_correlation
            << " (squared latent distance: " << report.latent_rank_correlation << ")\n"
            << "the head is in " << folder.string() << "; plan with --cost distance-head\n";
}

}  // namespace

void add_distance(CLI::App& app, int&) {
  auto options = std::make_shared<Options>();
  train::DistanceSettings& settings = options->settings;
  auto* verb = app.add_subcommand(
      "distance", "learn how long it takes from one latent to another, as a cost to plan by");
  verb->add_option("--model", options->model, "folder of a model; the head is put beside it")
      ->required();
  verb->add_option("--data", options->data, "recording that frames are taken from")->required();
  const auto whole = [&](const char* name, i64& value, const char* help) {
    verb->add_option(name, value, help)->check(CLI::PositiveNumber)->capture_default_str();
  };
  whole("--steps", settings.steps, "optimiser steps");
  whole("--batch", settings.batch, "pairs of a step");
  whole("--hidden", settings.hidden, "width of the head");
  whole("--largest-gap", settings.largest_gap,
        "blocks between two frames of an episode at most; longer times count as this");
  verb->add_option("--others", settings.others,
                   "share of pairs of two episodes, which count as the largest gap")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  verb->add_option("--lr", settings.lr, "learning rate after warming up")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--validation-fraction", settings.validation_fraction,
                   "episodes that are held out")
      ->check(CLI::Range(0.0, 0.9))
      ->capture_default_str();
  verb->add_option("--frameskip", options->frameskip,
                   "rows of a block; without it as in the model's statistics")
      ->check(CLI::PositiveNumber);
  verb->add_option("--seed", settings.seed, "seed of weights, split and pairs")
      ->capture_default_str();
  verb->add_option("--threads", options->threads, "threads; 0: all cores")
      ->check(CLI::NonNegativeNumber);
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] { learn(*options); });
}

}  // namespace orrery::cli
