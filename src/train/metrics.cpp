#include "train/metrics.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/atomic_file.h"

namespace orrery::train {

namespace {

using nlohmann::json;

// JSON knows no NaN; null stands for it
json number(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

void add_losses(json& line, const LossValues& losses) {
  for (const LossTerm& term : kLossTerms) {
    // terms of weight 0 are not computed
    if (losses.*term.value != 0) line[term.name] = number(losses.*term.value);
  }
  for (const NamedLoss& added : losses.added) line[added.name] = number(added.value);
  line["total"] = number(losses.total);
}

}  // namespace

Metrics::Metrics(std::filesystem::path path, bool resume, i64 resumed_step)
    : path_(std::move(path)) {
  std::string kept;
  if (resume && std::filesystem::exists(path_)) {
    std::ifstream file(path_);
    std::string line;
    while (std::getline(file, line)) {
      const json value = json::parse(line, nullptr, false);
      if (value.is_discarded() || !value.is_object() || !value.contains("step") ||
          !value.at("step").is_number_integer() || value.at("step") > resumed_step) {
        break;
      }
      kept += line + "\n";
    }
  }
  write_file(path_, kept);
}

void Metrics::add_step(i64 step, double lr, const StepReport& report, const LatentSpread& spread,
                       const Pace& pace) {
  json line = {{"step", step},
               {"lr", lr},
               {"gradient_norm", number(report.gradient_norm)},
               {"latent_std", number(spread.std)},
               {"effective_rank", number(spread.effective_rank)},
               {"seconds", number(pace.seconds)},
               {"samples_per_s", number(pace.samples_per_s)}};
  add_losses(line, report.losses);
  append(line);
}

void Metrics::add_measures(i64 step, const std::vector<Measure>& measures) {
  json values = json::object();
  for (const Measure& measure : measures) values[measure.name] = number(measure.value);
  append({{"step", step}, {"validation", values}});
}

void Metrics::append(const json& line) {
  std::ofstream file(path_, std::ios::app);
  file << line.dump() << "\n";
  file.flush();
  check(file.good(), path_.string(), ": cannot be written: ", std::strerror(errno));
}

}  // namespace orrery::train
