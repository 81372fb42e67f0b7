#include "env/policy.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "env/pusht_replay.h"

namespace orrery {

namespace {

// one stream of draws per episode, so that episodes can be played in any order
u64 stream_of(u64 episode) { return mix(static_cast<u64>(Stream::policy), episode); }

// uniform in [-1, 1] a component
void draw_uniform(u64 seed, u64 episode, u64 step, std::span<float> action) {
  for (std::size_t d = 0; d < action.size(); ++d) {
    const u64 index = step * action.size() + d;
    action[d] = 2.0f * uniform(seed, stream_of(episode), index) - 1.0f;
  }
}

class RandomPolicy final : public Policy {
 public:
  explicit RandomPolicy(u64 seed) : seed_(seed) {}

  void act(const Environment& environment, u64 episode, u64 step,
           std::span<float> action) const override {
    draw_uniform(seed_, episode, step, action);
    environment.random_action(action);
  }

 private:
  u64 seed_;
};

class WeakPolicy final : public Policy {
 public:
  explicit WeakPolicy(u64 seed) : seed_(seed) {}

  void act(const Environment& environment, u64 episode, u64 step,
           std::span<float> action) const override {
    draw_uniform(seed_, episode, step, action);
    environment.weak_action(action);
  }

 private:
  u64 seed_;
};

class ExpertPolicy final : public Policy {
 public:
  ExpertPolicy(u64 seed, float noise) : seed_(seed), noise_(noise) {}

  void act(const Environment& environment, u64 episode, u64 step,
           std::span<float> action) const override {
    environment.expert_action(action);
    for (std::size_t d = 0; d < action.size(); ++d) {
      if (noise_ > 0) {
        action[d] += noise_ * normal(seed_, stream_of(episode), step * action.size() + d);
      }
      action[d] = std::clamp(action[d], -1.0f, 1.0f);
    }
  }

 private:
  u64 seed_;
  float noise_;
};

class MixedPolicy final : public Policy {
 public:
  MixedPolicy(u64 seed, float noise) : seed_(seed), random_(seed), expert_(seed, noise) {}

  void act(const Environment& environment, u64 episode, u64 step,
           std::span<float> action) const override {
    // a stream of its own, beside those of the episodes' actions
    const u64 coins = mix(~static_cast<u64>(Stream::policy), 0);
    if (uniform(seed_, coins, episode) < 0.5f) {
      random_.act(environment, episode, step, action);
    } else {
      expert_.act(environment, episode, step, action);
    }
  }

 private:
  u64 seed_;
  RandomPolicy random_;
  ExpertPolicy expert_;
};

}  // namespace

std::unique_ptr<Policy> make_policy(std::string_view name, const Environment& environment,
                                    const PolicyOptions& options) {
  check(std::isfinite(options.expert_noise) && options.expert_noise >= 0,
        "the expert's noise is a standard deviation, ", options.expert_noise, " was given");
  if (name == "random") return std::make_unique<RandomPolicy>(options.seed);
  if (name == "replay") {
    check(dynamic_cast<const PushT*>(&environment) != nullptr,
          "the replay policy plays PushT, not ", environment.name());
    return std::make_unique<ReplayPolicy>(
        options.demonstrations,
        ReplayOptions{
            .seed = options.seed, .noise = options.replay_noise, .moves = options.replay_moves});
  }
  check(name == "expert" || name == "mixed" || name == "weak", "unknown policy '", name,
        "'; known are random, weak, expert, mixed, replay");
  std::vector<float> action(static_cast<std::size_t>(environment.action_dim()));
  if (name == "weak") {
    check(environment.weak_action(action), "environment ", environment.name(),
          " has no weak policy; the random policy works everywhere");
    return std::make_unique<WeakPolicy>(options.seed);
  }
  check(environment.expert_action(action), "environment ", environment.name(),
        " has no scripted expert; the random policy works everywhere");
  if (name == "expert") return std::make_unique<ExpertPolicy>(options.seed, options.expert_noise);
  return std::make_unique<MixedPolicy>(options.seed, options.expert_noise);
}

}  // namespace orrery
