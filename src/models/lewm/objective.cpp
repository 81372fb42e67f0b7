#include "models/lewm/objective.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "ops/elementwise.h"
#include "ops/squared_norms.h"

namespace orrery::lewm {

namespace {

// Every cost is goal * |z - g|^2 + control * |a|^2 + time * distance(z, g).
struct Factors {
  double goal = 0;
  double control = 0;
  double time = 0;
};

void add_term(Measure measure, double weight, const Outcomes& outcomes, Factors& factors) {
  const auto dim = static_cast<double>(outcomes.latents.size(2));
  const auto numbers = static_cast<double>(outcomes.actions.size(2) * outcomes.actions.size(3));
  switch (measure) {
    case Measure::goal_sum:
      factors.goal += weight;
      break;
    case Measure::goal_mean:
      factors.goal += weight / dim;
      break;
    case Measure::control_sum:
      factors.control += weight;
      break;
    case Measure::control_mean:
      factors.control += weight / numbers;
      break;
    case Measure::time_to_goal:
      factors.time += weight;
      break;
    case Measure::largest_action:
      break;
  }
}

Factors factors_of(const Objective& objective, const Outcomes& outcomes) {
  Factors factors;
  for (const Term& term : objective.terms) {
    add_term(term.measure, term.weight, outcomes, factors);
  }
  return factors;
}

// one candidate, taken apart
struct Candidate {
  const float* latent;
  const float* goal;
  const float* actions;
  i64 dim;
  i64 numbers;

  double goal_distance() const {
    double sum = 0;
    for (i64 d = 0; d < dim; ++d) {
      const double away = static_cast<double>(latent[d]) - static_cast<double>(goal[d]);
      sum += away * away;
    }
    return sum;
  }
  double control() const {
    double sum = 0;
    for (i64 i = 0; i < numbers; ++i) {
      sum += static_cast<double>(actions[i]) * static_cast<double>(actions[i]);
    }
    return sum;
  }
  // index of the first largest number
  i64 largest() const {
    i64 at = 0;
    for (i64 i = 1; i < numbers; ++i) {
      if (std::abs(actions[i]) > std::abs(actions[at])) at = i;
    }
    return at;
  }
};

Candidate candidate_of(const Outcomes& outcomes, i64 index) {
  const i64 dim = outcomes.latents.size(2);
  const i64 numbers = outcomes.actions.size(2) * outcomes.actions.size(3);
  return {outcomes.latents.data() + index * dim,
          outcomes.goals.data() + index / outcomes.latents.size(1) * dim,
          outcomes.actions.data() + index * numbers, dim, numbers};
}

// slopes of one candidate by goal and control, added
void add_slopes(const Candidate& x, const Factors& factors, float* latents, float* actions) {
  for (i64 d = 0; d < x.dim && factors.goal != 0; ++d) {
    latents[d] += static_cast<float>(
        2 * factors.goal * (static_cast<double>(x.latent[d]) - static_cast<double>(x.goal[d])));
  }
  for (i64 i = 0; i < x.numbers && factors.control != 0; ++i) {
    actions[i] += static_cast<float>(2 * factors.control * static_cast<double>(x.actions[i]));
  }
}

void check_outcomes(const char* name, const Outcomes& outcomes) {
  const auto& z = outcomes.latents;
  const auto& a = outcomes.actions;
  check(outcomes.goals.size(0) == z.size(0) && outcomes.goals.size(1) == z.size(2), name,
        ": goals are ", outcomes.goals.shape(), ", latents ", z.shape());
  check(a.size(0) == z.size(0) && a.size(1) == z.size(1), name, ": actions are ", a.shape(),
        ", latents ", z.shape());
  check(z.contiguous() && a.contiguous() && outcomes.goals.contiguous(), name,
        ": contiguous arrays were needed");
}

void check_slopes(const char* name, const Outcomes& outcomes, const Slopes& slopes) {
  check(slopes.latents.sizes() == outcomes.latents.sizes() &&
            slopes.actions.sizes() == outcomes.actions.sizes() && slopes.latents.contiguous() &&
            slopes.actions.contiguous(),
        name, ": slopes are ", slopes.latents.shape(), " and ", slopes.actions.shape(), "; ",
        outcomes.latents.shape(), " and ", outcomes.actions.shape(), " contiguous were needed");
}

// candidates a worker takes at once
constexpr i64 kGrain = 16;

// A distance head over candidates in their order; what the goal adds is found once for each goal.
class Asked {
 public:
  static std::size_t bytes(const DistanceHead& head) {
    return static_cast<std::size_t>(4 * head.sizes().hidden) * sizeof(float);
  }
  // memory: bytes() of the worker's own
  Asked(const DistanceHead& head, const Outcomes& outcomes, std::byte* memory)
      : head_(head),
        outcomes_(outcomes),
        from_goal_(reinterpret_cast<float*>(memory)),
        units_(from_goal_ + head.sizes().hidden) {}

  float distance(i64 index) {
    const auto [latent, goal] = pair(index);
    return head_.distance(latent, goal, from_goal_, units_);
  }
  void add_slope(i64 index, double factor, float* slope) {
    const auto [latent, goal] = pair(index);
    head_.add_slope(latent, goal, from_goal_, static_cast<float>(factor), units_, slope);
  }

 private:
  std::pair<const float*, const float*> pair(i64 index) {
    const i64 dim = outcomes_.latents.size(2), environment = index / outcomes_.latents.size(1);
    const float* goal = outcomes_.goals.data() + environment * dim;
    if (environment != environment_) head_.begin_goal(goal, from_goal_);
    environment_ = environment;
    return {outcomes_.latents.data() + index * dim, goal};
  }

  const DistanceHead& head_;
  const Outcomes& outcomes_;
  float *from_goal_, *units_;
  i64 environment_ = -1;
};

}  // namespace

std::vector<Constraint> constraints_of(const PlanLimits& limits) {
  std::vector<Constraint> constraints;
  const auto add = [&](const std::optional<double>& limit, Measure measure) {
    if (limit) constraints.push_back({measure, *limit});
  };
  add(limits.action_energy, Measure::control_mean);
  add(limits.largest_action, Measure::largest_action);
  add(limits.goal_distance, Measure::goal_sum);
  return constraints;
}

Objective objective_of(const CostChoice& choice, const std::filesystem::path& model, i64 latent) {
  const bool mean = choice.reduction == "mean", learned = choice.cost == "distance-head";
  check(mean || choice.reduction == "sum", "goal reduction is \"", choice.reduction,
        "\", needed sum or mean");
  check(learned || choice.cost == "latent", "the cost is \"", choice.cost,
        "\", needed latent or distance-head");
  check(learned || choice.latent_weight == 0,
        "a weight of the latent distance is for the cost distance-head");
  Objective objective;
  objective.terms.clear();
  if (learned) {
    const auto folder = std::filesystem::is_directory(model) ? model : model.parent_path();
    objective.distance = std::make_shared<DistanceHead>(read_distance_head(folder, latent));
    objective.terms.push_back({Measure::time_to_goal, 1.0});
  }
  const double weight = learned ? choice.latent_weight : 1.0;
  if (weight != 0) {
    objective.terms.push_back({mean ? Measure::goal_mean : Measure::goal_sum, weight});
  }
  if (choice.control_penalty != 0) {
    objective.terms.push_back({Measure::control_sum, choice.control_penalty});
  }
  return objective;
}

const char* name_of(Measure measure) {
  switch (measure) {
    case Measure::goal_sum:
      return "goal_sum";
    case Measure::goal_mean:
      return "goal_mean";
    case Measure::control_sum:
      return "control_sum";
    case Measure::control_mean:
      return "control_mean";
    case Measure::largest_action:
      return "largest_action";
    case Measure::time_to_goal:
      return "time_to_goal";
  }
  return "";
}

void check_objective(const Objective& objective, i64 latent) {
  check(!objective.terms.empty(), "objective: no terms were given, at least one was needed");
  for (const Term& term : objective.terms) {
    check(std::isfinite(term.weight), "objective: a weight is ", term.weight,
          ", a finite number was needed");
    check(term.measure != Measure::largest_action,
          "objective: the largest action can be a constraint, not a cost");
    if (term.measure != Measure::time_to_goal) continue;
    check(objective.distance != nullptr, "objective: time to the goal needs a distance head");
    check(objective.distance->sizes().latent == latent, "objective: the distance head is for ",
          objective.distance->sizes().latent, " numbers, the model's latents have ", latent);
  }
}

void check_constraints(std::span<const Constraint> constraints) {
  for (const Constraint& constraint : constraints) {
    check(std::isfinite(constraint.limit), "constraint: the limit is ", constraint.limit,
          ", a finite number was needed");
    check(constraint.measure != Measure::time_to_goal,
          "constraint: time to the goal can be a cost, not a constraint");
  }
}

void objective_cost(Context& ctx, const Objective& objective, const Outcomes& outcomes,
                    View<float, 2> cost) {
  check_outcomes("objective", outcomes);
  const auto& z = outcomes.latents;
  check(cost.size(0) == z.size(0) && cost.size(1) == z.size(1) && cost.contiguous(),
        "objective: cost is ", cost.shape(), ", latents ", z.shape());
  const Factors factors = factors_of(objective, outcomes);
  // a goal is one row for all candidates of its environment
  const View<const float, 3> goals(outcomes.goals.data(), z.sizes(), {z.size(2), 0, 1});
  squared_distances(ctx, z, goals, static_cast<float>(factors.goal), cost);
  const i64 candidates = cost.numel();
  if (factors.control != 0) {
    const View<const float, 2> actions(outcomes.actions.data(),
                                       {candidates, outcomes.actions.numel() / candidates});
    add_squared_norms(ctx, actions, static_cast<float>(factors.control), cost.flat());
  }
  if (factors.time == 0) return;
  must_be_cpu(ctx, "a distance head");
  const DistanceHead& head = *objective.distance;
  ctx.parallel_ranges(candidates, kGrain, [&](i64 begin, i64 end, int worker) {
    Asked asked(head, outcomes, ctx.worker_scratch(worker, Asked::bytes(head)));
    for (i64 index = begin; index < end; ++index) {
      cost.data()[index] +=
          static_cast<float>(factors.time * static_cast<double>(asked.distance(index)));
    }
  });
}

void objective_slopes(Context& ctx, const Objective& objective, const Outcomes& outcomes,
                      const Slopes& slopes) {
  must_be_cpu(ctx, "objective_slopes");
  check_outcomes("objective", outcomes);
  check_slopes("objective", outcomes, slopes);
  const Factors factors = factors_of(objective, outcomes);
  const i64 candidates = outcomes.latents.size(0) * outcomes.latents.size(1);
  const DistanceHead* head = factors.time != 0 ? objective.distance.get() : nullptr;
  ctx.parallel_ranges(candidates, kGrain, [&](i64 begin, i64 end, int worker) {
    std::optional<Asked> asked;
    if (head != nullptr) {
      asked.emplace(*head, outcomes, ctx.worker_scratch(worker, Asked::bytes(*head)));
    }
    for (i64 index = begin; index < end; ++index) {
      const Candidate x = candidate_of(outcomes, index);
      float* latents = slopes.latents.data() + index * x.dim;
      float* actions = slopes.actions.data() + index * x.numbers;
      std::fill_n(latents, x.dim, 0.0f);
      std::fill_n(actions, x.numbers, 0.0f);
      add_slopes(x, factors, latents, actions);
      if (asked) asked->add_slope(index, factors.time, latents);
    }
  });
}

void constraint_values(Context& ctx, std::span<const Constraint> constraints,
                       const Outcomes& outcomes, View<float, 3> values) {
  must_be_cpu(ctx, "constraint_values");
  check_outcomes("constraints", outcomes);
  const auto count = static_cast<i64>(constraints.size());
  const i64 candidates = outcomes.latents.size(0) * outcomes.latents.size(1);
  check(values.numel() == candidates * count && values.size(2) == count && values.contiguous(),
        "constraints: values are ", values.shape(), ", there are ", count, " constraints of ",
        candidates, " candidates");
  ctx.parallel_ranges(candidates, kGrain, [&](i64 begin, i64 end, int) {
    for (i64 index = begin; index < end; ++index) {
      const Candidate x = candidate_of(outcomes, index);
      for (i64 i = 0; i < count; ++i) {
        const Constraint& one = constraints[static_cast<std::size_t>(i)];
        double value = -one.limit;
        if (one.measure == Measure::largest_action) {
          value += static_cast<double>(std::abs(x.actions[x.largest()]));
        } else {
          Factors factors;
          add_term(one.measure, 1, outcomes, factors);
          if (factors.goal != 0) value += factors.goal * x.goal_distance();
          if (factors.control != 0) value += factors.control * x.control();
        }
        values.data()[index * count + i] = static_cast<float>(value);
      }
    }
  });
}

void add_constraint_slopes(Context& ctx, std::span<const Constraint> constraints,
                           const Outcomes& outcomes, View<const float, 3> weights,
                           const Slopes& slopes) {
  must_be_cpu(ctx, "add_constraint_slopes");
  check_outcomes("constraints", outcomes);
  check_slopes("constraints", outcomes, slopes);
  const auto count = static_cast<i64>(constraints.size());
  const i64 candidates = outcomes.latents.size(0) * outcomes.latents.size(1);
  check(weights.numel() == candidates * count && weights.size(2) == count && weights.contiguous(),
        "constraints: weights are ", weights.shape(), ", there are ", count, " constraints of ",
        candidates, " candidates");
  ctx.parallel_ranges(candidates, kGrain, [&](i64 begin, i64 end, int) {
    for (i64 index = begin; index < end; ++index) {
      const Candidate x = candidate_of(outcomes, index);
      float* latents = slopes.latents.data() + index * x.dim;
      float* actions = slopes.actions.data() + index * x.numbers;
      for (i64 i = 0; i < count; ++i) {
        const Constraint& one = constraints[static_cast<std::size_t>(i)];
        const float weight = weights.data()[index * count + i];
        if (one.measure == Measure::largest_action) {
          const i64 at = x.largest();
          const float a = x.actions[at];
          actions[at] += a > 0 ? weight : a < 0 ? -weight : 0.0f;
        } else {
          Factors factors;
          add_term(one.measure, static_cast<double>(weight), outcomes, factors);
          add_slopes(x, factors, latents, actions);
        }
      }
    }
  });
}

}  // namespace orrery::lewm
