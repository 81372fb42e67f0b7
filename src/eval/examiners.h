#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/windows.h"
#include "eval/evaluate.h"
#include "eval/study.h"
#include "train/examine.h"
#include "train/settings.h"

namespace orrery {

// Whether a model in training is any good, told while it trains. Examiners work on a copy of the
// weights and draw nothing from the training's random numbers, so weights are the same to the last
// bit with and without them; what they tell follows from the weights alone.

// The studies of study.h, on frames of held-out episodes:
//
//   horizon_<k>            error of the open-loop prediction k blocks ahead, as a share of the
//                          latent's variance, and _unchanged: of who says that nothing changes
//   probe_<quantity>       error of a linear probe of standardised values, and _r: its correlation
//   distance_rank          rank correlation of latent and state distance within episodes
//   cost_falls             share of steps along a demonstration that lower the cost of its goal
//   latent_std_least       of the latent's numbers, the smallest standard deviation
class StudyExaminer final : public train::Examiner {
 public:
  // due every `every` steps and at the end. The context outlives it.
  StudyExaminer(Context& ctx, std::unique_ptr<Episodes> episodes, EpisodeSplit split,
                lewm::Statistics statistics, const StudyOptions& options, i64 every);

  std::vector<std::string> names() const override;
  bool due(i64 step, bool last) const override;
  std::vector<train::Measure> examine(i64 step, const lewm::Weights& weights) override;

 private:
  Context& ctx_;
  std::unique_ptr<Episodes> episodes_;
  EpisodeSplit split_;
  lewm::Statistics statistics_;
  StudyOptions options_;
  i64 every_;
  std::vector<StateQuantity> quantities_;
};

// Plays the environment with the weights, the same cases every time:
//
//   success         goals reached, percent
//   goal_distance   distance to the goal at the end of an episode, mean, in the environment's
//                   measure; tells something before the first goal is reached
class SuccessExaminer final : public train::Examiner {
 public:
  // Cases are the protocol's, of `starts`. The context outlives it.
  SuccessExaminer(Context& ctx, const Episodes& starts, std::string environment,
                  lewm::Statistics statistics, const Protocol& protocol, i64 every);

  std::vector<std::string> names() const override { return {"success", "goal_distance"}; }
  bool due(i64 step, bool last) const override;
  std::vector<train::Measure> examine(i64 step, const lewm::Weights& weights) override;

 private:
  Context& ctx_;
  std::string environment_;
  lewm::Statistics statistics_;
  Protocol protocol_;
  i64 every_;
  std::vector<EvalCase> cases_;
};

// The environment that a recording is of, without options: what its drawing says, else by its
// columns "pusht" (`state` of 7 numbers and actions of 2), "tworoom" (`pos_agent` and
// `pos_target`), or nothing.
std::string environment_of(const Episodes& episodes);

// What a run's settings ask for (train/settings.h): probe_frames every validation_every steps,
// success_every. `data` is the recording that it learns from; starts are of success_data, else of
// the held-out episodes. `image_size`: a side of pictures that are drawn, as the run learns from; 0
// as recorded. Error when they ask for what is not there.
std::vector<std::unique_ptr<train::Examiner>> examiners_for(Context& ctx,
                                                            const std::filesystem::path& data,
                                                            const train::TrainingSettings& settings,
                                                            const lewm::Statistics& statistics,
                                                            i64 image_size = 0);

}  // namespace orrery
