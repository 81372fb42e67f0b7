#pragma once

#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "env/environment.h"

namespace orrery {

struct Demonstration;

// Chooses actions. A choice depends on (seed, episode, step) and on what the environment shows, on
// nothing that came before: any number of threads may ask in any order.
class Policy {
 public:
  virtual ~Policy() = default;

  // What a policy asks for at the beginning of an episode.
  struct Course {
    i64 steps = std::numeric_limits<i64>::max();  // at most
    bool stops_at_goal = true;
    // the state that the environment was put in (set_state); empty: where its reset left it
    std::vector<double> start;
  };
  // After a reset and before the first act(): a policy that plays something given puts the
  // environment where that begins.
  virtual Course begin(Environment& /*environment*/, u64 /*episode*/) const { return {}; }

  // action [action_dim], in the environment's own units
  virtual void act(const Environment& environment, u64 episode, u64 step,
                   std::span<float> action) const = 0;
};

struct PolicyOptions {
  u64 seed = 0;
  // Standard deviation of the normal noise on each component of the expert's action before
  // clipping; 2 is what the published data sets were recorded with.
  float expert_noise = 2.0f;
  // what "replay" plays
  std::shared_ptr<const std::vector<Demonstration>> demonstrations;
  // of "replay", in relative actions; see ReplayOptions
  float replay_noise = 0.05f;
  bool replay_moves = true;
};

// "random": uniform in [-1, 1] a component, or over the environment's own actions.
// "weak":   the same, kept near what matters, where the environment knows how.
// "replay": recorded episodes of PushT again, see ReplayPolicy.
// "expert": the environment's scripted expert, plus noise, clipped to [-1, 1].
// "mixed":  each whole episode is one of the two, by a fair coin of (seed, episode).
// An unknown name is an error; so is an expert or a weak policy for an environment without one.
//
// steady (the normal draws)
std::unique_ptr<Policy> make_policy(std::string_view name, const Environment& environment,
                                    const PolicyOptions& options = {});

}  // namespace orrery
