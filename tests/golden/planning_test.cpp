// The official planners of stable-worldmodel, recorded (shared/golden/planning and
// shared/golden/protocol): the same inputs and the same draws must give the same plans and actions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "base/numpy_random.h"
#include "io/npz.h"
#include "plan/cem.h"
#include "plan/policy.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

using nlohmann::json;

std::filesystem::path planning_folder() { return shared_folder() / "golden" / "planning"; }

// Python writes NaN and Infinity into JSON; here they become null, and 1e999 would be refused, so
// the text "inf"
json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  std::string content = text.str();
  for (const auto& [python, standard] :
       {std::pair<std::string, std::string>{" NaN", " null"},
        std::pair<std::string, std::string>{" Infinity", " \"inf\""},
        std::pair<std::string, std::string>{"[NaN", "[null"}}) {
    for (std::size_t at = 0; (at = content.find(python, at)) != std::string::npos;) {
      content.replace(at, python.size(), standard);
    }
  }
  return json::parse(content);
}

double number(const json& value) {
  if (value.is_null()) return std::nan("");
  if (value.is_string()) return std::numeric_limits<double>::infinity();
  return value.get<double>();
}

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

// row `index` of the first axis, as a tensor of its own
template <typename T>
Tensor row_of(const Tensor& whole, i64 index) {
  const Shape row(whole.shape().sizes().subspan(1));
  return Tensor::of<T>(row, whole.span<T>().subspan(static_cast<std::size_t>(index * row.numel()),
                                                    static_cast<std::size_t>(row.numel())));
}

// the recorded value of one call: a row of one array, or an array of its own
template <typename T>
Tensor of_call(const TensorMap& arrays, const std::string& name, i64 call) {
  const auto whole = arrays.find(name);
  if (whole != arrays.end()) return row_of<T>(whole->second, call);
  return arrays.at(text(name, "_", call)).clone();
}

// The analytic cost of the README, with its odd modes. Row e of a rollout is world who[e] of the
// case.
template <typename T>
class GoldenCost : public BasicDynamics<T> {
 public:
  GoldenCost(const TensorMap& arrays, std::string mode, i64 action_dim, bool proposes = false)
      : goal_(arrays.at("in_goal").converted(dtype_of<T>)),
        bump_(arrays.at("in_bump").converted(dtype_of<T>)),
        mode_(std::move(mode)),
        action_dim_(action_dim),
        proposes_(proposes) {
    const Tensor p0 = arrays.at("in_p0").converted(dtype_of<T>);
    const Tensor v0 = arrays.at("in_v0").converted(dtype_of<T>);
    for (i64 e = 0; e < goal_.size(0); ++e) who_.push_back(e);
    see(p0.span<T>(), v0.span<T>(), who_);
  }

  // the present of some worlds: positions and velocities, two numbers each
  void see(std::span<const T> position, std::span<const T> velocity, std::span<const i64> who) {
    position_.assign(position.begin(), position.end());
    velocity_.assign(velocity.begin(), velocity.end());
    who_.assign(who.begin(), who.end());
  }

  i64 environments() const override { return static_cast<i64>(who_.size()); }
  i64 action_dim() const override { return action_dim_; }

  void rollout_cost(Context&, i64 first, View<const T, 4> actions, View<T, 2> cost) override {
    for (i64 e = 0; e < actions.size(0); ++e) {
      for (i64 s = 0; s < actions.size(1); ++s) {
        cost(e, s) =
            with_mode(cost_of(first + e, &actions(e, s, 0, 0), actions.size(2) * action_dim_), s);
      }
    }
  }

  void propose(Context& ctx, i64 first, View<const T, 3> prefix, View<T, 3> tail) override {
    if (!proposes_) return BasicDynamics<T>::propose(ctx, first, prefix, tail);
    for (i64 e = 0; e < tail.size(0); ++e) {
      for (i64 t = 0; t < tail.size(1); ++t) {
        for (i64 d = 0; d < tail.size(2); ++d) {
          tail(e, t, d) = static_cast<T>(0.1f * static_cast<float>(prefix.size(1) + t + 1) -
                                         0.05f * static_cast<float>(d));
        }
      }
    }
  }

 private:
  T cost_of(i64 row, const T* a, i64 numbers) const {
    const auto r = static_cast<std::size_t>(row) * 2;
    const i64 world = who_[static_cast<std::size_t>(row)];
    T p[2] = {position_[r], position_[r + 1]};
    T v[2] = {velocity_[r], velocity_[r + 1]};
    T bump = 0;
    T effort = 0;
    const auto goal = goal_.template view<T, 2>()[world];
    const auto centre = bump_.template view<T, 2>()[world];
    for (i64 k = 0; k < numbers; k += 2) {
      T from_centre = 0;
      for (i64 d = 0; d < 2; ++d) {
        v[d] = v[d] * T(0.9) + a[k + d] * T(0.2);
        p[d] = p[d] + v[d] * T(0.2);
        from_centre += (p[d] - centre[d]) * (p[d] - centre[d]);
        effort += a[k + d] * a[k + d];
      }
      bump += std::exp(-from_centre * T(12.5));
    }
    T to_goal = 0;
    T speed = 0;
    for (i64 d = 0; d < 2; ++d) {
      to_goal += (p[d] - goal[d]) * (p[d] - goal[d]);
      speed += v[d] * v[d];
    }
    return to_goal + T(0.1) * speed + T(0.08) * bump + T(0.001) * effort;
  }

  T with_mode(T cost, i64 sample) const {
    if (mode_ == "ties") return std::floor(cost * 2) / 2;
    if (mode_ == "nan_some" && sample % 3 == 1) return std::numeric_limits<T>::quiet_NaN();
    if (mode_ == "inf_some" && sample % 3 == 1) return std::numeric_limits<T>::infinity();
    if (mode_ == "nan_most" && sample % 16 != 0) return std::numeric_limits<T>::quiet_NaN();
    return cost;
  }

  Tensor goal_;
  Tensor bump_;
  std::string mode_;
  i64 action_dim_;
  bool proposes_;
  std::vector<T> position_;
  std::vector<T> velocity_;
  std::vector<i64> who_;
};

// Gives the planner made-up costs that rank exactly the recorded elites first, where the official
// order among equals is arbitrary; the true costs stay readable.
template <typename T>
class RankedAsRecorded final : public BasicDynamics<T> {
 public:
  RankedAsRecorded(BasicDynamics<T>& inner, const TensorMap& arrays)
      : inner_(inner), arrays_(arrays) {}
  i64 environments() const override { return inner_.environments(); }
  i64 action_dim() const override { return inner_.action_dim(); }
  void rollout_cost(Context& ctx, i64 first, View<const T, 4> actions, View<T, 2> cost) override {
    inner_.rollout_cost(ctx, first, actions, cost);
    truth = Tensor::of<T>({cost.size(0), cost.size(1)},
                          {cost.data(), static_cast<std::size_t>(cost.numel())});
    const Tensor elites = of_call<i32>(arrays_, "elite_idx", call_++);
    for (i64 e = 0; e < cost.size(0); ++e) {
      for (i64 s = 0; s < cost.size(1); ++s) cost(e, s) = static_cast<T>(cost.size(1));
      for (i64 k = 0; k < elites.size(1); ++k)
        cost(e, elites.view<i32, 2>()(e, k)) = static_cast<T>(k);
    }
  }
  Tensor truth;

 private:
  BasicDynamics<T>& inner_;
  const TensorMap& arrays_;
  i64 call_ = 0;
};

CemConfig config_of(const json& args) {
  return {.samples = args.at("num_samples").get<i64>(),
          .elites = args.at("topk").get<i64>(),
          .iterations = args.at("n_steps").get<i64>(),
          .initial_std = args.value("var_scale", 1.0),
          .elite_std = EliteStd::sample,
          .batch_size = args.value("batch_size", i64{1})};
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
                    const CemFigures<T>& mine, i64 numbers, bool has_nan) {
  const auto at = [&](const char* recorder) -> const json& {
    return callbacks.at(recorder)
        .at(static_cast<std::size_t>(group))
        .at(static_cast<std::size_t>(iteration));
  };
  const auto value = [&](const json& values) {
    return number(values.at(static_cast<std::size_t>(e)));
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
}

template <typename T>
void replay_cem(const std::string& name, const json& about) {
  SCOPED_TRACE(name);
  const TensorMap arrays = read_npz(planning_folder() / (name + ".npz"));
  const CemConfig config = config_of(about.at("args"));
  const Tensor& plan = arrays.at("plan");
  const PlanSizes sizes = {about.at("n_envs").get<i64>(), about.at("horizon").get<i64>(),
                           plan.size(2)};
  const std::string mode = about.at("cost_mode").get<std::string>();
  // the order of the elites is arbitrary in the original: compare their costs and go on from the
  // recorded ones
  const bool arbitrary = mode == "ties" || mode == "nan_most";

  Context ctx({.threads = 2});
  GoldenCost<T> golden(arrays, mode, sizes.action_dim, name == "cem_actor_fills_tail");
  RankedAsRecorded<T> ranked(golden, arrays);
  BasicDynamics<T>& dynamics = arbitrary ? static_cast<BasicDynamics<T>&>(ranked) : golden;

  const i64 batch = std::min(config.batch_size, sizes.environments);
  const i64 calls = (sizes.environments + batch - 1) / batch * config.iterations;
  BasicRecordedNoise<T> noise;
  for (i64 call = 0; call < calls; ++call) noise.push(of_call<T>(arrays, "noise", call));
  BasicCem<T> cem(config, sizes, noise);

  i64 call = 0;
  cem.observe([&](const CemIteration<T>& seen) {
    const Tensor costs = of_call<T>(arrays, "costs", call);
    const Tensor elites = of_call<i32>(arrays, "elite_idx", call);
    const Tensor mean = of_call<T>(arrays, "mean", call);
    const Tensor std = of_call<T>(arrays, "std", call);
    ASSERT_EQ(seen.costs.shape(), costs.shape());
    ASSERT_EQ(seen.mean.shape(), mean.shape());
    const auto mine = arbitrary ? std::as_const(ranked.truth).template view<T, 2>() : seen.costs;
    bool has_nan = false;
    for (i64 i = 0; i < costs.numel(); ++i) {
      const double theirs = static_cast<double>(costs.data<T>()[i]);
      has_nan = has_nan || std::isnan(theirs);
      expect_close(static_cast<double>(mine.data()[i]), theirs,
                   Tolerance<T>::kCost * std::max(1.0, std::abs(theirs)),
                   text("cost ", i, " of call ", call));
    }
    for (i64 i = 0; i < mean.numel(); ++i) {
      expect_close(static_cast<double>(seen.mean.data()[i]), static_cast<double>(mean.data<T>()[i]),
                   Tolerance<T>::kAction, text("mean ", i, " of call ", call));
      expect_close(static_cast<double>(seen.std.data()[i]), static_cast<double>(std.data<T>()[i]),
                   Tolerance<T>::kAction, text("std ", i, " of call ", call));
    }
    for (i64 e = 0; e < seen.elites.size(0); ++e) {
      for (i64 k = 0; k < config.elites; ++k) {
        EXPECT_EQ(seen.elites(e, k), (elites.view<i32, 2>()(e, k)))
            << "elite " << k << " of call " << call;
      }
      const i64 group = call / config.iterations;
      if (!arbitrary) {
        expect_history(about.at("callbacks"), name, group, seen.iteration, e, seen.figures[e],
                       mean.numel() / mean.size(0), has_nan);
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
  cem.plan(ctx, dynamics, request, {actions.view<T, 3>(), cost.view<T, 1>(), spread.view<T, 3>()});
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
void replay_elite_costs(const std::string& name, const json& about) {
  SCOPED_TRACE(name);
  const TensorMap arrays = read_npz(planning_folder() / (name + ".npz"));
  CemConfig config = config_of(about.at("args"));
  config.iterations = 1;
  const PlanSizes sizes = {about.at("n_envs").get<i64>(), about.at("horizon").get<i64>(),
                           arrays.at("plan").size(2)};
  Context ctx({.threads = 1});
  GoldenCost<float> golden(arrays, about.at("cost_mode").get<std::string>(), sizes.action_dim);
  RecordedNoise noise;
  noise.push(of_call<float>(arrays, "noise", 0));
  Cem cem(config, sizes, noise);
  cem.observe([&](const CemIteration<float>& seen) {
    const Tensor costs = of_call<float>(arrays, "costs", 0);
    const Tensor elites = of_call<i32>(arrays, "elite_idx", 0);
    const auto mine = sorted_costs<float>(seen.costs[0], seen.elites[0]);
    const auto theirs = sorted_costs<float>(costs.view<float, 2>()[0], elites.view<i32, 2>()[0]);
    for (std::size_t k = 0; k < theirs.size(); ++k) {
      expect_close(mine[k], theirs[k], Tolerance<float>::kCost * std::max(1.0f, theirs[k]),
                   text("elite cost ", k));
    }
    const json& recorded = about.at("callbacks").at("EliteCostRecorder").at(0).at(0);
    const double mean = number(recorded.at("mean").at(0));
    expect_close(seen.figures[0].elite_mean, mean, Tolerance<float>::kCost * std::max(1.0, mean),
                 "elite mean");
  });
  Tensor actions = Tensor::zeros<float>({sizes.environments, sizes.horizon, sizes.action_dim});
  cem.plan(ctx, golden, {}, {actions.view<float, 3>(), {}, {}});
}

TEST(GoldenPlanning, CemRepeatsEveryRecordedRun) {
  ORRERY_NEEDS_SHARED(planning_folder());
  const json index = read_json(planning_folder() / "index.json");
  int runs = 0;
  for (const auto& [name, about] : index.items()) {
    if (about.at("planner") != "cem" || about.contains("error")) continue;
    if (about.at("dtype") == "float64") {
      replay_cem<double>(name, about);
    } else {
      replay_cem<float>(name, about);
    }
    const std::string mode = about.at("cost_mode").get<std::string>();
    if (mode == "ties" || mode == "nan_most") replay_elite_costs(name, about);
    ++runs;
  }
  EXPECT_GT(runs, 0);
}

TEST(GoldenPlanning, CemRefusesWhatTheOfficialPlannerRefuses) {
  ORRERY_NEEDS_SHARED(planning_folder());
  const json index = read_json(planning_folder() / "index.json");
  for (const auto& [name, about] : index.items()) {
    if (about.at("planner") != "cem" || !about.contains("error")) continue;
    RecordedNoise noise;
    // a case without arrays: five raw actions of two numbers, as the README says of the cost
    const PlanSizes sizes = {about.at("n_envs").get<i64>(), about.at("horizon").get<i64>(), 10};
    EXPECT_THROW(Cem(config_of(about.at("args")), sizes, noise), Error) << name;
  }
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
  Cem cem(config_of(about.at("args")), {environments, config.horizon, first_plan.size(2)}, noise);
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
  const json index = read_json(planning_folder() / "index.json");
  int runs = 0;
  for (const auto& [name, about] : index.items()) {
    if (name.rfind("policy_", 0) != 0) continue;
    replay_policy(name, about);
    ++runs;
  }
  EXPECT_GT(runs, 0);
}

// costs as recorded, whatever the candidates are
class RecordedCosts final : public Dynamics {
 public:
  RecordedCosts(const Tensor& costs, i64 action_dim) : costs_(costs), action_dim_(action_dim) {}
  i64 environments() const override { return 1; }
  i64 action_dim() const override { return action_dim_; }
  void rollout_cost(Context&, i64, View<const float, 4>, View<float, 2> cost) override {
    const auto row = costs_.view<float, 2>()[call_++];
    for (i64 s = 0; s < cost.size(1); ++s) cost(0, s) = row[s];
  }

 private:
  const Tensor& costs_;
  i64 action_dim_;
  i64 call_ = 0;
};

// hands out the recorded plans in their order
class RecordedPlans final : public Planner {
 public:
  RecordedPlans(const TensorMap& arrays, i64 horizon, i64 action_dim, i64 environments)
      : arrays_(arrays), horizon_(horizon), action_dim_(action_dim), environments_(environments) {}
  i64 horizon() const override { return horizon_; }
  i64 action_dim() const override { return action_dim_; }
  i64 max_environments() const override { return environments_; }
  void plan(Context&, Dynamics& dynamics, const PlanRequest&, const PlanResult& result) override {
    for (i64 e = 0; e < dynamics.environments(); ++e) {
      const auto recorded = arrays_.at(text("plan", next++, "_plan")).view<float, 2>();
      for (i64 t = 0; t < horizon_; ++t) {
        for (i64 d = 0; d < action_dim_; ++d) result.actions(e, t, d) = recorded(t, d);
      }
    }
  }
  i64 next = 0;

 private:
  const TensorMap& arrays_;
  i64 horizon_, action_dim_, environments_;
};

class Worlds final : public Dynamics {
 public:
  explicit Worlds(i64 action_dim) : action_dim_(action_dim) {}
  i64 environments() const override { return count; }
  i64 action_dim() const override { return action_dim_; }
  void rollout_cost(Context&, i64, View<const float, 4>, View<float, 2>) override {}
  i64 count = 0;

 private:
  i64 action_dim_;
};

class GoldenProtocol : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    folder_ = shared_folder() / "golden" / "protocol";
    ORRERY_NEEDS_SHARED(folder_);
    about_ = read_json(folder_ / text(GetParam(), ".json"));
    arrays_ = read_npz(folder_ / text(GetParam(), ".npz"));
  }
  std::filesystem::path folder_;
  json about_;
  TensorMap arrays_;
};

TEST_P(GoldenProtocol, StartRowsAreChosenInNumpysOrder) {
  const auto valid = arrays_.at("valid_rows").span<i64>();
  const auto recorded = arrays_.at("choice_in_draw_order").span<i64>();
  const auto count = static_cast<i64>(recorded.size());
  const u64 seed = about_.at("seed").get<u64>();
  const auto rows_of = [&](i64 choose_from) {
    std::vector<i64> rows;
    for (const i64 at : NumpyRandom(seed).choice(choose_from, count))
      rows.push_back(valid[static_cast<std::size_t>(at)]);
    std::sort(rows.begin(), rows.end());
    return rows;
  };
  const auto all = static_cast<i64>(valid.size());
  EXPECT_EQ(NumpyRandom(seed).choice(all, count),
            std::vector<i64>(recorded.begin(), recorded.end()));
  const auto rows = arrays_.at("rows").span<i64>();
  EXPECT_EQ(rows_of(all), std::vector<i64>(rows.begin(), rows.end()));
  const auto before = arrays_.at("rows_before_2026_07_22").span<i64>();
  EXPECT_EQ(rows_of(all - 1), std::vector<i64>(before.begin(), before.end()));
}

TEST_P(GoldenProtocol, PlansFollowFromRecordedNoiseAndCosts) {
  constexpr double kTolerance = 1e-6;  // of the README
  const CemConfig config = config_of(about_.at("cem"));
  const json& plans = about_.at("plans");
  Context ctx({.threads = 2});
  for (std::size_t i = 0; i < plans.size(); ++i) {
    SCOPED_TRACE(text("plan ", i));
    const auto recorded = [&](const char* what) -> const Tensor& {
      return arrays_.at(text("plan", i, "_", what));
    };
    const Tensor& draws = recorded("noise");
    const i64 width = draws.size(2) * draws.size(3);
    RecordedNoise noise;
    for (i64 k = 0; k < config.iterations; ++k) {
      noise.push(
          row_of<float>(draws, k).reshaped({1, draws.size(1), draws.size(2), draws.size(3)}));
    }
    Cem cem(config, {1, draws.size(2), draws.size(3)}, noise);
    cem.observe([&](const CemIteration<float>& seen) {
      for (i64 k = 0; k < config.elites; ++k) {
        EXPECT_EQ(seen.elites(0, k), (recorded("elite_idx").view<i32, 2>()(seen.iteration, k)));
      }
      for (i64 n = 0; n < width; ++n) {
        const i64 at = seen.iteration * width + n;
        EXPECT_NEAR(seen.mean.data()[n], recorded("mean").data<float>()[at], kTolerance);
        EXPECT_NEAR(seen.std.data()[n], recorded("std").data<float>()[at], kTolerance);
      }
    });
    RecordedCosts dynamics(recorded("costs"), draws.size(3));
    Tensor actions = Tensor::zeros<float>({1, draws.size(2), draws.size(3)});
    Tensor cost = Tensor::zeros<float>({1});
    cem.plan(ctx, dynamics, {}, {actions.view<float, 3>(), cost.view<float, 1>(), {}});
    for (i64 n = 0; n < width; ++n) {
      EXPECT_NEAR(actions.data<float>()[n], recorded("plan").data<float>()[n], kTolerance);
    }
    const double plan_cost = plans[i].at("cost").get<double>();
    EXPECT_NEAR(cost.data<float>()[0], plan_cost, kTolerance * plan_cost);
  }
}

TEST_P(GoldenProtocol, ActionsFollowFromRecordedPlansBitForBit) {
  const Tensor& recorded = arrays_.at("actions");
  const i64 environments = recorded.size(1), raw_dim = recorded.size(2);
  const json& given = about_.at("plan_config");
  const PlanConfig config = {.horizon = given.at("horizon").get<i64>(),
                             .receding_horizon = given.at("receding_horizon").get<i64>(),
                             .action_block = given.at("action_block").get<i64>()};
  const auto mean = arrays_.at("action_mean").span<double>();
  const auto std = arrays_.at("action_scale").span<double>();
  const i64 width = raw_dim * config.action_block;
  RecordedPlans planner(arrays_, config.horizon, width, environments);
  RecedingHorizonPolicy policy(
      config, environments, raw_dim,
      {.mean = {mean.begin(), mean.end()}, .std = {std.begin(), std.end()}}, planner);

  Context ctx({.threads = 1});
  Worlds worlds(width);
  i64 step = 0;
  const auto observe = [&](std::span<const i64> who) -> Dynamics& {
    for (std::size_t i = 0; i < who.size(); ++i) {
      const json& plan = about_.at("plans").at(static_cast<std::size_t>(planner.next) + i);
      EXPECT_EQ(plan.at("env").get<i64>(), who[i]);
      EXPECT_EQ(plan.at("step").get<i64>(), step);
    }
    worlds.count = static_cast<i64>(who.size());
    return worlds;
  };
  std::vector<float> actions(static_cast<std::size_t>(environments * raw_dim));
  for (; step < recorded.size(0); ++step) {
    policy.act(ctx, observe, {actions.data(), {environments, raw_dim}});
    for (std::size_t i = 0; i < actions.size(); ++i) {
      const float theirs =
          recorded.data<float>()[step * environments * raw_dim + static_cast<i64>(i)];
      if (std::isnan(theirs)) {
        EXPECT_TRUE(std::isnan(actions[i])) << "step " << step << ", number " << i;
      } else {
        EXPECT_EQ(actions[i], theirs) << "step " << step << ", number " << i;
      }
    }
    for (i64 e = 0; e < environments; ++e) {
      if (arrays_.at("terminated").data<bool>()[step * environments + e]) policy.finish(e);
    }
  }
  EXPECT_EQ(static_cast<std::size_t>(planner.next), about_.at("plans").size());
}

INSTANTIATE_TEST_SUITE_P(Planner, GoldenProtocol, testing::Values("pusht", "tworoom"));

}  // namespace
}  // namespace orrery
