#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/types.h"
#include "media/image.h"
#include "models/lewm/objective.h"
#include "plan/choice.h"
#include "plan/policy.h"
#include "plan/trace.h"

namespace orrery {

// Which rows of a data set an evaluation begins at.
struct Start {
  i64 row = 0;  // of the data set
  i64 episode = 0;
  i64 step = 0;  // within the episode
};

// When an episode counts as a success.
struct Criterion {
  enum class Kind {
    published,  // the environment says that its goal is reached, after any step
    held        // it says so after hold_steps steps in a row; in PushT the block's angle must be
                // within `degrees` of the goal's as well. The agent goes on acting meanwhile.
  };
  Kind kind = Kind::published;
  i64 hold_steps = 5;
  double degrees = 15;
};

// The evaluation of stable-worldmodel: start rows drawn from a data set, the goal is the row
// goal_offset later, the first frame and the goal picture are the data set's, an episode succeeds
// when the environment terminates within the budget.
struct Protocol {
  i64 episodes = 50;
  u64 seed = 42;
  i64 goal_offset = 25;  // rows
  i64 budget = 50;       // environment steps
  // true: the rule published before 2026-07-22, which never chooses the last valid row
  bool original_start_rule = false;
  // beyond what is published: starts at which the goal is reached already are replaced by others
  bool drop_solved = false;
  Criterion criterion;
  PlanConfig plan;
  PlannerChoice planner;
  lewm::Objective objective;
};

// One plan of one episode.
struct PlanRecord {
  i64 step = 0;        // environment step it was made at
  double plan_ms = 0;  // frames and goal encoded, planner run
  double cost = 0;     // as reported by the planner
  PlanTrace trace;     // how it was found; empty on a device without films
  std::vector<float>
      surprise;  // per block carried out: squared distance of imagined and seen latent
  std::vector<float>
      goal_distance;  // per imagined block: squared distance of imagined latent and goal latent
  std::vector<i64>
      nearest;  // per imagined block: index into Evaluation::gallery of the nearest latent
};

struct EpisodeRecord {
  i64 index = 0;  // of the case, in the order of the protocol's starts
  Start start;
  bool success = false;
  bool already_solved = false;  // the goal was reached before the first action
  i64 steps = 0;                // environment steps until success or the end of the budget
  i64 reached_at = -1;          // steps after which the environment first said so, -1 for never
  // to the goal after each step, in the environment's measure: [steps + 1], the first before any
  std::vector<double> distances;
  bool random_success = false;  // of the random policy from the same start
  std::vector<PlanRecord> plans;
  std::vector<std::vector<double>> states;  // [steps + 1] states of the environment
  std::vector<std::vector<float>> actions;  // [steps] raw actions
  std::vector<Image> film;  // [steps + 1] what the agent saw; empty unless films were asked for
  Image goal;               // likewise
};

struct Evaluation {
  std::string environment;
  std::string model;  // where it was loaded from
  std::string data;   // where starts and goals came from
  i64 parameters = 0;
  Protocol protocol;
  std::vector<EpisodeRecord> episodes;
  std::vector<Image>
      gallery;  // recorded frames that imagined latents are shown as; empty without films
  double seconds = 0;

  i64 successes() const;
  i64 random_successes() const;
  i64 already_solved() const;
  double success_rate() const;  // percent
  double random_success_rate() const;
  std::array<double, 2> ci95() const;         // Wilson interval of the success rate, percent
  std::vector<double> plan_times_ms() const;  // of all plans, sorted
};

// The q-quantile of sorted values, between neighbours linearly; 0 for none.
double quantile(const std::vector<double>& sorted, double q);

// Wilson's score interval for `successes` of `count` at 95 %, as fractions. E. B. Wilson, "Probable
// inference", 1927.
std::array<double, 2> wilson_interval(i64 successes, i64 count);

}  // namespace orrery
