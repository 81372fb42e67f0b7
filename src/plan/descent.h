#pragma once

#include <functional>
#include <vector>

#include "plan/differentiable.h"
#include "plan/noise.h"
#include "plan/optimiser.h"
#include "plan/planner.h"

namespace orrery {

// Which of the samples that descended is the answer.
enum class DescentAnswer {
  // the one that was cheapest before its last step: the released planners (0.1.1), which save an
  // evaluation. The cost reported is that one too
  last_step_cost,
  final_cost,  // the one that is cheapest after it: later releases
  // The cheapest of all that was ever evaluated, after the last step too. Where there are
  // constraints, one that keeps to them; where none does, the one that breaks them least.
  best,
};

struct DescentConfig {
  i64 samples = 1;
  i64 steps = 30;
  double initial_std = 1.0;   // of the samples around the start; the first is the start itself
  double action_noise = 0.0;  // std of what is added after every step
  i64 batch_size = 0;         // environments that descend together, 0: all
  double grad_clip = 0;       // longest gradient of all candidates of a batch together, 0: any
  OptimiserConfig optimiser = {};
  DescentAnswer answer = DescentAnswer::last_step_cost;
};

// Numbers that describe one step for one environment, before it is taken.
struct DescentFigures {
  float best_cost;      // lowest of all samples, NaN ignored (NaN when all are)
  float mean_cost;      // over the samples
  float gradient_norm;  // length of a sample's gradient, mean over the samples
  float action_norm;    // length of a sample's actions, likewise
};

// One step of one group as an observer sees it, before it is taken. The views live until the
// observer returns.
struct DescentStep {
  i64 first_environment;
  i64 step;                               // counted through all rounds
  View<const float, 4> actions;           // [group, samples, horizon, action_dim]
  View<const float, 2> costs;             // [group, samples]
  View<const float, 4> gradient;          // of the loss, [group, samples, horizon, action_dim]
  View<const float, 3> constraints;       // [group, samples, constraints], may be empty
  double loss;                            // sum over the group, penalties included
  View<const DescentFigures, 1> figures;  // [group]
};

// What planners that follow gradients have in common: memory, start, the loop over groups, rounds
// and steps, answer.
//
//   samples start at the warm start, extended by the dynamics' proposal (zeros); all but the first
//   are moved by initial_std * eps
//   rounds times steps times:
//     loss = sum of costs, and what the planner adds for constraints
//     g    = d loss / d actions; clipped to a length of grad_clip
//     actions = optimiser's step; += action_noise * eps; then what the planner makes of them
//
// Draws: iteration 0 of the noise moves the starts of all environments, [environments, samples - 1,
// horizon, action_dim]; iteration k is the action noise of step k, [group, samples, horizon,
// action_dim].
//
// A candidate whose cost or gradient is not a finite number has a gradient of 0 at that step: it
// neither spoils the length of the others' nor moves by it, and while others have a cost it is not
// the answer. When no sample has a cost to be chosen by, the cheapest that was ever evaluated is
// the answer, and where there was none the start, with a cost of NaN. Equal costs: the first
// sample.
//
// A budget is kept by ending before the step that would go beyond (one is always made); the answer
// is then the best that was evaluated.
//
// CPU only. Takes all memory when it is made. steady
class Descent : public Planner {
 public:
  i64 horizon() const override { return sizes_.horizon; }
  i64 action_dim() const override { return sizes_.action_dim; }
  i64 max_environments() const override { return sizes_.environments; }
  i64 most_at_once() const override { return group_; }
  i64 samples() const override { return config_.samples; }
  bool needs_gradients() const override { return true; }
  const DescentConfig& config() const { return config_; }

  // Called before every step; empty: nobody watches.
  void observe(std::function<void(const DescentStep&)> observer) {
    observer_ = std::move(observer);
  }

  // Error also when the dynamics is not a DifferentiableDynamics or the context not the CPU's.
  // result.std becomes 0.
  void plan(Context& ctx, Dynamics& dynamics, const PlanRequest& request,
            const PlanResult& result) override;

  // After a plan: where the samples ended, [environments, samples, horizon, action_dim].
  View<const float, 4> samples_at_end() const { return actions_.slice(0, 0, planned_); }

 protected:
  // what a round of descent is about, for the planners below
  struct Group {
    DifferentiableDynamics& dynamics;
    i64 first;                 // environment
    View<float, 4> actions;    // [group, samples, horizon, action_dim]
    View<float, 2> costs;      // [group, samples]
    View<float, 2> violation;  // [group, samples], by how much limits are broken, 0 for not at all
    i64 size() const { return actions.size(0); }
  };

  struct Penalty {
    View<const float, 3> values;   // of the constraints, [group, samples, constraints]; or empty
    View<const float, 3> weights;  // d loss / d values, likewise
    double loss = 0;
  };

  // Error when a number of the configuration or a size makes no sense. `noise` outlives the
  // planner.
  Descent(const char* name, const DescentConfig& config, const PlanSizes& sizes, Noise& noise);

  const char* name() const { return name_; }
  const PlanSizes& sizes() const { return sizes_; }

  virtual i64 rounds() const { return 1; }
  virtual void begin_plan(const DifferentiableDynamics& dynamics, const PlanRequest& request);
  virtual void begin_group(const Group& group);
  // what constraints add to the loss; writes group.violation too
  virtual Penalty weigh(Context& ctx, const Group& group);
  virtual void end_round(Context& ctx, const Group& group);
  virtual void end_group(const Group& group);
  // after every step: actions [rows, action_dim] to where they may be
  virtual void settle(View<float, 2> actions);
  // the answer [horizon, action_dim] as it is handed over
  virtual void finish_answer(View<float, 2> actions);

 private:
  void lay_out(Arena& arena);
  Group group_of(DifferentiableDynamics& dynamics, i64 first, i64 count) const;
  void start(Context& ctx, Dynamics& dynamics, const PlanRequest& request);
  bool descend(Context& ctx, const Group& group, const PlanRequest& request);
  void add_noise(Context& ctx, i64 iteration, i64 first, float factor, View<float, 4> to);
  void mend(View<const float, 2> costs, View<float, 4> gradient) const;
  void clip(Context& ctx, View<float, 1> gradient) const;
  void remember_best(const Group& group);
  void watch(const Group& group, i64 step, View<const float, 4> gradient, const Penalty& penalty);
  void hand_over(const Group& group, bool by_best, const PlanResult& result);

  const char* name_;
  DescentConfig config_;
  PlanSizes sizes_;
  i64 group_ = 0;  // most environments at once
  Noise* noise_;
  Optimiser optimiser_;
  i64 planned_ = 0;
  std::function<void(const DescentStep&)> observer_;

  Block memory_;
  View<PlanKey, 1> keys_;            // [environments]
  View<i32, 1> iteration_;           // [1]
  View<float, 3> start_;             // [environments, horizon, action_dim]
  View<float, 4> actions_;           // [environments, samples, horizon, action_dim]
  View<float, 4> gradient_;          // [group, samples, horizon, action_dim]
  View<float, 1> draws_;             // of one fill
  View<float, 2> costs_;             // [group, samples]
  View<float, 2> violation_;         // [group, samples]
  View<float, 3> best_;              // [group, horizon, action_dim], the cheapest so far
  View<float, 1> best_cost_;         // [group]
  View<float, 1> best_violation_;    // [group]
  View<DescentFigures, 1> figures_;  // [group]
};

}  // namespace orrery
