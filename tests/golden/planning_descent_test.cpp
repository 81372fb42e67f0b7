// The official planners that descend, recorded (shared/golden/planning): the same start and the
// same draws must give the same parameters step by step, multipliers and plans.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "plan/gradient.h"
#include "plan/lagrangian.h"
#include "plan/pgd.h"
#include "plan/simplex.h"
#include "tests/golden/golden_cost.h"
#include "tests/golden/recorded_plans.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

// the README's
constexpr double kCostTolerance = 2e-5;      // relative
constexpr double kGradientTolerance = 2e-4;  // of the largest entry
constexpr double kStepTolerance = 1e-4;      // parameters after a step from the recorded ones
constexpr double kRunTolerance = 1e-3;       // after a whole run
constexpr i64 kCategories = 9;

std::filesystem::path planning_folder() { return shared_folder() / "golden" / "planning"; }

// What a run is told and compared with: its arrays, under the prefix of one solve of a row.
struct Record {
  const TensorMap& arrays;
  std::string prefix;

  bool has(const std::string& name) const { return arrays.count(prefix + name) > 0; }
  const Tensor& at(const std::string& name) const { return arrays.at(prefix + name); }
  Tensor of(const std::string& name, i64 call) const {
    return of_call<float>(arrays, prefix + name, call);
  }
};

// The README's cost with its gradient, in double. Where it steers, the planner's parameters are
// compared with the recorded ones at every evaluation and replaced by them, so that each step is
// judged by itself.
class GoldenDescent final : public DifferentiableDynamics {
 public:
  GoldenDescent(const Record& record, const json& about, bool steers)
      : record_(record),
        scale_(about.at("cost_scale").get<double>()),
        discrete_(about.at("planner") == "pgd"),
        constrained_(record.has("lambdas")),
        steers_(steers),
        batch_(about.at("args").value("batch_size", environments())),
        width_(record.at("final_params").size(3)) {}

  i64 environments() const override { return record_.at("final_params").size(0); }
  i64 action_dim() const override { return width_; }
  i64 constraints() const override { return constrained_ ? 2 : 0; }
  i64 evaluations() const { return evaluations_; }

  void rollout_cost(Context&, i64 first, View<const float, 4> actions,
                    View<float, 2> cost) override {
    for_each(first, actions, [&](i64 e, i64 s, const Path& path) {
      cost(e, s) = static_cast<float>(path.cost * scale_);
    });
  }

  void constrain(Context&, i64 first, View<const float, 4> actions,
                 View<float, 3> values) override {
    steer(first, actions);
    for_each(first, actions, [&](i64 e, i64 s, const Path& path) {
      values(e, s, 0) =
          static_cast<float>(path.position.back()[1] - number("in_line", first + e, 0));
      values(e, s, 1) =
          static_cast<float>(path.effort / static_cast<double>(path.actions.size() * 2) - 0.05);
    });
  }

  void rollout_cost_gradient(Context&, i64 first, View<const float, 4> actions,
                             View<const float, 3> weights, View<float, 2> cost,
                             View<float, 4> gradient) override {
    steer(first, actions);
    ++evaluations_;
    for_each(first, actions, [&](i64 e, i64 s, const Path& path) {
      cost(e, s) = static_cast<float>(path.cost * scale_);
      std::array<double, 2> of_constraints = {};
      if (weights) of_constraints = {weights(e, s, 0), weights(e, s, 1)};
      store(back(first + e, path, of_constraints), &gradient(e, s, 0, 0));
    });
  }

 private:
  using Pair = std::array<double, 2>;
  struct Path {
    std::vector<Pair> actions, position, velocity;  // after each action
    std::vector<double> bump;
    double effort = 0, cost = 0;
  };

  double number(const char* name, i64 environment, i64 d) const {
    return static_cast<double>(record_.arrays.at(name).view<float, 2>()(environment, d));
  }

  static Pair direction(i64 category) {
    constexpr double r = 0.70710678;
    constexpr Pair kDirections[kCategories] = {{0, 0},  {1, 0},   {r, r},  {0, 1}, {-r, r},
                                               {-1, 0}, {-r, -r}, {0, -1}, {r, -r}};
    return kDirections[category];
  }

  template <typename Use>
  void for_each(i64 first, View<const float, 4> actions, const Use& use) const {
    for (i64 e = 0; e < actions.size(0); ++e) {
      for (i64 s = 0; s < actions.size(1); ++s) use(e, s, walk(first + e, actions[e][s]));
    }
  }

  Path walk(i64 world, View<const float, 2> numbers) const {
    Path path;
    const float* next = numbers.data();
    const i64 each = discrete_ ? kCategories : 2;
    Pair p, v;
    for (i64 d = 0; d < 2; ++d) {
      p[static_cast<std::size_t>(d)] = number("in_p0", world, d);
      v[static_cast<std::size_t>(d)] = number("in_v0", world, d);
    }
    double bumps = 0;
    for (i64 k = 0; k < numbers.numel() / each; ++k, next += each) {
      Pair a = {};
      for (i64 i = 0; i < each; ++i) {
        const Pair unit = discrete_ ? direction(i) : i == 0 ? Pair{1, 0} : Pair{0, 1};
        for (std::size_t d = 0; d < 2; ++d) a[d] += static_cast<double>(next[i]) * unit[d];
      }
      double away = 0;
      for (std::size_t d = 0; d < 2; ++d) {
        v[d] = 0.9 * v[d] + 0.2 * a[d];
        p[d] += 0.2 * v[d];
        const double q = p[d] - number("in_bump", world, static_cast<i64>(d));
        away += q * q;
        path.effort += a[d] * a[d];
      }
      path.bump.push_back(std::exp(-12.5 * away));
      bumps += path.bump.back();
      path.actions.push_back(a);
      path.position.push_back(p);
      path.velocity.push_back(v);
    }
    path.cost = 0.08 * bumps + 0.001 * path.effort;
    for (std::size_t d = 0; d < 2; ++d) {
      const double to_goal = p[d] - number("in_goal", world, static_cast<i64>(d));
      path.cost += to_goal * to_goal + 0.1 * v[d] * v[d];
    }
    return path;
  }

  // d (scale * cost + weights * constraints) / d actions
  std::vector<Pair> back(i64 world, const Path& path, const std::array<double, 2>& weights) const {
    const std::size_t count = path.actions.size();
    std::vector<Pair> result(count);
    for (std::size_t d = 0; d < 2; ++d) {
      const auto axis = static_cast<i64>(d);
      double dp = 2 * scale_ * (path.position.back()[d] - number("in_goal", world, axis));
      if (d == 1) dp += weights[0];
      double dv = 0.2 * scale_ * path.velocity.back()[d];
      for (std::size_t k = count; k-- > 0;) {
        const double q = path.position[k][d] - number("in_bump", world, axis);
        dp += -25 * 0.08 * scale_ * path.bump[k] * q;
        dv += 0.2 * dp;
        const double a = path.actions[k][d];
        result[k][d] = 0.2 * dv + 0.002 * scale_ * a + weights[1] * a / static_cast<double>(count);
        dv *= 0.9;
      }
    }
    return result;
  }

  void store(const std::vector<Pair>& by_action, float* out) const {
    for (const Pair& one : by_action) {
      for (i64 i = 0; i < (discrete_ ? kCategories : 2); ++i) {
        const Pair unit = discrete_ ? direction(i) : i == 0 ? Pair{1, 0} : Pair{0, 1};
        *out++ = static_cast<float>(one[0] * unit[0] + one[1] * unit[1]);
      }
    }
  }

  // the planner's own memory, which a test may correct
  void steer(i64 first, View<const float, 4> actions) {
    if (!steers_) return;
    // a group's evaluations follow each other; after the last its parameters are those at the end
    const i64 each = record_.at("loss_history").size(1);
    Tensor recorded;
    if (evaluations_ < (first / batch_ + 1) * each) {
      recorded = record_.of("params", evaluations_);
    } else {
      recorded = Tensor(DType::f32, actions.shape());
      const float* end = record_.at("final_params").data<float>();
      std::copy_n(end + first * (actions.numel() / actions.size(0)), actions.numel(),
                  recorded.data<float>());
    }
    ASSERT_EQ(recorded.shape(), actions.shape());
    auto* mine = const_cast<float*>(actions.data());
    for (i64 i = 0; i < recorded.numel(); ++i) {
      ASSERT_NEAR(mine[i], recorded.data<float>()[i], kStepTolerance)
          << "number " << i << " before evaluation " << evaluations_;
      mine[i] = recorded.data<float>()[i];
    }
  }

  const Record& record_;
  double scale_;
  bool discrete_, constrained_, steers_;
  i64 batch_;
  i64 width_;
  i64 evaluations_ = 0;
};

DescentConfig descent_config_of(const json& about) {
  const json& args = about.at("args");
  OptimiserConfig optimiser;
  if (about.at("planner") == "lagrangian") optimiser.kind = OptimiserConfig::Kind::adam;
  const std::string given = args.value("optimizer_cls", std::string());
  if (given == "Adam") optimiser.kind = OptimiserConfig::Kind::adam;
  if (given == "AdamW") optimiser.kind = OptimiserConfig::Kind::adamw;
  if (args.contains("optimizer_kwargs")) {
    optimiser.lr = args.at("optimizer_kwargs").at("lr").get<double>();
    optimiser.momentum = args.at("optimizer_kwargs").value("momentum", 0.0);
  }
  return {.samples = args.value("num_samples", i64{1}),
          .steps = args.at("n_steps").get<i64>(),
          .initial_std = args.value("var_scale", 1.0),
          .action_noise = args.value("action_noise", 0.0),
          .batch_size = args.value("batch_size", i64{0}),
          .grad_clip = args.value("grad_clip", 0.0),
          .optimiser = optimiser};
}

std::unique_ptr<Descent> descent_of(const json& about, const PlanSizes& sizes, i64 constraints,
                                    DescentAnswer answer, Noise& noise) {
  const json& args = about.at("args");
  DescentConfig config = descent_config_of(about);
  config.answer = answer;
  if (about.at("planner") == "gradient") {
    return std::make_unique<GradientPlanner>(config, sizes, noise);
  }
  if (about.at("planner") == "pgd") {
    return std::make_unique<PgdPlanner>(PgdConfig{.categories = kCategories,
                                                  .samples = config.samples,
                                                  .steps = config.steps,
                                                  .initial_std = config.initial_std,
                                                  .action_noise = config.action_noise,
                                                  .batch_size = config.batch_size,
                                                  .answer = answer},
                                        sizes, noise);
  }
  return std::make_unique<LagrangianPlanner>(
      LagrangianConfig{.descent = config,
                       .rounds = args.value("n_outer_steps", i64{5}),
                       .constraints = constraints,
                       .rho = args.value("rho_init", 1.0),
                       .rho_max = args.value("rho_max", 1e4),
                       .rho_scale = args.value("rho_scale", 2.0),
                       .persist_multipliers = args.value("persist_multipliers", true)},
      sizes, noise);
}

void push_draws(const Record& record, RecordedNoise& noise) {
  for (i64 draw = 0;; ++draw) {
    Tensor draws;
    if (record.has("noise")) {
      if (draw == record.at("noise").size(0)) return;
      draws = record.of("noise", draw);
    } else {
      if (!record.has(text("noise_", draw))) return;
      draws = record.at(text("noise_", draw)).clone();
    }
    if (draws.numel() > 0) noise.push(std::move(draws));
  }
}

// one-hot weights of recorded category numbers, or numbers as they are
Tensor weights_of(const Tensor& recorded, i64 width) {
  if (recorded.dtype() == DType::f32) return recorded.clone();
  Tensor weights(DType::f32, {recorded.size(0), recorded.size(1), width});
  const i64 rows = recorded.size(0) * recorded.size(1);
  one_hot({recorded.data<i64>(), {rows, recorded.size(2)}}, kCategories,
          {weights.data<float>(), {rows, width}});
  return weights;
}

void expect_near(double mine, double theirs, double tolerance, const std::string& what) {
  EXPECT_NEAR(mine, theirs, tolerance * std::max(1.0, std::abs(theirs))) << what;
}

// what the observer sees at one evaluation
void expect_step(const Record& record, const DescentStep& seen, i64 call, bool steered) {
  const double tolerance = steered ? kCostTolerance : kRunTolerance;
  const Tensor costs = record.of("costs", call);
  for (i64 i = 0; i < costs.numel(); ++i) {
    expect_near(static_cast<double>(seen.costs.data()[i]),
                static_cast<double>(costs.data<float>()[i]), tolerance,
                text("cost ", i, " of evaluation ", call));
  }
  expect_near(seen.loss, record.at("loss_history").data<double>()[call], tolerance,
              text("loss of evaluation ", call));
  if (steered && (record.has("grad") || record.has("grad_0"))) {
    const Tensor gradient = record.of("grad", call);
    double largest = 0;
    for (const float g : gradient.span<float>()) {
      largest = std::max(largest, static_cast<double>(std::abs(g)));
    }
    for (i64 i = 0; i < gradient.numel(); ++i) {
      EXPECT_NEAR(seen.gradient.data()[i], gradient.data<float>()[i], kGradientTolerance * largest)
          << "gradient " << i << " of evaluation " << call;
    }
  }
}

void expect_end(const Record& record, const Descent& planner, const Tensor& actions,
                DescentAnswer answer, bool steered) {
  const double tolerance = steered ? kStepTolerance : kRunTolerance;
  const Tensor& end = record.at("final_params");
  for (i64 i = 0; i < end.numel(); ++i) {
    EXPECT_NEAR(planner.samples_at_end().data()[i], end.data<float>()[i], tolerance)
        << "parameter " << i;
  }

  // the released answer is recorded whole, the later one as a number among the samples
  const i64 environments = end.size(0), width = end.size(2) * end.size(3);
  Tensor plan = actions.clone();
  const bool last_step = answer == DescentAnswer::last_step_cost;
  const Tensor& choice = record.at(last_step ? "choice_by_last_step_cost" : "choice_by_final_cost");
  if (last_step) {
    plan = weights_of(record.at("plan"), end.size(3));
  } else {
    for (i64 e = 0; e < environments; ++e) {
      const i32 chosen = choice.data<i32>()[e];
      std::copy_n(end.data<float>() + (e * end.size(1) + chosen) * width, width,
                  plan.data<float>() + e * width);
    }
    if (record.at("plan").dtype() != DType::f32) {
      Tensor numbers = Tensor::zeros<i64>({environments * width / kCategories, 1});
      largest_categories({plan.data<float>(), {numbers.size(0), kCategories}}, kCategories,
                         numbers.view<i64, 2>());
      one_hot(numbers.view<i64, 2>(), kCategories,
              {plan.data<float>(), {numbers.size(0), kCategories}});
    }
  }
  for (i64 i = 0; i < plan.numel(); ++i) {
    EXPECT_NEAR(actions.data<float>()[i], plan.data<float>()[i], tolerance) << "plan " << i;
  }
}

void expect_multipliers(const Record& record, const LagrangianPlanner& planner, i64 batch) {
  if (!record.has("lambdas")) return;
  const Tensor& lambdas = record.at("lambdas");
  for (i64 i = 0; i < lambdas.numel(); ++i) {
    expect_near(static_cast<double>(planner.multipliers().data()[i]),
                static_cast<double>(lambdas.data<float>()[i]), kRunTolerance, text("lambda ", i));
  }
  // the record has means over the environments of a group
  const Tensor& violation = record.at("constraint_violation");
  const i64 environments = lambdas.size(0);
  if (batch == 0) batch = environments;
  for (i64 group = 0; group < violation.size(0); ++group) {
    const i64 first = group * batch, end = std::min(environments, first + batch);
    double mean = 0;
    for (i64 e = first; e < end; ++e) {
      mean +=
          static_cast<double>(planner.constraint_violation()[e]) / static_cast<double>(end - first);
    }
    expect_near(mean, violation.data<double>()[group], kRunTolerance, text("violation ", group));
  }
}

void replay(const std::string& name, const json& about, DescentAnswer answer, bool steered) {
  SCOPED_TRACE(text(name, steered ? ", each step from the record" : ", whole run"));
  const TensorMap arrays = read_npz(planning_folder() / (name + ".npz"));
  const i64 solves = about.at("solves").get<i64>();
  Context ctx({.threads = 1});
  RecordedNoise noise;
  std::unique_ptr<Descent> planner;
  for (i64 solve = 0; solve < solves; ++solve) {
    const Record record{arrays, solves == 1 ? "" : text("solve", solve, "_")};
    GoldenDescent dynamics(record, about, steered);
    const Tensor& end = record.at("final_params");
    const PlanSizes sizes = {end.size(0), end.size(2), end.size(3)};
    push_draws(record, noise);
    if (!planner) planner = descent_of(about, sizes, dynamics.constraints(), answer, noise);

    i64 call = 0;
    planner->observe([&](const DescentStep& seen) { expect_step(record, seen, call++, steered); });
    Tensor warm;
    PlanRequest request;
    if (arrays.count("in_init_action") > 0) {
      warm = weights_of(arrays.at("in_init_action"), sizes.action_dim);
      request.warm_start = warm.view<float, 3>();
    }
    Tensor actions = Tensor::zeros<float>({sizes.environments, sizes.horizon, sizes.action_dim});
    planner->plan(ctx, dynamics, request, {actions.view<float, 3>(), {}, {}});

    EXPECT_EQ(noise.left(), 0u);
    EXPECT_EQ(call, record.at("loss_history").numel());
    expect_end(record, *planner, actions, answer, steered);
    if (const auto* lagrangian = dynamic_cast<const LagrangianPlanner*>(planner.get())) {
      expect_multipliers(record, *lagrangian, descent_config_of(about).batch_size);
    }
  }
}

class GoldenDescents : public testing::TestWithParam<const char*> {
 protected:
  // calls use(name, about) for every recorded run of the planner
  template <typename Use>
  void for_each_case(const Use& use) {
    const json index = read_python_json(planning_folder() / "index.json");
    int cases = 0;
    for (const auto& [name, about] : index.items()) {
      if (about.at("planner") != GetParam()) continue;
      ASSERT_FALSE(about.contains("error")) << name;
      use(name, about);
      ++cases;
    }
    EXPECT_GT(cases, 0);
  }
};

TEST_P(GoldenDescents, TakeEveryRecordedStep) {
  ORRERY_NEEDS_SHARED(planning_folder());
  for_each_case([](const std::string& name, const json& about) {
    replay(name, about, DescentAnswer::last_step_cost, true);
  });
}

TEST_P(GoldenDescents, RepeatEveryRecordedRun) {
  ORRERY_NEEDS_SHARED(planning_folder());
  for_each_case([](const std::string& name, const json& about) {
    replay(name, about, DescentAnswer::last_step_cost, false);
    replay(name, about, DescentAnswer::final_cost, false);
  });
}

INSTANTIATE_TEST_SUITE_P(Planning, GoldenDescents, testing::Values("gradient", "pgd", "lagrangian"),
                         [](const auto& which) { return std::string(which.param); });

TEST(GoldenDescent, ProjectsOntoTheSimplexAsRecorded) {
  ORRERY_NEEDS_SHARED(planning_folder());
  const TensorMap arrays = read_npz(planning_folder() / "simplex_projection.npz");
  int cases = 0;
  for (const auto& [name, given] : arrays) {
    if (!name.ends_with("_in")) continue;
    const std::string key = name.substr(0, name.size() - 3);
    const i64 categories = std::stoll(key.substr(1));
    const Tensor& theirs = arrays.at(key + "_out");
    Tensor mine = given.clone();
    const View<float, 2> rows(mine.data<float>(), {mine.numel() / categories, categories});
    project_simplex(rows);
    double largest = 0;
    for (const float x : given.span<float>()) {
      largest = std::max(largest, static_cast<double>(std::abs(x)));
    }
    for (i64 i = 0; i < theirs.numel(); ++i) {
      EXPECT_NEAR(mine.data<float>()[i], theirs.data<float>()[i], 1e-6 * largest)
          << key << ", number " << i;
    }
    ++cases;
  }
  EXPECT_GT(cases, 0);
}

}  // namespace
}  // namespace orrery
