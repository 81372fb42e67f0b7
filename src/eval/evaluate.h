#pragma once

#include <functional>
#include <span>
#include <vector>

#include "eval/kept.h"
#include "eval/starts.h"
#include "models/lewm/model.h"
#include "models/lewm/statistics.h"

namespace orrery {

// The environment as the official evaluation has it: of a plain "pusht" what NumPy 2 and pygame 2.6
// make of it today, `pusht:control=float32,polygons=real`. Whoever names options means them.
std::string official_environment(const std::string& name);

// Recorded frames and their latents, that imagined latents may be shown as.
struct Gallery {
  std::vector<Image> frames;
  Tensor latents;  // [frames, D]
};

// `size` frames of the recording, or all of fewer, evenly taken.
Gallery make_gallery(Context& ctx, const lewm::Model& model, const Episodes& episodes, i64 size);

// Who plays: a model and the statistics that its actions are scaled by. Both outlive it.
struct Player {
  const lewm::Model& model;
  const lewm::Statistics& statistics;
};

// How a closed-loop evaluation is run, beyond its protocol.
struct EvaluateOptions {
  std::string environment;
  i64 side_by_side = 0;  // cases that are played in lock-step, 0: all
  bool films = false;    // keep what the agent saw, and frames for what it imagined
  i64 film_side = 112;   // pixels
  i64 gallery = 1024;    // of evaluate() with films: recorded frames to show imagined latents as
  const Gallery* shown_as = nullptr;  // of evaluate_cases(): the same, already made
  Noise* noise = nullptr;  // recorded draws instead of counter-based ones; needs one lock-step run
  KeptEpisodes* kept = nullptr;  // of evaluate(): episodes found here are not played again, others
                                 // are put here; those found have no film
  // called after every environment step of a lock-step run, counted over all of them
  std::function<void(i64 step, i64 steps, i64 solved)> progress;
  // Called with the records of every group that is over. It may take pictures out of them.
  std::function<void(std::span<EpisodeRecord>)> finished;
};

// Plays the given cases, in groups of side_by_side: plan when a queue is empty, act, freeze who has
// finished. Then the random policy plays the same cases. Frames after the start are drawn by the
// environment and reduced to the recording's size as Pillow does it. The records are in the order
// of the cases.
//
// What an episode does follows from the protocol, its case and the case's index alone: any subset
// of a protocol's cases, in any groups, gives the same records, but for the times. So cases may be
// split over processes, or played later. On the CPU that holds to the last bit. On a CUDA device
// products of other sizes may be summed in another order: there it holds to the last bit for groups
// of one size, and within the tolerances of ops/gemm.h otherwise. What looks at
// all environments that are planned for together, an early end (enough_std) and cut gradients
// (grad_clip), is each episode's own: they are then planned for one by one.
//
// Error when model, statistics, protocol and environment do not fit each other. steady, but for the
// times
std::vector<EpisodeRecord> evaluate_cases(Context& ctx, const Player& player,
                                          const Protocol& protocol, std::span<const EvalCase> cases,
                                          const EvaluateOptions& options);

// The whole evaluation: the protocol's cases of a recording (starts.h), played. steady, but for the
// times
Evaluation evaluate(Context& ctx, const lewm::Model& model, const lewm::Statistics& statistics,
                    const Protocol& protocol, const Episodes& episodes,
                    const EvaluateOptions& options);

}  // namespace orrery
