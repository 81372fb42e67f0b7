#include "tests/dist/small_training.h"

#include <sstream>

#include "base/atomic_file.h"
#include "base/error.h"
#include "io/json.h"
#include "models/lewm/small_config.h"

namespace orrery {

using nlohmann::json;

void record_small_episodes(const TestFolder& folder) {
  Command record(folder,
                 text("exec " ORRERY_PROGRAM " record --env tworoom --episodes 8 --image-size 16"
                      " --max-steps 40 --threads 1 --output ",
                      (folder / "episodes.h5").string()));
  const int result = record.wait();  // what it said is there only then
  check(result == 0, record.err());
}

void write_small_configuration(const TestFolder& folder, const std::string& name,
                               const json& training) {
  json all = {{"num_steps", 4},
              {"frameskip", 2},
              {"sigreg_projections", 16},
              {"validation_fraction", 0.3},
              {"validation_batches", 1},
              {"log_every", 1},
              {"min_effective_rank", 0.0},
              {"min_latent_std", 0.0}};
  all.update(training);
  write_json(folder / name,
             {{"model", lewm::json_from_config(lewm::small_config(16))}, {"training", all}});
}

std::vector<json> metrics_of(const std::filesystem::path& run) {
  std::vector<json> lines;
  std::istringstream file(read_file(run / "metrics.jsonl", 1 << 26));
  for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
  return lines;
}

}  // namespace orrery
