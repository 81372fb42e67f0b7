#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "bench/results.h"
#include "io/json.h"
#include "progress.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

struct Options {
  std::vector<std::string> names, from;
  std::string model = "models/tworoom";
  std::string device = "cpu";
  std::string peers, limits, output;
  int threads = 0;
  i64 runs = 0;
  bool list = false, json = false, slow_too = false;
};

bench::Report take_figures(const Options& options, const std::vector<bench::Figure>& figures) {
  Context ctx({.threads = options.threads, .where = device_from(options.device)});
  const i64 count = static_cast<i64>(figures.size());
  Progress progress("measuring", count, "figures");
  bench::Report report = bench::measure_figures(
      ctx, figures, options.runs,
      [&](i64 index, const std::string& name) { progress.update(index, name); });
  progress.update(count);
  return report;
}

void run_bench(const Options& options) {
  const bool on_cuda = device_from(options.device).device == Device::cuda;
  const auto all = on_cuda ? bench::cuda_figures() : bench::all_figures(options.model);
  if (options.list) {
    for (const bench::Figure& figure : all) {
      std::cout << figure.name << (figure.slow ? "  (slow: when named, or with --long)" : "")
                << "\n";
    }
    return;
  }

  bench::Report report;
  if (options.from.empty()) {
    report = take_figures(options, bench::chosen_figures(all, options.names, options.slow_too));
  } else {
    std::vector<bench::Report> rounds;
    for (const std::string& path : options.from) {
      rounds.push_back(bench::report_from_json(read_json(path), path));
    }
    report = bench::merged(rounds);
  }
  if (!options.limits.empty()) bench::add_limits(options.limits, report);
  if (!options.peers.empty()) bench::add_peers(bench::read_peers(options.peers), all, report);

  if (!options.output.empty()) {
    write_file(options.output, bench::json_of(report).dump(2) + "\n");
  }
  if (options.json) {
    for (const bench::Result& result : report.results) {
      std::cout << bench::json_of(report, result).dump() << "\n";
    }
  } else {
    std::cout << bench::table_of(report);
  }
}

}  // namespace

void add_bench(CLI::App& app, int&) {
  auto options = std::make_shared<Options>();
  auto* verb = app.add_subcommand("bench", "how fast, and how near to what this machine could do");
  verb->add_option("names", options->names, "figures or groups of them; none: all but slow ones");
  verb->add_flag("--list", options->list, "print the names of all figures");
  verb->add_flag("--long", options->slow_too, "slow figures too");
  verb->add_option("--model", options->model, "folder of a model to time as well, when it is there")
      ->capture_default_str();
  verb->add_option("--device", options->device, "cpu, cuda or cuda:N; the devices' figures differ")
      ->capture_default_str();
  verb->add_option("--threads", options->threads, "threads, 0 for one per core");
  verb->add_option("--runs", options->runs, "runs of each figure; 0: at least 15, up to 1.5 s")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--peers", options->peers, "times of peers, as peers/bench_lewm.py writes them")
      ->check(CLI::ExistingFile);
  verb->add_option("--limits", options->limits,
                   "rates of a device's library, as orrery_gemm_peer writes them")
      ->check(CLI::ExistingFile);
  verb->add_option("--from", options->from, "print earlier results instead, rounds merged")
      ->check(CLI::ExistingFile);
  verb->add_option("--output", options->output, "write the results as one JSON file");
  verb->add_flag("--json", options->json, "print one JSON object a figure, each on a line");
  verb->callback([options] { run_bench(*options); });
}

}  // namespace orrery::cli
