#include "eval/results.h"

#include <algorithm>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "eval/records.h"
#include "eval/seeds.h"
#include "eval/start_distance.h"

namespace orrery {

namespace {

using nlohmann::json;

json json_from_criterion(const Criterion& criterion) {
  if (criterion.kind == Criterion::Kind::published) return {{"name", "published"}};
  return {{"name", "held"}, {"steps", criterion.hold_steps}, {"degrees", criterion.degrees}};
}

const char* name_of(IcemAnswer answer) {
  switch (answer) {
    case IcemAnswer::mean:
      return "mean";
    case IcemAnswer::best:
      return "best";
    case IcemAnswer::best_with_mean_cost:
      return "best, mean cost";
  }
  return "";
}

const char* name_of(DescentAnswer answer) {
  switch (answer) {
    case DescentAnswer::last_step_cost:
      return "last step";
    case DescentAnswer::final_cost:
      return "final";
    case DescentAnswer::best:
      return "best";
  }
  return "";
}

const char* name_of(OptimiserConfig::Kind kind) {
  switch (kind) {
    case OptimiserConfig::Kind::sgd:
      return "sgd";
    case OptimiserConfig::Kind::adam:
      return "adam";
    case OptimiserConfig::Kind::adamw:
      return "adamw";
  }
  return "";
}

// what is said about a planner that descends; null is what the planner itself says
json json_from_descent(const DescentChoice& choice) {
  const auto number_or_null = [](const std::optional<double>& value) {
    return value ? json(*value) : json();
  };
  return {{"optimizer", choice.optimiser ? json(name_of(*choice.optimiser)) : json()},
          {"lr", number_or_null(choice.lr)},
          {"weight_decay", choice.weight_decay < 0 ? json() : json(choice.weight_decay)},
          {"momentum", choice.momentum},
          {"grad_clip", choice.grad_clip},
          {"action_noise", choice.action_noise},
          {"answer", name_of(choice.answer)},
          {"rounds", choice.rounds},
          {"rho", choice.rho},
          {"rho_max", choice.rho_max},
          {"rho_scale", choice.rho_scale},
          {"persist_multipliers", choice.persist_multipliers},
          {"limits",
           {{"action_energy", number_or_null(choice.limits.action_energy)},
            {"largest_action", number_or_null(choice.limits.largest_action)},
            {"goal_distance", number_or_null(choice.limits.goal_distance)}}}};
}

json json_from_planner(const PlannerChoice& choice) {
  json result = {{"planner", choice.name},
                 {"samples", choice.samples},
                 {"iterations", choice.iterations},
                 {"elites", choice.elites},
                 {"initial_std", choice.initial_std},
                 {"elite_std", choice.elite_std == EliteStd::sample ? "sample" : "population"},
                 {"nan_costs", choice.nan == NanCosts::never_win ? "never win" : "as released"},
                 {"min_std", choice.min_std},
                 {"enough_std", choice.enough_std}};
  if (choice.momentum) result["momentum"] = *choice.momentum;
  if (choice.name == "icem") {
    result.update({{"noise_beta", choice.noise_beta},
                   {"keep", choice.keep},
                   {"answer", name_of(choice.answer)}});
  }
  if (choice.name == "mppi") result["temperature"] = choice.temperature;
  if (choice.name == "categorical-cem") {
    result.update({{"categories", choice.categories}, {"smoothing", choice.smoothing}});
  }
  if (choice.name == "pgd") result["categories"] = choice.categories;
  if (descends(choice.name)) result["descent"] = json_from_descent(choice.descent);
  if (choice.action_limit) {
    result["action_limit"] = text(*choice.action_limit);
    result["limit_scale"] = choice.bound_scale == BoundScale::action ? "action" : "z-scored";
  }
  return result;
}

json table_from(const EpisodeRecord& record, Detail detail) {
  json plans = json::array();
  for (const PlanRecord& plan : record.plans) {
    plans.push_back({{"step", plan.step}, {"cost", plan.cost}, {"ms", plan.plan_ms}});
    if (detail.traces) plans.back()["trace"] = json_from_trace(plan.trace);
  }
  return {{"episode", record.index},
          {"row", record.start.row},
          {"recorded_episode", record.start.episode},
          {"start_step", record.start.step},
          {"success", record.success},
          {"steps", record.steps},
          {"reached_at", record.reached_at < 0 ? json() : json(record.reached_at)},
          {"already_solved", record.already_solved},
          {"random_success", record.random_success},
          {"distance", {record.distances.front(), record.distances.back()}},
          {"plans", plans}};
}

json json_from_times(const std::vector<double>& sorted_ms) {
  return {{"p50", quantile(sorted_ms, 0.5)}, {"p99", quantile(sorted_ms, 0.99)}};
}

// digits after the point
std::string number(double value, int digits = 0) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

}  // namespace

json json_from_protocol(const Protocol& protocol) {
  json result = {{"name", "stable-worldmodel"},
                 {"goal_offset", protocol.goal_offset},
                 {"budget", protocol.budget},
                 {"horizon", protocol.plan.horizon},
                 {"receding_horizon", protocol.plan.receding_horizon},
                 {"action_block", protocol.plan.action_block},
                 {"history", protocol.plan.history_len},
                 {"start_rule", protocol.original_start_rule ? "original" : "corrected"},
                 {"drop_solved", protocol.drop_solved},
                 {"criterion", json_from_criterion(protocol.criterion)}};
  result.update(json_from_planner(protocol.planner));
  json& objective = result["objective"] = json::array();
  for (const lewm::Term& term : protocol.objective.terms) {
    objective.push_back({{"measure", lewm::name_of(term.measure)}, {"weight", term.weight}});
  }
  return result;
}

json json_from_evaluation(const Evaluation& evaluation, Detail detail) {
  json result = {{"env", evaluation.environment},
                 {"protocol", json_from_protocol(evaluation.protocol)},
                 {"model", evaluation.model},
                 {"data", evaluation.data},
                 {"parameters", evaluation.parameters},
                 {"episodes", evaluation.episodes.size()},
                 {"successes", evaluation.successes()},
                 {"success_rate", evaluation.success_rate()},
                 {"ci95", evaluation.ci95()},
                 {"random_success_rate", evaluation.random_success_rate()},
                 {"already_solved", evaluation.already_solved()},
                 {"success_by_distance", json_from_start_distances({&evaluation, 1})},
                 {"plan_ms", json_from_times(evaluation.plan_times_ms())},
                 {"seconds", evaluation.seconds}};
  result["protocol"]["seed"] = evaluation.protocol.seed;
  if (detail.table || detail.traces) {
    result["table"] = json::array();
    for (const EpisodeRecord& record : evaluation.episodes) {
      result["table"].push_back(table_from(record, detail));
    }
  }
  return result;
}

json json_from_evaluations(std::span<const Evaluation> evaluations, Detail detail) {
  if (evaluations.size() == 1) return json_from_evaluation(evaluations.front(), detail);
  json runs = json::array();
  json seeds = json::array();
  std::vector<double> times_ms;
  double seconds = 0;
  for (const Evaluation& evaluation : evaluations) {
    runs.push_back(json_from_evaluation(evaluation, detail));
    seeds.push_back(evaluation.protocol.seed);
    const auto some = evaluation.plan_times_ms();
    times_ms.insert(times_ms.end(), some.begin(), some.end());
    seconds += evaluation.seconds;
  }
  json result = {{"runs", runs}, {"seeds", seeds}};
  if (evaluations.empty()) return result;
  std::sort(times_ms.begin(), times_ms.end());
  const SeedSummary all = summary_of_seeds(evaluations);
  const Evaluation& first = evaluations.front();
  result.update(
      {{"env", first.environment},
       {"protocol", json_from_protocol(first.protocol)},
       {"model", first.model},
       {"data", first.data},
       {"parameters", first.parameters},
       {"episodes", all.episodes},
       {"successes", all.successes},
       {"success_rate", all.success_rate},
       {"ci95", all.ci95},
       {"random_success_rate", all.random_success_rate},
       {"already_solved", all.already_solved},
       {"over_seeds",
        {{"mean", all.mean}, {"std", all.std}, {"lowest", all.lowest}, {"highest", all.highest}}},
       {"success_by_distance", json_from_start_distances(evaluations)},
       {"plan_ms", json_from_times(times_ms)},
       {"seconds", seconds}});
  return result;
}

std::string lines_of(std::span<const Evaluation> evaluations) {
  std::ostringstream out;
  for (const Evaluation& evaluation : evaluations) {
    const std::vector<double> times = evaluation.plan_times_ms();
    const auto ci = evaluation.ci95();
    out << evaluation.environment << " seed " << evaluation.protocol.seed << ": "
        << evaluation.successes() << " of " << evaluation.episodes.size() << " goals "
        << (evaluation.protocol.criterion.kind == Criterion::Kind::held ? "held" : "reached")
        << " (" << number(evaluation.success_rate()) << " %, 95 % interval " << number(ci[0])
        << " to " << number(ci[1]) << "); random policy "
        << number(evaluation.random_success_rate()) << " %; at the goal from the start "
        << evaluation.already_solved() << "; plan " << number(quantile(times, 0.5), 1)
        << " ms median, " << number(quantile(times, 0.99), 1) << " ms p99; "
        << number(evaluation.seconds, 1) << " s\n";
  }
  if (evaluations.size() > 1) {
    const SeedSummary all = summary_of_seeds(evaluations);
    out << "all " << evaluations.size() << " seeds: " << all.successes << " of " << all.episodes
        << " (" << number(all.success_rate, 1) << " %, 95 % interval " << number(all.ci95[0], 1)
        << " to " << number(all.ci95[1], 1) << "); over seeds " << number(all.mean, 1) << " +- "
        << number(all.std, 1) << " %, " << number(all.lowest) << " to " << number(all.highest)
        << "; random policy " << number(all.random_success_rate, 1) << " %\n";
  }
  return out.str();
}

std::string table_of(std::span<const Evaluation> evaluations) {
  std::ostringstream out;
  out << "  seed  episode       row  success  steps  reached  solved  random  distance, first  "
         "last  plan costs\n";
  const auto yes = [](bool is) { return is ? "yes" : "no"; };
  for (const Evaluation& evaluation : evaluations) {
    for (const EpisodeRecord& record : evaluation.episodes) {
      out << std::setw(6) << evaluation.protocol.seed << std::setw(9) << record.index
          << std::setw(10) << record.start.row << std::setw(9) << yes(record.success)
          << std::setw(7) << record.steps << std::setw(9)
          << (record.reached_at < 0 ? "-" : std::to_string(record.reached_at)) << std::setw(8)
          << yes(record.already_solved) << std::setw(8) << yes(record.random_success)
          << std::setw(17) << number(record.distances.front(), 1) << std::setw(6)
          << number(record.distances.back(), 1) << " ";
      for (const PlanRecord& plan : record.plans) out << " " << number(plan.cost, 2);
      out << "\n";
    }
  }
  return out.str();
}

}  // namespace orrery
