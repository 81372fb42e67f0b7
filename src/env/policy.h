#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "env/environment.h"

namespace orrery {

// Chooses actions. A choice depends on (seed, episode, step) and on what the environment shows, on
// nothing that came before: any number of threads may ask in any order.
class Policy {
 public:
  virtual ~Policy() = default;
  // action [action_dim], within [-1, 1]
  virtual void act(const Environment& environment, u64 episode, u64 step,
                   std::span<float> action) const = 0;
};

struct PolicyOptions {
  u64 seed = 0;
  // Standard deviation of the normal noise on each component of the expert's action before
  // clipping; 2 is what the published data sets were recorded with.
  float expert_noise = 2.0f;
};

// "random": uniform in [-1, 1] a component.
// "expert": the environment's scripted expert, plus noise, clipped to [-1, 1].
// "mixed":  each whole episode is one of the two, by a fair coin of (seed, episode).
// An unknown name is an error; so is an expert for an environment that has none.
//
// steady (the normal draws)
std::unique_ptr<Policy> make_policy(std::string_view name, const Environment& environment,
                                    const PolicyOptions& options = {});

}  // namespace orrery
