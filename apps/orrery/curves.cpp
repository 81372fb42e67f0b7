#include <iostream>
#include <memory>

#include "base/error.h"
#include "train/curves.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

struct Options {
  std::vector<std::string> runs, names;
  std::string output, by = "steps";
};

void draw(const Options& options) {
  check(options.names.empty() || options.names.size() == options.runs.size(), "there are ",
        options.names.size(), " names for ", options.runs.size(), " runs");
  std::vector<train::RunCurves> runs;
  for (std::size_t i = 0; i < options.runs.size(); ++i) {
    runs.push_back(train::read_curves(options.runs[i],
                                      options.names.empty() ? std::string() : options.names[i]));
  }
  train::write_curve_page(options.output, runs, {.by_seconds = options.by == "seconds"});
  std::cout << options.output << std::endl;
}

}  // namespace

void add_curves(CLI::App& app, int&) {
  auto* verb = app.add_subcommand(
      "curves", "draw what was measured while training, of one run or of several side by side");
  auto options = std::make_shared<Options>();
  verb->add_option("runs", options->runs,
                   "folders of runs, or files of JSON objects with `step`, one a line")
      ->required();
  verb->add_option("--output", options->output, "HTML page to write")->required();
  verb->add_option("--name", options->names,
                   "of each run in the legends; once for each [its path]");
  verb->add_option("--by", options->by, "steps, or seconds of training")
      ->check(CLI::IsMember({"steps", "seconds"}))
      ->capture_default_str();
  verb->callback([options] { draw(*options); });
}

}  // namespace orrery::cli
