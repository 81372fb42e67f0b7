#include "train/examine.h"

namespace orrery::train {

std::vector<Measure> measures_of(const ValidationReport& report) {
  std::vector<Measure> measures;
  for (const LossTerm& term : kLossTerms) {
    // terms of weight 0 are not computed
    const double value = report.losses.*term.value;
    if (value != 0) measures.push_back({term.name, value});
  }
  for (const NamedLoss& added : report.losses.added) measures.push_back({added.name, added.value});
  measures.push_back({"total", report.losses.total});
  measures.push_back({"latent_std", report.latent_std, true});
  measures.push_back({"effective_rank", report.effective_rank, true});
  return measures;
}

std::vector<std::string> names_of_validation() {
  std::vector<std::string> names;
  for (const LossTerm& term : kLossTerms) names.push_back(term.name);
  for (const char* name : {"total", "latent_std", "effective_rank"}) names.push_back(name);
  return names;
}

}  // namespace orrery::train
