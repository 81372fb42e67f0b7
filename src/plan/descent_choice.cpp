#include "plan/descent_choice.h"

#include "plan/gradient.h"
#include "plan/lagrangian.h"
#include "plan/pgd.h"

namespace orrery {

DescentAnswer descent_answer_from(const std::string& name) {
  if (name == "best") return DescentAnswer::best;
  if (name == "final-cost") return DescentAnswer::final_cost;
  check(name == "last-step-cost", "the answer of a descent is \"", name,
        "\", needed best, final-cost or last-step-cost");
  return DescentAnswer::last_step_cost;
}

bool descends(const std::string& name) {
  return name == "gradient" || name == "pgd" || name == "lagrangian";
}

std::unique_ptr<Planner> make_descent(const Context& ctx, const std::string& name,
                                      const DescentSizes& said, const DescentChoice& choice,
                                      const PlanSizes& sizes, Noise& noise) {
  using Kind = OptimiserConfig::Kind;
  check(descends(name), "planner is \"", name, "\", needed gradient, pgd or lagrangian");
  check(ctx.device() == Device::cpu, name, ": planners by gradients work on the CPU, ",
        name_of(ctx.device()), " was given");
  check(name == "lagrangian" || choice.limits.count() == 0, name,
        ": only lagrangian keeps to limits, ", choice.limits.count(), " were given");
  if (name == "pgd") {
    check(choice.optimiser.value_or(Kind::sgd) == Kind::sgd && choice.momentum == 0 &&
              choice.grad_clip == 0 && choice.weight_decay <= 0,
          "pgd: only plain steps lead back to the simplex; another optimizer, momentum, weight "
          "decay or clipping was asked for");
    check(said.categories >= 2,
          "pgd: plans categories, an environment with discrete actions is "
          "needed; ",
          said.categories, " categories were given");
    return std::make_unique<PgdPlanner>(PgdConfig{.categories = said.categories,
                                                  .samples = said.samples,
                                                  .steps = said.steps,
                                                  .lr = choice.lr.value_or(1.0),
                                                  .initial_std = said.initial_std,
                                                  .action_noise = choice.action_noise,
                                                  .batch_size = said.batch_size,
                                                  .answer = choice.answer},
                                        sizes, noise);
  }
  const bool lagrangian = name == "lagrangian";
  const DescentConfig config = {
      .samples = said.samples,
      .steps = said.steps,
      .initial_std = said.initial_std,
      .action_noise = choice.action_noise,
      .batch_size = said.batch_size,
      .grad_clip = choice.grad_clip,
      .optimiser = {.kind = choice.optimiser.value_or(lagrangian ? Kind::adam : Kind::adamw),
                    .lr = choice.lr.value_or(0.1),
                    .weight_decay = choice.weight_decay,
                    .momentum = choice.momentum},
      .answer = choice.answer};
  if (!lagrangian) return std::make_unique<GradientPlanner>(config, sizes, noise);
  return std::make_unique<LagrangianPlanner>(
      LagrangianConfig{.descent = config,
                       .rounds = choice.rounds,
                       .constraints = choice.limits.count(),
                       .rho = choice.rho,
                       .rho_max = choice.rho_max,
                       .rho_scale = choice.rho_scale,
                       .persist_multipliers = choice.persist_multipliers},
      sizes, noise);
}

}  // namespace orrery
