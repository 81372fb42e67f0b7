#include <algorithm>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "decisions_output.h"
#include "device_options.h"
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

void print_json(const lewm::ParityReport& report, const ModelOptions& where) {
  nlohmann::json stages = nlohmann::json::array();
  for (const auto& stage : report.stages) {
    stages.push_back({{"name", stage.name},
                      {"max_abs", stage.max_abs},
                      {"tolerance", stage.tolerance},
                      {"noise", stage.noise},
                      {"multiple", stage.multiple()},
                      {"ok", stage.ok}});
  }
  std::cout << nlohmann::json{{"device", where.device},
                              {"precision", where.precision},
                              {"stages", stages},
                              {"parameters", report.parameters},
                              {"ok", report.ok()}}
                   .dump(1)
            << "\n";
}

// the plan that the folder's model makes from its first picture to its goal, against f32 on the CPU
DecisionReport decisions(DeviceOptions& device, const std::string& golden) {
  Context ctx(device.context()), cpu({.threads = device.chosen().threads});
  lewm::GoldenScene scene = lewm::golden_scene(golden);
  lewm::GoldenScene again = lewm::golden_scene(golden);
  const lewm::Model model(ctx, std::move(scene.weights), device.precision());
  const lewm::Model reference(cpu, std::move(again.weights));
  return compare_decisions(ctx, model, cpu, reference,
                           {.now = std::as_const(scene.now).view<u8, 3>(),
                            .goal = std::as_const(scene.goal).view<u8, 3>()});
}

}  // namespace

void add_parity(CLI::App& app, int& result) {
  struct Options {
    std::string golden;
    DeviceOptions device;
    bool decisions = false;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  auto* verb = app.add_subcommand(
      "parity", "compare every stage of a model with golden vectors of the reference");
  verb->add_option("--golden", options->golden, "folder of golden vectors")->required();
  verb->add_flag("--decisions", options->decisions,
                 "compare a plan with that of f32 on the CPU, instead of the stages");
  options->device.add_to(*verb);
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, &result] {
    if (options->decisions) {
      const DecisionReport report = decisions(options->device, options->golden);
      if (options->json) {
        nlohmann::json json = json_of(report);
        json["device"] = options->device.chosen().device;
        json["precision"] = options->device.chosen().precision;
        std::cout << json.dump(1) << "\n";
      } else {
        print(report);
      }
      result = report.ok() ? 0 : 1;
      return;
    }
    Context ctx(options->device.context());
    const lewm::ParityReport report =
        lewm::run_parity(ctx, options->golden, options->device.precision());
    if (options->json) {
      print_json(report, options->device.chosen());
    } else {
      print_table(report);
    }
    result = report.ok() ? 0 : 1;
  });
}

}  // namespace orrery::cli
