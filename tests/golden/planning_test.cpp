// The official planners of stable-worldmodel, recorded (shared/golden/planning): the same inputs
// and the same draws must give the same plans and actions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "io/npz.h"
#include "ops/test_support.h"
#include "plan/coloured_noise.h"
#include "plan/on_host.h"
#include "plan/policy.h"
#include "tests/golden/golden_cost.h"
#include "tests/golden/recorded_plans.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

std::filesystem::path planning_folder() { return shared_folder() / "golden" / "planning"; }

// the tolerances of the README, by number type
template <typename T>
struct Tolerance {
  static constexpr bool kIsFloat = std::is_same_v<T, float>;
  static constexpr double kCost = kIsFloat ? 2e-5 : 1e-12;    // relative
  static constexpr double kAction = kIsFloat ? 1e-4 : 1e-12;  // absolute: mean, std, plan
};

void expect_close(double mine, double theirs, double tolerance, const std::string& what) {
  if (std::isnan(theirs) || std::isinf(theirs)) {
    EXPECT_TRUE(std::isnan(theirs) ? std::isnan(mine) : mine == theirs)
        << what << ": " << mine << ", recorded " << theirs;
  } else {
    EXPECT_NEAR(mine, theirs, tolerance) << what;
  }
}

// elite costs as sorted lists, NaN last
template <typename T>
std::vector<T> sorted_costs(View<const T, 1> costs, View<const i32, 1> elites) {
  std::vector<T> values;
  for (i64 k = 0; k < elites.size(0); ++k) values.push_back(costs[elites[k]]);
  std::sort(values.begin(), values.end(),
            [](T a, T b) { return std::isnan(b) ? !std::isnan(a) : a < b; });
  return values;
}

// the official histories: group, iteration, value per environment
template <typename T>
void expect_history(const json& callbacks, const std::string& name, i64 group, i64 iteration, i64 e,
                    const SearchFigures<T>& mine, i64 numbers, bool has_nan) {
  const auto at = [&](const char* recorder) -> const json& {
    return callbacks.at(recorder)
        .at(static_cast<std::size_t>(group))
        .at(static_cast<std::size_t>(iteration));
  };
  const auto value = [&](const json& values) {
    return number_of(values.at(static_cast<std::size_t>(e)));
  };
  const auto cost = [&](double figure, double recorded, const char* what) {
    expect_close(static_cast<double>(figure), recorded,
                 Tolerance<T>::kCost * std::max(1.0, std::abs(recorded)),
                 text(name, " ", what, " of iteration ", iteration));
  };
  const json& elites = at("EliteCostRecorder");
  cost(mine.elite_mean, value(elites.at("mean")), "elite mean");
  cost(mine.elite_min, value(elites.at("min")), "elite min");
  cost(mine.elite_max, value(elites.at("max")), "elite max");
  cost(mine.mean_cost, value(at("MeanCostRecorder")), "mean cost");
  // ours ignores NaN, the official recorder returns it
  if (!has_nan) cost(mine.best_cost, value(at("BestCostRecorder")), "best cost");
  // a length: each of its numbers may be off by the tolerance of one
  const double length = Tolerance<T>::kAction * std::sqrt(static_cast<double>(numbers));
  expect_close(static_cast<double>(mine.mean_shift), value(at("MeanShiftRecorder")), length,
               name + " mean shift");
  expect_close(static_cast<double>(mine.std_mean), value(at("VarNormRecorder")),
               Tolerance<T>::kAction, name + " std");
  expect_close(static_cast<double>(mine.elite_spread), value(at("EliteSpreadRecorder")),
               Tolerance<T>::kAction, name + " elite spread");
}

// the planner of a case
template <typename T>
std::unique_ptr<BasicSearch<T>> planner_of(Context& ctx, const json& about, const PlanSizes& sizes,
                                           BasicNoise<T>& noise) {
  const json& args = about.at("args");
  if (about.at("planner") == "cem") {
    return std::make_unique<BasicCem<T>>(ctx, cem_config_of(args), sizes, noise);
  }
  if (about.at("planner") == "mppi") {
    return std::make_unique<BasicMppi<T>>(ctx, mppi_config_of(args), sizes, noise);
  }
  if (about.at("planner") == "predictive_sampling") {
    return std::make_unique<BasicPredictiveSampling<T>>(ctx, predictive_sampling_config_of(args),
                                                        sizes, noise);
  }
  const double bound = number_of(about.at("action_bound"));
  return std::make_unique<BasicIcem<T>>(ctx, icem_config_of(args, bound, sizes.action_dim), sizes,
                                        noise);
}

template <typename T>
void expect_all_close(View<const T, 3> mine, const Tensor& theirs, const std::string& what,
                      double tolerance = Tolerance<T>::kAction) {
  ASSERT_EQ(mine.shape(), theirs.shape()) << what;
  for (i64 i = 0; i < theirs.numel(); ++i) {
    expect_close(static_cast<double>(mine.data()[i]), static_cast<double>(theirs.data<T>()[i]),
                 tolerance, text(what, ", number ", i));
  }
}

// MPPI's weights are recorded best elite first, or in the order of candidates when all of them
// count
template <typename T>
void expect_weights(const SearchIteration<T>& seen, const Tensor& theirs, bool all_samples) {
  for (i64 e = 0; e < seen.weights.size(0); ++e) {
    for (i64 k = 0; k < seen.weights.size(1); ++k) {
      const double recorded =
          static_cast<double>(theirs.view<T, 2>()(e, all_samples ? seen.elites(e, k) : k));
      // a cost may be off by 2e-5 of itself, at temperatures of 0.01 and costs about 1
      expect_close(static_cast<double>(seen.weights(e, k)), recorded, 2e-3 * recorded + 1e-6,
                   text("weight ", k));
    }
  }
}

template <typename T>
void replay(Context& ctx, const std::string& name, const json& about) {
  SCOPED_TRACE(name);
  const TensorMap arrays = read_npz(planning_folder() / (name + ".npz"));
  const Tensor& plan = arrays.at("plan");
  const PlanSizes sizes = {about.at("n_envs").get<i64>(), about.at("horizon").get<i64>(),
                           plan.size(2)};
  const std::string mode = about.at("cost_mode").get<std::string>();
  // the order of the elites is arbitrary in the original: compare their costs and go on from the
  // recorded ones
  const bool arbitrary = mode == "ties" || mode == "nan_most";

  Context host({.threads = 2});
  GoldenCost<T> golden(arrays, mode, sizes.action_dim, name == "cem_actor_fills_tail");
  RankedAsRecorded<T> ranked(golden, arrays);
  OnHost<T> dynamics(arbitrary ? static_cast<BasicDynamics<T>&>(ranked) : golden, host);

  BasicRecordedNoise<T> noise;
  const auto planner = planner_of<T>(ctx, about, sizes, noise);
  const SearchSettings& settings = planner->settings();
  const i64 batch = std::min(settings.batch_size, sizes.environments);
  const i64 calls = (sizes.environments + batch - 1) / batch * settings.iterations;
  for (i64 call = 0; call < calls; ++call) noise.push(of_call<T>(arrays, "noise", call));

  i64 call = 0;
  planner->observe([&](const SearchIteration<T>& seen) {
    const Tensor costs = of_call<T>(arrays, "costs", call);
    ASSERT_EQ(seen.costs.shape(), costs.shape());
    const auto mine = arbitrary ? std::as_const(ranked.truth).template view<T, 2>() : seen.costs;
    bool has_nan = false;
    for (i64 i = 0; i < costs.numel(); ++i) {
      const double theirs = static_cast<double>(costs.data<T>()[i]);
      has_nan = has_nan || std::isnan(theirs);
      expect_close(static_cast<double>(mine.data()[i]), theirs,
                   Tolerance<T>::kCost * std::max(1.0, std::abs(theirs)),
                   text("cost ", i, " of call ", call));
    }
    // predictive sampling has nothing but an answer
    const bool learns = about.at("planner") != "predictive_sampling";
    if (learns) {
      expect_all_close<T>(seen.mean, of_call<T>(arrays, "mean", call), text("mean of call ", call));
    }
    if (about.at("arrays").contains("std")) {
      expect_all_close<T>(seen.std, of_call<T>(arrays, "std", call), text("std of call ", call));
    }
    const auto candidates = arrays.find(text("candidates_", call));
    if (candidates != arrays.end()) {
      expect_all_close<T>(seen.candidates[0], row_of<T>(candidates->second, 0),
                          text("candidates of call ", call));
    }
    const bool all_samples = settings.elites == settings.samples;
    if (seen.weights) expect_weights(seen, of_call<T>(arrays, "weights", call), all_samples);
    for (i64 e = 0; e < seen.elites.size(0); ++e) {
      // where all of MPPI's samples count nobody ranked them
      for (i64 k = 0; k < settings.elites && learns && !(seen.weights && all_samples); ++k) {
        EXPECT_EQ(seen.elites(e, k), (of_call<i32>(arrays, "elite_idx", call).view<i32, 2>()(e, k)))
            << "elite " << k << " of call " << call;
      }
      const i64 group = call / settings.iterations;
      if (!arbitrary && about.contains("callbacks")) {
        expect_history(about.at("callbacks"), name, group, seen.iteration, e, seen.figures[e],
                       seen.mean.numel() / seen.mean.size(0), has_nan);
      }
    }
    ++call;
  });

  Tensor actions = Tensor::zeros<T>(plan.shape());
  Tensor cost = Tensor::zeros<T>({sizes.environments});
  Tensor spread = Tensor::zeros<T>(plan.shape());
  BasicPlanRequest<T> request;
  const auto warm = arrays.find("in_init_action");
  if (warm != arrays.end()) request.warm_start = warm->second.view<T, 3>();
  planner->plan(ctx, dynamics, request,
                {actions.view<T, 3>(), cost.view<T, 1>(), spread.view<T, 3>()});
  EXPECT_EQ(call, calls);
  EXPECT_EQ(noise.left(), 0u);

  // a double plan without a double warm start passes through float32 in the original
  const bool rounded = plan.dtype() != dtype_of<T>;
  const Tensor mine = rounded ? actions.converted(plan.dtype()) : actions.clone();
  const Tensor mine_wide = mine.converted(DType::f64);
  const Tensor plan_wide = plan.converted(DType::f64);
  for (i64 i = 0; i < plan.numel(); ++i) {
    expect_close(mine_wide.data<double>()[i], plan_wide.data<double>()[i], Tolerance<T>::kAction,
                 text("plan ", i));
  }
  const Tensor plan_cost = arrays.at("plan_cost").converted(DType::f64);
  for (i64 e = 0; e < sizes.environments && !arbitrary; ++e) {
    const double theirs = plan_cost.data<double>()[e];
    expect_close(static_cast<double>(cost.data<T>()[e]), theirs,
                 Tolerance<T>::kCost * std::max(1.0, std::abs(theirs)), text("cost of plan ", e));
  }
}

// the first iteration with the true costs: what is arbitrary is which of equal candidates are
// elites, not their costs
void replay_elite_costs(Context& ctx, const std::string& name, const json& about) {
  SCOPED_TRACE(name);
  const TensorMap arrays = read_npz(planning_folder() / (name + ".npz"));
  CemConfig config = cem_config_of(about.at("args"));
  config.iterations = 1;
  const PlanSizes sizes = {about.at("n_envs").get<i64>(), about.at("horizon").get<i64>(),
                           arrays.at("plan").size(2)};
  Context host({.threads = 1});
  GoldenCost<float> golden(arrays, about.at("cost_mode").get<std::string>(), sizes.action_dim);
  OnHost<float> dynamics(golden, host);
  RecordedNoise noise;
  noise.push(of_call<float>(arrays, "noise", 0));
  Cem cem(ctx, config, sizes, noise);
  cem.observe([&](const SearchIteration<float>& seen) {
    const Tensor costs = of_call<float>(arrays, "costs", 0);
    const Tensor elites = of_call<i32>(arrays, "elite_idx", 0);
    const auto mine = sorted_costs<float>(seen.costs[0], seen.elites[0]);
    const auto theirs = sorted_costs<float>(costs.view<float, 2>()[0], elites.view<i32, 2>()[0]);
    for (std::size_t k = 0; k < theirs.size(); ++k) {
      expect_close(mine[k], theirs[k], Tolerance<float>::kCost * std::max(1.0f, theirs[k]),
                   text("elite cost ", k));
    }
    const json& recorded = about.at("callbacks").at("EliteCostRecorder").at(0).at(0);
    const double mean = number_of(recorded.at("mean").at(0));
    expect_close(seen.figures[0].elite_mean, mean, Tolerance<float>::kCost * std::max(1.0, mean),
                 "elite mean");
  });
  Tensor actions = Tensor::zeros<float>({sizes.environments, sizes.horizon, sizes.action_dim});
  cem.plan(ctx, dynamics, {}, {actions.view<float, 3>(), {}, {}});
}

// which planner, where
using Where = std::pair<const char*, Device>;

class GoldenSearch : public testing::TestWithParam<Where> {
 protected:
  void SetUp() override {
    ORRERY_NEEDS_SHARED(planning_folder());
    if (GetParam().second == Device::cuda) ORRERY_NEEDS_CUDA;
    ctx_ =
        std::make_unique<Context>(Context::Options{.threads = 2, .where = {GetParam().second, 0}});
    const json index = read_python_json(planning_folder() / "index.json");
    for (const auto& [name, about] : index.items()) {
      if (about.at("planner") == GetParam().first) cases_[name] = about;
    }
    ASSERT_FALSE(cases_.empty());
  }
  std::unique_ptr<Context> ctx_;
  std::map<std::string, json> cases_;
};

TEST_P(GoldenSearch, RepeatsEveryRecordedRun) {
  for (const auto& [name, about] : cases_) {
    if (about.contains("error")) continue;
    if (about.at("dtype") == "float64") {
      if (ctx_->device() == Device::cpu) replay<double>(*ctx_, name, about);
      continue;
    }
    replay<float>(*ctx_, name, about);
    const std::string mode = about.at("cost_mode").get<std::string>();
    if (mode == "ties" || mode == "nan_most") replay_elite_costs(*ctx_, name, about);
  }
}

TEST_P(GoldenSearch, RefusesWhatTheOfficialPlannerRefuses) {
  for (const auto& [name, about] : cases_) {
    if (!about.contains("error")) continue;
    RecordedNoise noise;
    // a case without arrays: five raw actions of two numbers, as the README says of the cost
    const PlanSizes sizes = {about.at("n_envs").get<i64>(), about.at("horizon").get<i64>(), 10};
    EXPECT_THROW(planner_of<float>(*ctx_, about, sizes, noise), Error) << name;
  }
}

std::string name_of_case(const testing::TestParamInfo<Where>& which) { return which.param.first; }
INSTANTIATE_TEST_SUITE_P(Planning, GoldenSearch,
                         testing::Values(Where{"cem", Device::cpu}, Where{"icem", Device::cpu},
                                         Where{"mppi", Device::cpu},
                                         Where{"predictive_sampling", Device::cpu}),
                         name_of_case);
INSTANTIATE_TEST_SUITE_P(CudaPlanning, GoldenSearch,
                         testing::Values(Where{"cem", Device::cuda}, Where{"icem", Device::cuda},
                                         Where{"mppi", Device::cuda},
                                         Where{"predictive_sampling", Device::cuda}),
                         name_of_case);

// every recorded planner is repeated by some test
TEST(GoldenPlanning, NoRecordedPlannerIsLeftOut) {
  ORRERY_NEEDS_SHARED(planning_folder());
  const std::set<std::string> repeated = {// here
                                          "cem", "icem", "mppi", "predictive_sampling",
                                          "icem colour filter", "WorldModelPolicy with CEM",
                                          // planning_categorical_test.cpp
                                          "categorical_cem",
                                          // planning_descent_test.cpp
                                          "gradient", "pgd", "lagrangian",
                                          "pgd simplex projection"};
  const json index = read_python_json(planning_folder() / "index.json");
  for (const auto& [name, about] : index.items()) {
    EXPECT_EQ(repeated.count(about.at("planner").get<std::string>()), 1u) << name;
  }
}

// A trace is the callbacks' histories, each environment's in its own group of one.
TEST(GoldenPlanning, TracesAreTheRecordedCallbacks) {
  ORRERY_NEEDS_SHARED(planning_folder());
  const json index = read_python_json(planning_folder() / "index.json");
  for (const char* name : {"cem", "icem"}) {
    const json& about = index.at(name);
    const TensorMap arrays = read_npz(planning_folder() / text(name, ".npz"));
    const PlanSizes sizes = {about.at("n_envs").get<i64>(), about.at("horizon").get<i64>(), 10};
    Context ctx({.threads = 2});
    GoldenCost<float> golden(arrays, "plain", 10);
    RecordedNoise noise;
    const auto planner = planner_of<float>(ctx, about, sizes, noise);
    const i64 iterations = planner->settings().iterations;
    for (i64 call = 0; call < sizes.environments * iterations; ++call) {
      noise.push(of_call<float>(arrays, "noise", call));
    }
    std::vector<PlanTrace> traces;
    planner->set_trace(&traces);
    Tensor actions = Tensor::zeros<float>({sizes.environments, sizes.horizon, 10});
    planner->plan(ctx, golden, {}, {actions.view<float, 3>(), {}, {}});

    const json& callbacks = about.at("callbacks");
    const auto expect_column = [&](const char* recorder, const char* part,
                                   std::vector<double> PlanTrace::*column, double tolerance) {
      for (std::size_t e = 0; e < traces.size(); ++e) {
        const auto& mine = traces[e].*column;
        const json& history = callbacks.at(recorder).at(e);
        ASSERT_EQ(mine.size(), history.size()) << name << ", " << recorder;
        for (std::size_t i = 0; i < mine.size(); ++i) {
          const json& value = *part == 0 ? history[i] : history[i].at(part);
          const double theirs = number_of(value.at(0));
          EXPECT_NEAR(mine[i], theirs, tolerance * std::max(1.0, theirs))
              << name << ", " << recorder << part << " of iteration " << i;
        }
      }
    };
    constexpr double kCost = Tolerance<float>::kCost, kAction = Tolerance<float>::kAction;
    ASSERT_EQ(traces.size(), 3u);
    expect_column("BestCostRecorder", "", &PlanTrace::best_cost, kCost);
    expect_column("MeanCostRecorder", "", &PlanTrace::mean_cost, kCost);
    expect_column("EliteCostRecorder", "mean", &PlanTrace::elite_mean, kCost);
    expect_column("EliteCostRecorder", "min", &PlanTrace::elite_min, kCost);
    expect_column("EliteCostRecorder", "max", &PlanTrace::elite_max, kCost);
    expect_column("EliteSpreadRecorder", "", &PlanTrace::elite_spread, kAction);
    expect_column("VarNormRecorder", "", &PlanTrace::spread, kAction);
    // a length of 50 numbers
    expect_column("MeanShiftRecorder", "", &PlanTrace::mean_shift, 7.1 * kAction);
  }
}

// later releases report the cost of the elite they return
TEST(GoldenPlanning, IcemReportsTheCostOfTheEliteWhereAsked) {
  ORRERY_NEEDS_SHARED(planning_folder());
  const std::string name = "icem_return_best";
  const json about = read_python_json(planning_folder() / "index.json").at(name);
  const TensorMap arrays = read_npz(planning_folder() / (name + ".npz"));
  Context ctx({.threads = 1});
  GoldenCost<float> golden(arrays, "plain", 10);
  IcemConfig config = icem_config_of(about.at("args"), number_of(about.at("action_bound")), 10);
  config.answer = IcemAnswer::best;
  RecordedNoise noise;
  for (i64 call = 0; call < config.iterations; ++call) {
    noise.push(of_call<float>(arrays, "noise", call));
  }
  Icem icem(ctx, config, {1, about.at("horizon").get<i64>(), 10}, noise);
  Tensor actions = Tensor::zeros<float>(arrays.at("plan").shape());
  float cost = 0;
  icem.plan(ctx, golden, {}, {actions.view<float, 3>(), {&cost, {1}}, {}});
  expect_all_close<float>(actions.view<float, 3>(), arrays.at("plan"), "plan");
  const i32 best = arrays.at("elite_idx").view<i32, 3>()(config.iterations - 1, 0, 0);
  const float theirs = arrays.at("costs").view<float, 3>()(config.iterations - 1, 0, best);
  EXPECT_NEAR(cost, theirs, Tolerance<float>::kCost * std::max(1.0f, theirs));
}

TEST(GoldenPlanning, NoiseIsColouredAsRecorded) {
  // of the README; its checker takes it of the largest number of a case, which two blocks of nearly
  // equal noise divided by their std make large
  constexpr double kTolerance = 1e-5;
  ORRERY_NEEDS_SHARED(planning_folder());
  const json index = read_python_json(planning_folder() / "index.json");
  const TensorMap arrays = read_npz(planning_folder() / "icem_colour_filter.npz");
  Context ctx({.threads = 2});
  int cases = 0;
  for (const json& one : index.at("icem_colour_filter").at("cases")) {
    const auto key = one.at("key").get<std::string>();
    const Tensor& white = arrays.at(key + "_white");
    const Tensor& theirs = arrays.at(key + "_coloured");
    const auto filter = colour_filter(one.at("horizon").get<i64>(), one.at("beta").get<double>());
    Tensor mine = Tensor::zeros<float>(theirs.shape());
    const i64 samples = white.size(0), dim = white.size(1), horizon = white.size(2);
    colour_noise<float>(ctx, {white.data<float>(), {1, samples, dim, horizon}},
                        {filter.data(), {horizon}},
                        {mine.data<float>(), {1, samples, horizon, dim}});
    double largest = 1;
    for (const float y : theirs.span<float>()) {
      largest = std::max(largest, static_cast<double>(std::abs(y)));
    }
    expect_all_close<float>(mine.view<float, 3>(), theirs, key, kTolerance * largest);
    ++cases;
  }
  EXPECT_GT(cases, 0);
}

// a point mass that moves with the returned actions, in double, NaN read as 0
void replay_policy(const std::string& name, const json& about) {
  SCOPED_TRACE(name);
  const TensorMap arrays = read_npz(planning_folder() / (name + ".npz"));
  const Tensor& recorded = arrays.at("actions");
  const i64 steps = recorded.size(0), environments = recorded.size(1), raw_dim = recorded.size(2);
  const Tensor& first_plan = arrays.at("replan0_plan");
  const PlanConfig config = {.horizon = first_plan.size(1),
                             .receding_horizon = about.at("receding_horizon").get<i64>(),
                             .action_block = first_plan.size(2) / raw_dim,
                             .warm_start = about.at("warm_start").get<bool>()};
  const auto replan_steps = about.at("replan_steps").get<std::vector<i64>>();

  Context ctx({.threads = 2});
  RecordedNoise noise;
  Cem cem(ctx, cem_config_of(about.at("args")), {environments, config.horizon, first_plan.size(2)},
          noise);
  RecedingHorizonPolicy policy(config, environments, raw_dim,
                               {.mean = about.at("action_mean").get<std::vector<double>>(),
                                .std = about.at("action_std").get<std::vector<double>>()},
                               cem);
  GoldenCost<float> golden(arrays, "plain", first_plan.size(2));

  const Tensor p0 = arrays.at("in_p0").converted(DType::f64);
  const Tensor v0 = arrays.at("in_v0").converted(DType::f64);
  std::vector<double> position(p0.span<double>().begin(), p0.span<double>().end());
  std::vector<double> velocity(v0.span<double>().begin(), v0.span<double>().end());
  std::size_t replans = 0;
  std::vector<i64> replanned;
  const auto observe = [&](std::span<const i64> who) -> Dynamics& {
    const Tensor& seen = arrays.at(text("replan", replans, "_p0"));
    EXPECT_EQ(static_cast<i64>(who.size()), seen.size(0)) << "replan " << replans;
    replanned.assign(who.begin(), who.end());
    std::vector<float> p, v;
    for (std::size_t i = 0; i < who.size(); ++i) {
      for (std::size_t d = 0; d < 2; ++d) {
        const auto at = static_cast<std::size_t>(who[i]) * 2 + d;
        EXPECT_NEAR(position[at], seen.data<double>()[2 * i + d], Tolerance<float>::kAction);
        p.push_back(static_cast<float>(position[at]));
        v.push_back(static_cast<float>(velocity[at]));
      }
    }
    golden.see(p, v, who);
    for (i64 call = 0;; ++call) {
      const auto draws = arrays.find(text("replan", replans, "_noise_", call));
      if (draws == arrays.end()) break;
      noise.push(draws->second.clone());
    }
    return golden;
  };

  std::vector<float> actions(static_cast<std::size_t>(environments * raw_dim));
  for (i64 step = 0; step < steps; ++step) {
    if (step == about.at("flush").at("step").get<i64>())
      policy.flush(about.at("flush").at("env").get<i64>());
    if (step == about.at("finished").at("from_step").get<i64>()) {
      policy.finish(about.at("finished").at("env").get<i64>());
    }
    const i64 planned = policy.act(ctx, observe, {actions.data(), {environments, raw_dim}});
    const bool should = replans < replan_steps.size() && replan_steps[replans] == step;
    ASSERT_EQ(planned > 0, should) << "step " << step;
    if (planned > 0) {
      EXPECT_EQ(noise.left(), 0u);
      const Tensor& plan = arrays.at(text("replan", replans, "_plan"));
      for (std::size_t i = 0; i < replanned.size(); ++i) {
        const auto mine = policy.last_plan(replanned[i]);
        const float* theirs = plan.data<float>() + static_cast<i64>(i) * mine.numel();
        for (i64 n = 0; n < mine.numel(); ++n) {
          EXPECT_NEAR(mine.data()[n], theirs[n], Tolerance<float>::kAction)
              << "replan " << replans << ", environment " << replanned[i] << ", number " << n;
        }
      }
      ++replans;
    }
    const float* theirs = recorded.data<float>() + step * environments * raw_dim;
    for (std::size_t i = 0; i < actions.size(); ++i) {
      // plans agree to 1e-4, and the action std is below 1
      expect_close(actions[i], theirs[i], Tolerance<float>::kAction,
                   text("action ", i, " of step ", step));
      const double push = std::isnan(actions[i]) ? 0.0 : static_cast<double>(actions[i]);
      velocity[i] = velocity[i] * 0.9 + push * 0.2;
      position[i] = position[i] + velocity[i] * 0.2;
    }
  }
  EXPECT_EQ(replans, replan_steps.size());
}

TEST(GoldenPlanning, PolicyRepeatsEveryRecordedRun) {
  ORRERY_NEEDS_SHARED(planning_folder());
  const json index = read_python_json(planning_folder() / "index.json");
  int runs = 0;
  for (const auto& [name, about] : index.items()) {
    if (name.rfind("policy_", 0) != 0) continue;
    replay_policy(name, about);
    ++runs;
  }
  EXPECT_GT(runs, 0);
}

}  // namespace
}  // namespace orrery
