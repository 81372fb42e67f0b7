#pragma once

#include <optional>

#include "models/lewm/dynamics.h"
#include "models/lewm/eye.h"
#include "plan/goal_sequence.h"
#include "plan/search.h"
#include "tensor/tensor.h"

namespace orrery::lewm {

// From pixels to plan in one call: pictures are encoded, candidates are drawn, rolled out, judged
// and learned from, until the planner is done. Goals are encoded once and remembered.
//
// On a CUDA device all of it is captured at the second plan and is from then on one launch:
// pictures go there, plans come back, and the host decides nothing in between. Pictures, action
// history, warm start, keys, bounds and time limit may be others every time; only the number of
// environments decides which captured work is replayed. A planner that is observed, that reads
// recorded noise or another clock, or that is no Search plans uncaptured.
//
// Allocates nothing after the second plan. One thread uses it at a time.
class Pilot {
 public:
  struct Sizes {
    i64 environments = 1;  // at most
    i64 history = 1;       // frames an environment shows
    i64 height = 0;        // of pictures
    i64 width = 0;
  };

  // Context, model and planner outlive the pilot. A model of vectors has no eye: its pilot plans
  // from latents and to latents, and pictures are an Error. Error when the planner was made for
  // fewer environments, plans them in several groups, or does not fit the model.
  Pilot(Context& ctx, const Model& model, Planner& planner, Sizes sizes, Objective objective = {},
        std::vector<Constraint> constraints = {});

  // What environments want to reach, until they are told otherwise. All pictures and latents are
  // the host's.
  //
  //   pictures   [n, height, width, 3], for environments first ... first + n - 1
  //   latents    [n, D]
  void set_goals(i64 first, View<const u8, 4> pictures);
  void set_goal_latents(i64 first, View<const float, 2> latents);
  // The latents of pictures that goals may be of, [n, D]: for sequences of them. They pass through
  // where a plan's present is kept, so read_latents and imagine come before this or after the next
  // plan.
  void encode_goals(View<const u8, 4> pictures, View<float, 2> latents);
  // Several goals [n, D] of one environment, one after the other. Before a plan the environment is
  // seen, and where the sequence says so, the next goal becomes its goal: that takes one more
  // encoding of the frames, and the host decides. set_goals and set_goal_latents end a sequence.
  void set_goal_sequence(i64 environment, View<const float, 2> latents, GoalAdvance when);
  // null when the environment has no sequence
  const GoalSequence* goal_sequence(i64 environment) const;
  // The environment begins anew: with the first goal of its sequence, if it has one.
  void restart_goals(i64 environment);

  // What environments see now and did last. All of it is the host's.
  struct Sight {
    View<const u8, 5> frames;     // [environments, history, height, width, 3], oldest first
    View<const float, 3> blocks;  // [environments, history - 1, A], the actions between the frames,
                                  // z-scored; empty for one frame
    i64 blocks_done = 0;          // carried out since the sight before; for sequences of goals
  };
  // Error when an environment has no goal yet, or sizes do not fit.
  void plan(const Sight& sight, const PlanRequest& request, const PlanResult& result);

  // The same from latents of the present, the host's: of frames that were encoded before, or that
  // nobody has seen yet but the model. Plans uncaptured, and heeds no sequence.
  //
  //   contexts   [environments, history, D]
  //   blocks     [environments, history - 1, A]; empty for one frame
  void plan_from(View<const float, 3> contexts, View<const float, 3> blocks,
                 const PlanRequest& request, const PlanResult& result);

  // The latents of the frames planned from last, [environments, history, D], the host's.
  void read_latents(View<float, 3> latents);
  // What the model imagines for a plan [horizon, A] from them: [history + horizon, D], the host's.
  void imagine(i64 environment, View<const float, 2> plan, View<float, 2> latents) {
    dynamics_.imagine(ctx_, environment, plan, latents);
  }

  i64 height() const { return sizes_.height; }
  i64 width() const { return sizes_.width; }
  GoalDynamics& dynamics() { return dynamics_; }
  bool captured() const { return static_cast<bool>(graph_); }

 private:
  void stage(const Sight& sight);
  void see(i64 environments);
  void follow_goals(const Sight& sight);
  Eye& eye();
  void put_goal(i64 environment, View<const float, 1> latent);
  void check_goals(i64 first, i64 count) const;
  void end_sequences(i64 first, i64 count);
  void check_sight(const Sight& sight) const;

  Context& ctx_;
  Planner& planner_;
  Search* search_;  // the same where it is one that can be captured, else null
  Sizes sizes_;
  std::optional<Eye> eye_;
  GoalDynamics dynamics_;
  std::vector<bool> has_goal_;
  struct Way {
    GoalSequence sequence;
    Tensor latents;  // [goals, D]
  };
  std::vector<std::optional<Way>> ways_;  // of every environment
  std::vector<float> seen_;               // latents of the present, [environments, history, D]

  Block staging_;               // page-locked
  View<u8, 4> frames_;          // [environments * history, height, width, 3]
  View<float, 3> blocks_;       // [environments, history - 1, A]
  View<float, 2> goal_rows_;    // [environments, D]
  i64 plans_of_this_size_ = 0;  // with the same number of environments, without a break
  i64 environments_ = 0;        // of the last plan
  Graph graph_;
};

}  // namespace orrery::lewm
