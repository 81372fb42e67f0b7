#include "plan/lagrangian.h"

#include <algorithm>
#include <cmath>

namespace orrery {

LagrangianPlanner::LagrangianPlanner(const LagrangianConfig& config, const PlanSizes& sizes,
                                     Noise& noise)
    : Descent("lagrangian", config.descent, sizes, noise), config_(config) {
  check(config.rounds >= 1, "lagrangian: ", config.rounds, " rounds, at least one is needed");
  check(config.constraints >= 0, "lagrangian: ", config.constraints,
        " constraints, from 0 up was needed");
  check(std::isfinite(config.rho) && config.rho >= 0 && config.rho_max >= 0 &&
            std::isfinite(config.rho_scale) && config.rho_scale >= 0,
        "lagrangian: rho is ", config.rho, ", at most ", config.rho_max, ", times ",
        config.rho_scale, " a round; numbers from 0 up were needed");
  const auto lay_out = [&](Arena& arena) {
    const i64 n = config.constraints, samples = config.descent.samples;
    kept_multipliers_ = arena.take<float, 2>({sizes.environments, n});
    multipliers_ = arena.take<float, 2>({sizes.environments, n});
    left_ = arena.take<float, 1>({sizes.environments});
    values_ = arena.take<float, 3>({most_at_once(), samples, n});
    weights_ = arena.take<float, 3>({most_at_once(), samples, n});
  };
  Arena measure;
  lay_out(measure);
  memory_ = Block(measure.used());
  Arena arena(memory_);
  lay_out(arena);
  kept_.reserve(static_cast<std::size_t>(sizes.environments));
  who_.resize(static_cast<std::size_t>(sizes.environments));
}

void LagrangianPlanner::begin_plan(const DifferentiableDynamics& dynamics,
                                   const PlanRequest& request) {
  check(dynamics.constraints() == config_.constraints, "lagrangian: the dynamics has ",
        dynamics.constraints(), " constraints, the planner was made for ", config_.constraints);
  planned_ = dynamics.environments();
  ++plans_;
  if (!config_.persist_multipliers) forget();
  for (i64 e = 0; e < planned_; ++e) {
    const auto at = static_cast<std::size_t>(e);
    who_[at] = request.keys.empty() ? e : request.keys[at].environment;
    const auto known = std::find_if(kept_.begin(), kept_.end(),
                                    [&](const Kept& kept) { return kept.environment == who_[at]; });
    for (i64 i = 0; i < config_.constraints; ++i) {
      multipliers_(e, i) =
          known == kept_.end() ? 0.0f : kept_multipliers_(known - kept_.begin(), i);
    }
    left_[e] = 0;
  }
}

void LagrangianPlanner::begin_group(const Group&) { rho_ = config_.rho; }

Descent::Penalty LagrangianPlanner::weigh(Context& ctx, const Group& group) {
  const i64 n = config_.constraints;
  if (n == 0) return {};
  const auto values = values_.slice(0, 0, group.size());
  const auto weights = weights_.slice(0, 0, group.size());
  group.dynamics.constrain(ctx, group.first, group.actions, values);
  Penalty penalty{values, weights, 0.0};
  for (i64 e = 0; e < group.size(); ++e) {
    for (i64 s = 0; s < values.size(1); ++s) {
      double broken = 0;
      for (i64 i = 0; i < n; ++i) {
        const auto g = static_cast<double>(values(e, s, i));
        const auto lambda = static_cast<double>(multipliers_(group.first + e, i));
        const double above = std::isnan(g) ? g : std::max(0.0, g);
        weights(e, s, i) = static_cast<float>(lambda + 2 * rho_ * above);
        penalty.loss += lambda * g + rho_ * above * above;
        broken += above;
      }
      group.violation(e, s) = static_cast<float>(broken);
    }
  }
  return penalty;
}

void LagrangianPlanner::end_round(Context& ctx, const Group& group) {
  const i64 n = config_.constraints;
  if (n == 0) return;
  const auto values = values_.slice(0, 0, group.size());
  group.dynamics.constrain(ctx, group.first, group.actions, values);
  for (i64 e = 0; e < group.size(); ++e) {
    double above = 0;
    for (i64 i = 0; i < n; ++i) {
      double sum = 0;
      i64 count = 0;
      for (i64 s = 0; s < values.size(1); ++s) {
        const auto g = static_cast<double>(values(e, s, i));
        above += std::isnan(g) ? g : std::max(0.0, g);
        if (!std::isfinite(g)) continue;
        sum += g;
        ++count;
      }
      if (count == 0) continue;
      float& lambda = multipliers_(group.first + e, i);
      const double step = rho_ * sum / static_cast<double>(count);
      lambda = static_cast<float>(std::max(0.0, static_cast<double>(lambda) + step));
    }
    left_[group.first + e] = static_cast<float>(above / static_cast<double>(n * values.size(1)));
  }
  rho_ = std::min(config_.rho_max, rho_ * config_.rho_scale);
}

// the row of an environment, at the cost of the one that was planned for longest ago
std::size_t LagrangianPlanner::row_of(i64 environment) {
  for (std::size_t row = 0; row < kept_.size(); ++row) {
    if (kept_[row].environment == environment) return row;
  }
  if (static_cast<i64>(kept_.size()) < kept_multipliers_.size(0)) {
    kept_.push_back({environment, 0});
    return kept_.size() - 1;
  }
  const auto oldest =
      std::min_element(kept_.begin(), kept_.end(),
                       [](const Kept& a, const Kept& b) { return a.last_plan < b.last_plan; });
  return static_cast<std::size_t>(oldest - kept_.begin());
}

void LagrangianPlanner::end_group(const Group& group) {
  for (i64 e = group.first; e < group.first + group.size(); ++e) {
    const i64 environment = who_[static_cast<std::size_t>(e)];
    const std::size_t row = row_of(environment);
    kept_[row] = {environment, plans_};
    std::copy_n(multipliers_[e].data(), config_.constraints,
                kept_multipliers_[static_cast<i64>(row)].data());
  }
}

}  // namespace orrery
