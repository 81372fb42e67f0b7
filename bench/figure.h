#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/work.h"
#include "device/context.h"

namespace orrery::bench {

// A figure made ready to be timed: all memory taken.
struct Prepared {
  Work work;      // of one unit
  i64 units = 1;  // of what the figure names in one run; times are reported per unit
  std::function<void()> run;
  // Looks at what the last run left and throws an Error when it is not right: a result that nobody
  // checked is not timed.
  std::function<void()> check;
};

// What a peer's script calls the same work, and how often a run of ours contains it.
struct PeerPart {
  std::string name;
  double times = 1;
};

// Something worth timing. Names are paths, group/what; asking for a group means all in it.
struct Figure {
  std::string name;
  std::function<Prepared(Context& ctx)> prepare;
  std::vector<PeerPart> peer = {};  // empty: no peer does this
  bool slow = false;  // takes a minute: only when it or its group is named, or with --long
};

// Operations at the sizes that the published model uses.
std::vector<Figure> operation_figures();
// The published model at its full size, seeded weights: encode, predict, rollout cost, plan, one
// training step.
std::vector<Figure> model_figures();
// A model in a folder, with "slim/" before its names.
std::vector<Figure> folder_figures(const std::string& folder);
// Environments, recording, reading windows.
std::vector<Figure> world_figures();

// What a CUDA device is for: the published model's encoder and whole plans, at every precision that
// is worth it, and a training step; encode/FRAMES/PRECISION, rollout_cost/...,
// plan/PLANNER.../PRECISION, train_step/WINDOWS/PRECISION. Sizes other than the published ones are
// for tests.
struct CudaSizes {
  lewm::Config config = {};
  i64 frames = 256;         // of the large batch
  i64 icem_samples = 1024;  // times 5 iterations
  i64 cem_samples = 300, cem_iterations = 30;
  i64 environments = 50;  // planned in one batch
  i64 windows = 128;      // of 4 frames in a training step
};
std::vector<Figure> cuda_figures(const CudaSizes& sizes = {});

// All of these but CUDA's; those of the folder only where it holds a model.
std::vector<Figure> all_figures(const std::string& folder);

// The figures that names ask for, in their own order, each once. No names: all that are not slow,
// or all when `slow_too`. A name that asks for nothing is an Error that lists the groups.
std::vector<Figure> chosen_figures(const std::vector<Figure>& figures,
                                   const std::vector<std::string>& names, bool slow_too);

}  // namespace orrery::bench
