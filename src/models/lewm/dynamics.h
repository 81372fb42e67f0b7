#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "models/lewm/encode.h"
#include "models/lewm/objective.h"
#include "models/lewm/rollout_gradient.h"
#include "plan/differentiable.h"

namespace orrery::lewm {

// The planner's view of a LeWM: for each environment the latents of its present frames and of its
// goal, and
//
//   cost[e, s] = objective(last predicted latent[e, s], goal latent[e], actions[e, s])
//
// which is sum_d (latent - goal)^2 unless another Objective is given.
//
// Latents are set before planning (observe), candidates come z-scored. One block of memory where
// the context's operations run, which is where all views lie but those of imagine; nothing
// allocates after construction. On a CUDA device a call's environments and candidates go through
// together.
class GoalDynamics final : public DifferentiableDynamics {
 public:
  struct Sizes {
    i64 environments = 1;  // at most
    i64 samples = 300;
    i64 horizon = 5;  // blocks
    i64 history = 1;  // context frames
    // memory for gradients, see rollout_gradient.h; on the CPU in f32 only
    bool gradients = false;
  };

  // Context and model outlive the dynamics.
  GoalDynamics(Context& ctx, const Model& model, Sizes sizes, Objective objective = {},
               std::vector<Constraint> constraints = {});

  // How many environments the next plan is for; their contexts and goals are set anew.
  void begin(i64 environments);
  // context [history, D], prefix [history - 1, A] (the blocks between its frames; empty for one
  // frame), goal [D]
  void observe(i64 environment, View<const float, 2> context, View<const float, 2> prefix,
               View<const float, 1> goal);

  // Where observe puts them, for who makes them in place and for all environments at once:
  // [environments, history, D], [environments, history - 1, A] and [environments, D].
  View<float, 3> contexts() const { return contexts_; }
  View<float, 3> prefixes() const { return prefixes_; }
  View<float, 2> goals() const { return goals_; }
  const Objective& objective() const { return objective_; }

  i64 environments() const override { return environments_; }
  i64 action_dim() const override { return model_->config().action.input; }
  void rollout_cost(Context& ctx, i64 first_environment, View<const float, 4> actions,
                    View<float, 2> cost) override;

  i64 constraints() const override { return static_cast<i64>(constraints_.size()); }
  // CPU only
  void constrain(Context& ctx, i64 first_environment, View<const float, 4> actions,
                 View<float, 3> values) override;
  // error when it was made without gradients
  void rollout_cost_gradient(Context& ctx, i64 first_environment, View<const float, 4> actions,
                             View<const float, 3> weights, View<float, 2> cost,
                             View<float, 4> gradient) override;

  // What the model imagines for one plan [horizon, A]: latents [history + horizon, D], the context
  // first. For people to look at: both are the host's.
  void imagine(Context& ctx, i64 environment, View<const float, 2> plan, View<float, 2> latents);

 private:
  void lay_out(Arena& arena);
  void check_candidates(i64 first_environment, View<const float, 4> actions) const;
  RolloutInput input_of(i64 first_environment, View<const float, 4> actions) const;
  // the last latents of candidates, and what they are judged by
  Outcomes outcomes_of(Context& ctx, i64 first_environment, View<const float, 4> actions);

  Context* ctx_;
  const Model* model_;
  Sizes sizes_;
  Objective objective_;
  std::vector<Constraint> constraints_;
  i64 environments_ = 0;
  RolloutState rollout_;
  std::optional<RolloutGradient> gradient_;
  Block memory_;
  View<float, 3> contexts_;  // [environments, history, D]
  View<float, 3> prefixes_;  // [environments, history - 1, A]
  View<float, 2> goals_;     // [environments, D]
  View<float, 3> last_;      // [environments, samples, D]
  View<float, 2> plan_;      // [horizon, A], to imagine
  View<float, 2> imagined_;  // [history + horizon, D]
};

}  // namespace orrery::lewm
