#pragma once

#include <functional>
#include <vector>

#include "plan/bounds.h"
#include "plan/elites.h"
#include "plan/noise.h"
#include "plan/planner.h"
#include "tensor/arena.h"

namespace orrery {

// Numbers that describe one iteration for one environment.
template <typename T>
struct SearchFigures {
  T best_cost;   // lowest of all candidates, NaN ignored (NaN when all are)
  T mean_cost;   // over all candidates
  T elite_mean;  // over the elites
  T elite_min;
  T elite_max;
  T elite_spread;  // sample std of the elites, averaged over blocks and action numbers
  T mean_shift;    // length of the step that the mean took
  T std_mean;      // average of std over blocks and action numbers
};

// One iteration of one group as an observer sees it, after mean and std are updated. The views are
// of host memory and live until the observer returns.
template <typename T>
struct SearchIteration {
  i64 first_environment;
  i64 iteration;
  View<const T, 4> candidates;  // [group, samples, horizon, action_dim]
  View<const T, 2> costs;       // [group, samples]
  View<const i32, 2> elites;    // [group, elites], best first
  View<const T, 2> weights;     // [group, elites] of those; empty where the planner does not weigh
  View<const T, 3> mean;        // [group, horizon, action_dim]
  View<const T, 3> std;
  View<const SearchFigures<T>, 1> figures;  // [group]
};

// What a search by sampling needs to know before it takes memory.
struct SearchSettings {
  const char* name = "";  // in errors
  i64 samples = 0;
  i64 elites = 0;
  i64 iterations = 0;
  double initial_std = 1;
  double enough_std = 0;  // end early when the spread of every environment is no more: advance()
  i64 batch_size = 1;     // environments planned together, 0: all
  NanCosts nan = NanCosts::never_win;
  bool nan_first = false;  // NaN costs rank before every number
  i64 categories = 0;      // actions are choices among so many, and mean is their probabilities
  ActionBounds bounds;
  i64 kept = 0;                // best candidates stored by an iteration
  bool weighs = false;         // weights of the elites are stored
  std::vector<double> filter;  // of coloured noise; empty: noise stays white
};

// What planners that sample candidates, cost them and learn from the best have in common: memory,
// the loop over groups and iterations, start and answer. CEM, iCEM and MPPI say how to learn.
//
// All memory is one block where the context's operations run. What a plan begins with (keys,
// bounds, warm start, number of the iteration) is uploaded to it, so that an iteration has the same
// arguments whatever is planned: it can be captured once and replayed. `plan` does the pieces below
// in their order; captured work does them with begin, iterate and finish recorded:
//
//   prepare     host: what the plan begins with, into page-locked memory
//   begin       uploads it
//   iterate     one iteration; nothing of it is decided on the host
//   finish      downloads answers, into page-locked memory
//   hand_over   host: from there to the caller; after ctx.synchronize()
//
// Request and result lie in host memory. T = double: CPU only.
template <typename T>
class BasicSearch : public BasicPlanner<T> {
 public:
  i64 horizon() const override { return sizes_.horizon; }
  i64 action_dim() const override { return sizes_.action_dim; }
  i64 max_environments() const override { return sizes_.environments; }
  i64 most_at_once() const override { return group_; }
  i64 samples() const override { return settings_.samples; }
  const SearchSettings& settings() const { return settings_; }
  const PlanSizes& sizes() const { return sizes_; }
  // whether iterations may be captured and replayed: nobody watches them, and noise is counted
  bool can_be_captured() const { return !watched() && noise_->can_be_captured(); }

  // Called after every iteration of plan(); empty: nobody watches and no figures are computed. On a
  // CUDA device everything is then copied to the host after every iteration.
  void observe(std::function<void(const SearchIteration<T>&)> observer);

  // Limits for the plans from now on.
  void set_bounds(const ActionBounds& bounds);

  void plan(Context& ctx, BasicDynamics<T>& dynamics, const BasicPlanRequest<T>& request,
            const BasicPlanResult<T>& result) override;

  void prepare(const BasicPlanRequest<T>& request, i64 first, i64 group);
  void begin(Context& ctx, BasicDynamics<T>& dynamics, i64 first, i64 group);
  void iterate(Context& ctx, BasicDynamics<T>& dynamics, i64 first, i64 group);
  // all iterations, as the host leads them
  void iterate_while_wanted(Context& ctx, BasicDynamics<T>& dynamics, i64 first, i64 group);
  void finish(Context& ctx);
  void hand_over(const BasicPlanResult<T>& result, i64 first, i64 group) const;

  // On the device: 1 until the last iteration wanted is done, then 0.
  const i32* keep_going() const { return &memory_.progress[1]; }
  // of the group that was handed over last
  i64 iterations_done() const { return staging_.progress[0]; }

 protected:
  // Takes all memory. Error when a number of the settings or a size makes no sense. `noise`
  // outlives the planner.
  BasicSearch(Context& ctx, SearchSettings settings, const PlanSizes& sizes, BasicNoise<T>& noise);

  // everything an iteration works on; the first seven lie in this order, which uploads and
  // downloads rely on
  struct Memory {
    View<PlanKey, 1> keys;  // [group]
    View<T, 1> low, high;   // [action_dim]
    View<u64, 1> clock;     // both: see plan/progress.h
    View<i32, 1> progress;
    View<T, 3> mean, std;    // [group, horizon, action_dim]
    View<T, 1> cost;         // [group], mean cost of the elites
    View<T, 1> best_cost;    // [group], cost of the best candidate, where `kept` is stored
    View<T, 4> kept;         // [group, kept, horizon, action_dim]
    View<T, 4> candidates;   // [group, samples, horizon, action_dim]
    View<T, 2> costs;        // [group, samples]
    View<i32, 2> order;      // [group, samples], elites first
    View<T, 2> weights;      // [group, elites]
    View<T, 4> white;        // [group, samples, action_dim, horizon], where noise is coloured
    View<double, 1> filter;  // [horizon]
  };

  // memory.candidates of an iteration
  virtual void sample(Context& ctx, const Memory& memory, View<const i32, 1> iteration);
  // how many of the stored best candidates come back as candidates
  virtual i64 returning() const { return 0; }
  // memory.costs are there: order, mean, std, cost
  virtual void learn(Context& ctx, const Memory& memory) = 0;
  // Which plan and which cost of an environment are the answer, in downloaded memory.
  virtual const T* answer(const Memory& memory, i64 e, T& cost) const;

  BasicNoise<T>& noise() { return *noise_; }

 private:
  Memory lay_out(Arena& arena, bool answers_only) const;
  Memory of_group(const Memory& memory, i64 group) const;
  bool watched() const { return observer_ || this->traces_ != nullptr; }
  void look(Context& ctx);
  void watch(i64 first, i64 iteration, i64 group);

  SearchSettings settings_;
  PlanSizes sizes_;
  i64 group_ = 0;  // most environments at once
  Device device_;
  BasicNoise<T>* noise_;
  i64 given_ = 0;                                // blocks of warm start
  bool limited_ = false;                         // a budget was given
  const std::function<u64()>* clock_ = nullptr;  // by which it is measured, if not the backend's
  u64 budget_ns_ = 0;
  u64 began_ns_ = 0;

  Block block_;
  Memory memory_;
  Block staging_block_;
  Memory staging_;  // on the host, keys to kept only

  std::function<void(const SearchIteration<T>&)> observer_;
  Block seen_block_;  // host copy of block_ for observers; the CPU's own memory needs none
  Memory seen_;
  Block figures_block_;
  View<SearchFigures<T>, 1> figures_;  // [group]
  View<T, 3> last_mean_;
};

using Search = BasicSearch<float>;

}  // namespace orrery
