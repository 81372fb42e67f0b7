#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "env/policy.h"
#include "env/pusht.h"

namespace orrery {

// One recorded episode of PushT: what stood where, and which point of the canvas was aimed at.
struct Demonstration {
  std::vector<std::array<double, 5>> states;  // agent x, y, block x, y, angle
  std::vector<pusht::Point> targets;          // as many; the last may lead nowhere
};

struct ReplayOptions {
  u64 seed = 0;
  // Standard deviation, in relative actions (100 pixels). The published PushT set was made by noisy
  // replays of the human demonstrations: its actions have a deviation of 0.2085, theirs 0.2019, and
  // sqrt(0.2085^2 - 0.2019^2) = 0.052.
  float noise = 0.05f;
  // Whether an episode is turned and shifted as a whole, so that it starts somewhere else;
  // otherwise it starts where it was recorded.
  bool moves = true;
};

// A rotation about the canvas' middle and a shift, without reflection.
struct RigidMotion {
  double angle = 0;
  pusht::Point shift;

  pusht::Point operator()(const pusht::Point& p) const;
};

// Plays demonstrations again: episode e takes one at random (seed, e), moved as a whole by a random
// motion that keeps the block inside the walls and the agent on the canvas all along; where 32
// random angles leave no room for that, it stays in place. Each step aims at the recorded target,
// moved alike, plus noise. Aiming at a point corrects what noise has added before, so manipulation
// goes on as it was shown.
//
// begin() sets the state and, for variants whose goal is a state, the goal: where the demonstration
// ends. Episodes are played to their end, whether that is reached earlier or not.
//
// steady (the normal draws)
class ReplayPolicy final : public Policy {
 public:
  ReplayPolicy(std::shared_ptr<const std::vector<Demonstration>> demonstrations,
               const ReplayOptions& options);

  Course begin(Environment& environment, u64 episode) const override;
  void act(const Environment& environment, u64 episode, u64 step,
           std::span<float> action) const override;

  // which demonstration episode e is, and how it is moved
  std::size_t demonstration_of(u64 episode) const;
  RigidMotion motion_of(u64 episode) const;

 private:
  RigidMotion find_motion(u64 episode) const;

  std::shared_ptr<const std::vector<Demonstration>> demonstrations_;
  // of each demonstration: what the agent and the block's corners sweep, reduced to its corners
  struct Sweep {
    std::vector<pusht::Point> agent;
    std::vector<pusht::Point> block;
  };
  std::vector<Sweep> sweeps_;
  ReplayOptions options_;

  // the motion last asked for: an episode asks for the same at every step
  mutable std::mutex mutex_;
  mutable bool has_last_ = false;
  mutable u64 last_episode_ = 0;
  mutable RigidMotion last_;
};

}  // namespace orrery
