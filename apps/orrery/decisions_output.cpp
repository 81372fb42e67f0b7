#include "decisions_output.h"

#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

namespace orrery::cli {

nlohmann::json json_of(const DecisionReport& report) {
  nlohmann::json iterations = nlohmann::json::array();
  for (const IterationAgreement& iteration : report.iterations) {
    iterations.push_back({{"candidates", iteration.candidates},
                          {"rank_correlation", iteration.rank_correlation},
                          {"elite_overlap", iteration.elite_overlap}});
  }
  return {{"iterations", iterations},
          {"first_action", report.first_action},
          {"actions", report.actions},
          {"cost", report.cost},
          {"reference_cost", report.reference_cost},
          {"judged", report.judged},
          {"judged_reference", report.judged_reference},
          {"judged_idle", report.judged_idle},
          {"lost", report.lost()},
          {"ok", report.ok()}};
}

void print(const DecisionReport& report) {
  std::cout << "iteration  candidates differ  rank correlation  elites shared\n";
  for (std::size_t i = 0; i < report.iterations.size(); ++i) {
    const IterationAgreement& iteration = report.iterations[i];
    std::cout << std::setw(9) << i << std::scientific << std::setprecision(2) << std::setw(19)
              << iteration.candidates << std::fixed << std::setprecision(5) << std::setw(18)
              << iteration.rank_correlation << std::setprecision(0) << std::setw(13)
              << 100 * iteration.elite_overlap << " %\n";
  }
  std::cout << std::setprecision(4) << "first block differs by " << report.first_action
            << ", the plan by " << report.actions
            << " (z-scored); judged by the reference it costs " << report.judged
            << ", the reference's own plan " << report.judged_reference << ", not to act "
            << report.judged_idle << ": " << std::setprecision(2) << 100 * report.lost()
            << " % of what planning gains is lost, " << (report.ok() ? "accepted" : "NOT accepted")
            << "\n";
}

}  // namespace orrery::cli
