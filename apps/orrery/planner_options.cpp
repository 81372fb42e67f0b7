#include "planner_options.h"

namespace orrery::cli {

void PlannerOptions::add_to(CLI::App& verb) {
  const auto number = [&](const char* name, auto& value, const char* what) {
    verb.add_option(name, value, what)->capture_default_str();
  };
  verb.add_option("--planner", choice_.name, "how actions are searched for")
      ->check(CLI::IsMember(planner_names()))
      ->capture_default_str();
  verb.add_option("--upstream", upstream_,
                  "behave as a release of stable-worldmodel where it differs: 0.1.1, later")
      ->check(CLI::IsMember({"0.1.1", "later"}));
  number("--samples", choice_.samples, "candidates per iteration");
  number("--elites", choice_.elites, "candidates kept");
  number("--iterations,--steps", choice_.iterations, "iterations of the planner");
  number("--initial-std", choice_.initial_std,
         "spread of the first candidates, z-scored (predictive-sampling: its noise scale)");
  verb.add_flag("--population-std", population_std_,
                "spread of elites divided by their number (later releases)");
  number("--min-std", choice_.min_std, "cem, icem: the spread is not smaller");
  number("--enough-std", choice_.enough_std,
         "cem, icem: end early when the spread is no more, 0 for never");
  number("--noise-beta", choice_.noise_beta, "icem: noise has a power spectrum of f^-beta");
  verb.add_option("--momentum", choice_.momentum,
                  "share of mean and spread that stays (icem: 0.1, categorical-cem: 0)");
  number("--keep", choice_.keep, "icem: elites that come back as candidates");
  verb.add_flag("--return-best", return_best_, "icem: answer the best elite, not the mean");
  number("--temperature", choice_.temperature, "mppi: in units of cost");
  number("--categories", choice_.categories,
         "categorical-cem, pgd: actions to choose from, one number of a block each");
  number("--smoothing", choice_.smoothing,
         "categorical-cem: added to the frequency of each among the elites");
  verb.add_option(
          "--action-limit", action_limit_,
          "action numbers stay within plus and minus this, inf for no limit (icem: 1, others: "
          "none)")
      ->check(CLI::PositiveNumber);
  verb.add_option("--cost", cost_.cost,
                  "what a plan is judged by: latent (squared distance of the last imagined latent "
                  "from the goal's) or distance-head (learned time to the goal, see `distance`)")
      ->check(CLI::IsMember({"latent", "distance-head"}))
      ->capture_default_str();
  number("--latent-weight", cost_.latent_weight,
         "weight of the squared latent distance beside a distance head");
  verb.add_option("--goal-reduction", cost_.reduction,
                  "squared distance to the goal over the latent's numbers: sum or mean")
      ->check(CLI::IsMember({"sum", "mean"}))
      ->capture_default_str();
  number("--control-penalty", cost_.control_penalty,
         "weight of the sum of squared z-scored action numbers in the cost");
  verb.add_flag("--limit-z-scored", limit_is_z_scored_,
                "the limit is of z-scored numbers, as the released icem takes it");
  descent_.add_to(verb);
}

PlannerChoice PlannerOptions::choice() const {
  PlannerChoice choice = choice_;
  choice.answer = return_best_ ? IcemAnswer::best : IcemAnswer::mean;
  choice.descent = descent_.choice();
  if (!upstream_.empty()) choice = follow_upstream(choice, upstream_);
  if (population_std_) choice.elite_std = EliteStd::population;
  if (action_limit_ != 0) choice.action_limit = action_limit_;
  if (limit_is_z_scored_) choice.bound_scale = BoundScale::none;
  if (const auto answer = descent_.answer()) choice.descent.answer = *answer;
  return choice;
}

lewm::Objective PlannerOptions::objective(const std::string& model, i64 latent) const {
  return lewm::objective_of(cost_, model, latent);
}

void PlannerOptions::apply_to(PlanOptions& options) const {
  options.planner = choice_.name;
  options.descent = descent_.options();
  options.samples = static_cast<int>(choice_.samples);
  options.elites = static_cast<int>(choice_.elites);
  options.iterations = static_cast<int>(choice_.iterations);
  options.initial_std = choice_.initial_std;
  options.population_std = population_std_;
  options.min_std = choice_.min_std;
  options.enough_std = choice_.enough_std;
  options.noise_beta = choice_.noise_beta;
  options.upstream = upstream_;
  options.cost = cost_.cost;
  options.latent_weight = cost_.latent_weight;
  options.goal_reduction = cost_.reduction;
  options.control_penalty = cost_.control_penalty;
  options.momentum = choice_.momentum.value_or(-1.0);
  options.categories = static_cast<int>(choice_.categories);
  options.smoothing = choice_.smoothing;
  options.keep = static_cast<int>(choice_.keep);
  options.return_best = return_best_;
  options.temperature = choice_.temperature;
  options.action_limit = action_limit_;
  options.limit_is_z_scored = limit_is_z_scored_;
}

}  // namespace orrery::cli
