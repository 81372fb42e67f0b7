#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

// Orrery's promise to other programs: load a world model, see, plan. Nothing here depends on
// third-party headers. Errors are exceptions derived from std::runtime_error with one sentence that
// says what came, what was needed and where.

namespace orrery {

// Version of the library, major.minor.patch.
const char* version();

// Pixels that the caller owns: height rows from the top, width pixels each, red, green, blue.
struct Picture {
  const std::uint8_t* rgb = nullptr;
  int height = 0;
  int width = 0;
};

// Cross-entropy planning; the defaults are the published evaluation's.
struct PlanOptions {
  int samples = 300;
  int elites = 30;
  int iterations = 30;
  int horizon = 5;  // blocks
  std::uint64_t seed = 42;
};

struct PlannedActions {
  // [steps][action numbers], in the environment's units when the model has statistics, else
  // z-scored
  std::vector<std::vector<float>> actions;
  double cost = 0;     // mean cost of the last elites
  double plan_ms = 0;  // both pictures encoded and the plan found
};

struct ModelFacts {
  long long parameters = 0;
  int image_size = 0;
  int patch_size = 0;
  int latent_size = 0;
  int action_size = 0;  // numbers of one block
  int window = 0;       // frames the predictor looks at
  bool has_statistics = false;
  int frameskip = 0;        // environment steps a block; 0 without statistics
  int raw_action_size = 0;  // numbers of one environment step; 0 without statistics
};

// A loaded model with its working memory. One thread uses it at a time.
class WorldModel {
 public:
  // path: a folder with config.json and weights (.safetensors, .pt, .pth, .ckpt), or a file of
  // weights beside config.json. threads: 0 for one per core.
  explicit WorldModel(const std::string& path, int threads = 0);
  ~WorldModel();
  WorldModel(WorldModel&&) noexcept;
  WorldModel& operator=(WorldModel&&) noexcept;

  const ModelFacts& facts() const;

  // The latent of a picture, facts().latent_size numbers.
  std::vector<float> encode(const Picture& picture);

  // Actions that are expected to lead from what `now` shows to what `goal` shows.
  PlannedActions plan(const Picture& now, const Picture& goal, const PlanOptions& options = {});

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace orrery
