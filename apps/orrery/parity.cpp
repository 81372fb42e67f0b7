#include <algorithm>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "models/lewm/parity.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

void print_table(const lewm::ParityReport& report) {
  std::size_t width = 5;
  for (const auto& stage : report.stages) width = std::max(width, stage.name.size());
  std::cout << std::left << std::setw(static_cast<int>(width)) << "stage"
            << "     max abs   tolerance  noise x   ok\n";
  for (const auto& stage : report.stages) {
    std::cout << std::left << std::setw(static_cast<int>(width)) << stage.name << std::right
              << std::scientific << std::setprecision(2) << std::setw(12) << stage.max_abs
              << std::setw(12) << stage.tolerance << std::fixed << std::setw(9) << stage.multiple()
              << "   " << (stage.ok ? "yes" : "NO") << "\n";
  }
  double worst = 0;
  i64 passed = 0;
  for (const auto& stage : report.stages) {
    worst = std::max(worst, stage.multiple());
    passed += stage.ok;
  }
  std::cout << passed << " of " << report.stages.size()
            << " stages within ten times the reference's float32 noise; " << report.parameters
            << " parameters; worst multiple " << std::setprecision(2) << worst << "\n";
}

void print_json(const lewm::ParityReport& report) {
  nlohmann::json stages = nlohmann::json::array();
  for (const auto& stage : report.stages) {
    stages.push_back({{"name", stage.name},
                      {"max_abs", stage.max_abs},
                      {"tolerance", stage.tolerance},
                      {"noise", stage.noise},
                      {"multiple", stage.multiple()},
                      {"ok", stage.ok}});
  }
  std::cout << nlohmann::json{{"stages", stages},
                              {"parameters", report.parameters},
                              {"ok", report.ok()}}
                   .dump(1)
            << "\n";
}

}  // namespace

void add_parity(CLI::App& app, int& result) {
  struct Options {
    std::string golden;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  auto* verb = app.add_subcommand(
      "parity", "compare every stage of a model with golden vectors of the reference");
  verb->add_option("--golden", options->golden, "folder of golden vectors")->required();
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, &result] {
    Context ctx;
    const lewm::ParityReport report = lewm::run_parity(ctx, options->golden);
    if (options->json) {
      print_json(report);
    } else {
      print_table(report);
    }
    result = report.ok() ? 0 : 1;
  });
}

}  // namespace orrery::cli
