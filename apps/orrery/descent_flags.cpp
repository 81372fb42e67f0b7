#include "descent_flags.h"

namespace orrery::cli {

void DescentFlags::add_to(CLI::App& verb) {
  DescentChoice& o = choice_;
  const char* const kGroup = "Planners that descend (gradient, pgd, lagrangian)";
  const auto number = [&](const char* name, auto& value, const char* what) {
    return verb.add_option(name, value, what)->group(kGroup);
  };
  number("--optimizer", optimizer_,
         "sgd, adam or adamw (gradient: adamw, lagrangian: adam; pgd has sgd only)")
      ->check(CLI::IsMember({"sgd", "adam", "adamw"}));
  number("--lr", o.lr, "length of a step (gradient, lagrangian: 0.1, pgd: 1)")
      ->check(CLI::PositiveNumber);
  number("--weight-decay", o.weight_decay, "of the optimizer (adamw: 0.01, others: 0)");
  number("--sgd-momentum", o.momentum, "of sgd")->capture_default_str();
  number("--grad-clip", o.grad_clip,
         "longest gradient of all candidates planned together, 0 for any")
      ->capture_default_str();
  number("--action-noise", o.action_noise, "std of what is added to actions after a step")
      ->capture_default_str();
  number("--descent-answer", answer_,
         "the candidate answered: best (default, of all ever evaluated), final-cost, "
         "last-step-cost")
      ->check(CLI::IsMember({"best", "final-cost", "last-step-cost"}));
  number("--rounds", o.rounds, "lagrangian: rounds of as many iterations")->capture_default_str();
  number("--rho", o.rho, "lagrangian: weight of squared violations in the first round")
      ->capture_default_str();
  number("--rho-max", o.rho_max, "lagrangian: its largest value")->capture_default_str();
  number("--rho-scale", o.rho_scale, "lagrangian: its growth from round to round")
      ->capture_default_str();
  verb.add_flag("!--forget-multipliers", o.persist_multipliers,
                "lagrangian: every plan begins with multipliers of 0")
      ->group(kGroup);
  number("--max-action-energy", o.limits.action_energy,
         "lagrangian: limit of the mean square of z-scored action numbers")
      ->check(CLI::PositiveNumber);
  number("--max-action", o.limits.largest_action,
         "lagrangian: limit of the size of z-scored action numbers")
      ->check(CLI::PositiveNumber);
  number("--max-goal-distance", o.limits.goal_distance,
         "lagrangian: limit of the squared distance of the last imagined latent from the goal's")
      ->check(CLI::PositiveNumber);
}

DescentChoice DescentFlags::choice() const {
  DescentChoice choice = choice_;
  if (!optimizer_.empty()) choice.optimiser = optimiser_from(optimizer_);
  return choice;
}

std::optional<DescentAnswer> DescentFlags::answer() const {
  if (answer_.empty()) return std::nullopt;
  return descent_answer_from(answer_);
}

DescentOptions DescentFlags::options() const {
  return {.optimizer = optimizer_,
          .lr = choice_.lr.value_or(0),
          .weight_decay = choice_.weight_decay,
          .sgd_momentum = choice_.momentum,
          .grad_clip = choice_.grad_clip,
          .action_noise = choice_.action_noise,
          .answer = answer_,
          .rounds = static_cast<int>(choice_.rounds),
          .rho = choice_.rho,
          .rho_max = choice_.rho_max,
          .rho_scale = choice_.rho_scale,
          .persist_multipliers = choice_.persist_multipliers,
          .max_action_energy = choice_.limits.action_energy.value_or(0),
          .max_action = choice_.limits.largest_action.value_or(0),
          .max_goal_distance = choice_.limits.goal_distance.value_or(0)};
}

}  // namespace orrery::cli
