// The published evaluation, run end to end from its recorded draws: which rows are chosen, what the
// environments are set to, what every plan answers, what every environment does and shows
// (golden/protocol).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "data/statistics.h"
#include "eval/evaluate.h"
#include "io/json.h"
#include "io/npz.h"
#include "tests/golden/sha256.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

// What a recorded run may differ by. Costs 1e-4 relative, TwoRoom states 1e-5, PushT states 1e-2
// px for 25 steps and 0.1 px for the rest: the folder's README. Actions of plans from pixels were
// 1e-6 off when measured (AVX-512); other instruction sets get ten times that.
constexpr double kCostTolerance = 1e-4;
constexpr double kActionTolerance = 1e-5;

double tworoom_tolerance(i64 step) {
  // a step moves by at most speed (5) times the action's error, and errors add up
  return 1e-5 + 5 * kActionTolerance * static_cast<double>(step + 1);
}
double pusht_tolerance(i64 step) { return step < 25 ? 1e-2 : 0.1; }

struct Recorded {
  const char* name;         // of the files
  const char* environment;  // as it was in the official run
  double (*state_tolerance)(i64 step);
  i64 state_width;  // numbers of our state, with which the recorded ones begin
  i64 angle;        // index of an angle that the recording does not wrap, or -1
  // TwoRoom's dot is made of exponentials, of which PyTorch has several: frames of this run differ
  // by 1 in up to ten pixels, even the recorded ones from those that the same states give here
  bool frames_equal;
};

constexpr Recorded kRuns[] = {
    {"tworoom", "tworoom", tworoom_tolerance, 2, -1, false},
    {"pusht", "pusht:control=float32,polygons=real", pusht_tolerance, 7, 4, true},
};

std::vector<double> numbers(const Tensor& tensor) {
  const Tensor wide = tensor.converted(DType::f64);
  return {wide.span<double>().begin(), wide.span<double>().end()};
}

std::string sha256_of(const Image& image) {
  return orrery::sha256_of(std::as_bytes(std::span(image.rgb)));
}

// between two angles, whatever turns they have made
double turn_between(double a, double b) {
  return std::abs(std::remainder(a - b, 2 * 3.14159265358979323846));
}

// Everything of one recorded run that an evaluation needs.
class ProtocolRun : public testing::TestWithParam<Recorded> {
 protected:
  void SetUp() override {
    folder_ = shared_folder() / "golden" / "protocol";
    ORRERY_NEEDS_SHARED(folder_ / text(GetParam().name, ".npz"));
    run_ = read_npz(folder_ / text(GetParam().name, ".npz"));
    facts_ = read_json(folder_ / text(GetParam().name, ".json"));
    episodes_ = open_episodes(folder_ / text(GetParam().name, ".h5"));

    const Tensor& noise = run_.at("plan0_noise");  // [iterations, samples, horizon, block]
    protocol_.episodes = run_.at("actions").size(1);
    protocol_.seed = facts_.at("seed").get<u64>();
    protocol_.goal_offset = facts_.at("goal_offset").get<i64>();
    protocol_.budget = facts_.at("budget").get<i64>();
    protocol_.planner.iterations = noise.size(0);
    protocol_.planner.samples = noise.size(1);
    protocol_.planner.elites = run_.at("plan0_elite_idx").size(1);
    protocol_.plan.horizon = protocol_.plan.receding_horizon = noise.size(2);
  }

  lewm::Statistics statistics() const {
    const ColumnStatistics action =
        column_statistics(*episodes_, episodes_->column_index("action"));
    lewm::Statistics result;
    result.action_mean = action.mean;
    result.action_std = action.deviation;
    return result;
  }

  // all draws, in the order of the plans
  RecordedNoise noise() const {
    RecordedNoise result;
    for (std::size_t p = 0; p < facts_.at("plans").size(); ++p) {
      const Tensor& draws = run_.at(text("plan", p, "_noise"));
      const i64 each = draws.numel() / draws.size(0);
      for (i64 i = 0; i < draws.size(0); ++i) {
        result.push(
            Tensor::of<float>({1, draws.size(1), draws.size(2), draws.size(3)},
                              {draws.data<float>() + i * each, static_cast<std::size_t>(each)}));
      }
    }
    return result;
  }

  // number d of environment e at step t of an array [steps, environments, width]
  double at(const char* name, i64 t, i64 e, i64 d) const {
    const Tensor& array = run_.at(name);
    const i64 index = (t * array.size(1) + e) * array.size(2) + d;
    return array.dtype() == DType::f64 ? array.data<double>()[index]
                                       : static_cast<double>(array.data<float>()[index]);
  }
  bool terminated(i64 t, i64 e) const {
    return run_.at("terminated").data<bool>()[t * protocol_.episodes + e];
  }

  fs::path folder_;
  TensorMap run_;
  nlohmann::json facts_;
  std::unique_ptr<Episodes> episodes_;
  Protocol protocol_;
};

TEST_P(ProtocolRun, BeginsWhereTheOfficialOneDoes) {
  EXPECT_EQ(valid_start_rows(*episodes_, protocol_.goal_offset),
            std::vector<i64>(run_.at("valid_rows").span<i64>().begin(),
                             run_.at("valid_rows").span<i64>().end()));

  const auto rows_of = [&](bool original) {
    protocol_.original_start_rule = original;
    std::vector<double> rows;
    for (const Start& start : choose_starts(*episodes_, protocol_)) {
      rows.push_back(static_cast<double>(start.row));
    }
    return rows;
  };
  EXPECT_EQ(rows_of(true), numbers(run_.at("rows_before_2026_07_22")));
  EXPECT_EQ(rows_of(false), numbers(run_.at("rows")));

  const auto environment = make_environment(GetParam().environment);
  const auto cases = load_cases(*episodes_, *environment, protocol_);
  const auto chosen = numbers(run_.at("episodes")), steps = numbers(run_.at("start_steps"));
  const auto states = numbers(run_.at("set_state")), goals = numbers(run_.at("set_goal_state"));
  const auto first_states = numbers(run_.at("first_states"));
  for (std::size_t e = 0; e < cases.size(); ++e) {
    SCOPED_TRACE(text("environment ", e));
    EXPECT_EQ(static_cast<double>(cases[e].start.episode), chosen[e]);
    EXPECT_EQ(static_cast<double>(cases[e].start.step), steps[e]);
    EXPECT_EQ(sha256_of(cases[e].frame), facts_.at("first_pixels_sha256")[e].get<std::string>());
    EXPECT_EQ(sha256_of(cases[e].goal), facts_.at("goal_pixels_sha256")[e].get<std::string>());
    const std::size_t width = cases[e].state.size();
    for (std::size_t d = 0; d < width; ++d) {
      EXPECT_EQ(cases[e].state[d], states[e * width + d]);
      EXPECT_EQ(cases[e].goal_state[d], goals[e * width + d]);
    }

    // what setting them makes of the environment; 1e-9 is the README's for the same engine
    environment->reset(e);
    environment->set_state(cases[e].state);
    environment->set_goal_state(cases[e].goal_state);
    std::vector<double> state(width);
    environment->state(state);
    const std::size_t recorded = first_states.size() / cases.size();
    for (std::size_t d = 0; d < static_cast<std::size_t>(GetParam().state_width); ++d) {
      const double theirs = first_states[e * recorded + d];
      const bool is_angle = static_cast<i64>(d) == GetParam().angle;
      EXPECT_LE(is_angle ? turn_between(state[d], theirs) : std::abs(state[d] - theirs), 1e-9)
          << "number " << d;
    }
  }
}

TEST_P(ProtocolRun, FollowsFromItsDraws) {
  Context ctx;
  const lewm::Model model(ctx, lewm::load_model(folder_ / "checkpoints" / "lewm_small"));
  const lewm::Statistics scale = statistics();
  const auto mean = numbers(run_.at("action_mean")), std = numbers(run_.at("action_scale"));
  for (std::size_t d = 0; d < mean.size(); ++d) {
    EXPECT_NEAR(scale.action_mean[d], mean[d], 1e-9);
    EXPECT_NEAR(scale.action_std[d], std[d], 1e-9);
  }

  RecordedNoise draws = noise();
  EvaluateOptions options;
  options.environment = GetParam().environment;
  options.noise = &draws;
  options.films = true;
  options.film_side = 224;  // as drawn
  options.gallery = 1;
  const Evaluation evaluation = evaluate(ctx, model, scale, protocol_, *episodes_, options);
  EXPECT_EQ(draws.left(), 0u);

  double worst_action = 0, worst_state = 0;
  i64 frames = 0, equal_frames = 0;
  const auto success = numbers(run_.at("success"));
  for (i64 e = 0; e < protocol_.episodes; ++e) {
    const EpisodeRecord& episode = evaluation.episodes[static_cast<std::size_t>(e)];
    EXPECT_EQ(episode.success, success[static_cast<std::size_t>(e)] != 0) << "environment " << e;
    for (i64 t = 0; t < episode.steps; ++t) {
      SCOPED_TRACE(text("environment ", e, " step ", t));
      EXPECT_EQ(terminated(t, e), episode.success && t + 1 == episode.steps);
      const auto step = static_cast<std::size_t>(t);
      for (i64 d = 0; d < 2; ++d) {
        const double ours = static_cast<double>(episode.actions[step][static_cast<std::size_t>(d)]);
        const double off = std::abs(ours - at("actions", t, e, d));
        EXPECT_LE(off, kActionTolerance);
        worst_action = std::max(worst_action, off);
      }
      for (i64 d = 0; d < GetParam().state_width; ++d) {
        const double ours = episode.states[step + 1][static_cast<std::size_t>(d)];
        const double theirs = at("states", t, e, d);
        const double off =
            d == GetParam().angle ? turn_between(ours, theirs) : std::abs(ours - theirs);
        EXPECT_LE(off, GetParam().state_tolerance(t)) << "number " << d;
        worst_state = std::max(worst_state, off);
      }
      ++frames;
      equal_frames += sha256_of(episode.film[step + 1]) ==
                      facts_.at("frame_sha256")[step][static_cast<std::size_t>(e)];
    }
    // who has finished acts no more
    for (i64 t = episode.steps; t < run_.at("actions").size(0); ++t) {
      EXPECT_TRUE(std::isnan(at("actions", t, e, 0))) << "environment " << e << " step " << t;
    }
  }

  std::vector<std::size_t> made(static_cast<std::size_t>(protocol_.episodes), 0);
  std::size_t number = 0;
  for (const auto& plan : facts_.at("plans")) {
    SCOPED_TRACE(text("plan ", number));
    const auto e = plan.at("env").get<std::size_t>();
    const PlanRecord& ours = evaluation.episodes[e].plans.at(made[e]++);
    EXPECT_EQ(ours.step, plan.at("step").get<i64>());
    const double cost = plan.at("cost").get<double>();
    EXPECT_NEAR(ours.cost, cost, kCostTolerance * std::abs(cost));

    // of every iteration the lowest cost, and the mean of those of the elites
    const Tensor& costs = run_.at(text("plan", number, "_costs"));
    const Tensor& elites = run_.at(text("plan", number, "_elite_idx"));
    for (i64 k = 0; k < costs.size(0); ++k) {
      double sum = 0;
      for (i64 i = 0; i < elites.size(1); ++i) {
        sum += static_cast<double>(costs.view<float, 2>()(k, elites.view<i32, 2>()(k, i)));
      }
      const double elite_mean = sum / static_cast<double>(elites.size(1));
      const double best =
          static_cast<double>(costs.view<float, 2>()(k, elites.view<i32, 2>()(k, 0)));
      const auto iteration = static_cast<std::size_t>(k);
      EXPECT_NEAR(ours.trace.best_cost[iteration], best, kCostTolerance * best);
      EXPECT_NEAR(ours.trace.elite_mean[iteration], elite_mean, kCostTolerance * elite_mean);
    }
    ++number;
  }
  for (std::size_t e = 0; e < made.size(); ++e) {
    EXPECT_EQ(made[e], evaluation.episodes[e].plans.size()) << "environment " << e;
  }

  if (GetParam().frames_equal) {
    EXPECT_EQ(equal_frames, frames);
  }
  std::cout << GetParam().name << ": actions within " << worst_action << ", states within "
            << worst_state << ", " << equal_frames << " of " << frames
            << " frames equal byte for byte\n";
}

INSTANTIATE_TEST_SUITE_P(Of, ProtocolRun, testing::ValuesIn(kRuns),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace orrery
