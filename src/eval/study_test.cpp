#include "eval/study.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "eval/ridge.h"
#include "models/lewm/recipe.h"
#include "models/lewm/rollout.h"

namespace orrery {
namespace {

constexpr i64 kSide = 28;
constexpr i64 kStride = 5;

lewm::Config small_config() {
  lewm::Config config;
  config.encoder = {
      .image_size = kSide, .patch = 14, .hidden = 24, .layers = 1, .heads = 3, .mlp = 40};
  config.projector = {.input = 24, .hidden = 36, .output = 20};
  config.predictor = {.window = 3,
                      .input = 20,
                      .hidden = 20,
                      .output = 20,
                      .depth = 1,
                      .heads = 2,
                      .head_dim = 8,
                      .mlp = 44};
  config.pred_proj = {.input = 20, .hidden = 30, .output = 20};
  config.action = {.input = 10, .smoothed = 5, .output = 20, .mlp_scale = 2};
  return config;
}

std::vector<float> drawn(u64 stream, i64 count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  fill_normal(3, stream, 0, count, values.data());
  return values;
}

// pictures, actions and PushT's states, all drawn; an action is missing now and then
std::unique_ptr<Episodes> recording(const std::vector<i64>& lengths) {
  const i64 rows = std::accumulate(lengths.begin(), lengths.end(), i64{0});
  Tensor pixels(DType::uint8, {rows, kSide, kSide, 3});
  for (i64 i = 0; i < pixels.numel(); ++i) {
    // frames differ as a whole too, or their latents hardly would
    const auto tone = static_cast<u64>(i / (kSide * kSide * 3));
    pixels.data<u8>()[i] = static_cast<u8>((philox(1, 1, static_cast<u64>(i))[0] & 127) +
                                           (philox(1, 2, tone)[0] & 127));
  }
  auto actions = drawn(4, rows * 2);
  actions[7] = NAN;
  auto states = drawn(5, rows * 7);
  for (i64 r = 0; r < rows; ++r) {
    for (i64 k = 0; k < 4; ++k) states[static_cast<std::size_t>(r * 7 + k)] *= 100;
  }
  TensorMap columns;
  columns.emplace("pixels", std::move(pixels));
  columns.emplace("action", Tensor::of<float>({rows, 2}, actions));
  columns.emplace("state", Tensor::of<float>({rows, 7}, states));
  return episodes_in_memory("drawn", lengths, std::move(columns));
}

EncodedFrames made_frames(const std::vector<i64>& pieces, i64 width,
                          const std::vector<float>& latents) {
  EncodedFrames frames;
  frames.stride = kStride;
  i64 row = 0;
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    frames.pieces.push_back({static_cast<i64>(p), frames.count(), pieces[p]});
    for (i64 k = 0; k < pieces[p]; ++k, row += kStride) frames.rows.push_back(row);
  }
  frames.latents = Tensor::of<float>({frames.count(), width}, latents);
  return frames;
}

TEST(Ridge, IsWhereTheGradientVanishes) {
  constexpr i64 kRows = 40, kWidth = 3, kTargets = 2;
  auto x = drawn(1, kRows * kWidth);
  for (i64 r = 0; r < kRows; ++r) x[static_cast<std::size_t>(r * kWidth + 2)] = 7;  // a constant
  std::vector<double> y;
  for (const float value : drawn(2, kRows * kTargets)) y.push_back(5 + 3.0 * value);
  const View<const float, 2> rows(x.data(), {kRows, kWidth});
  constexpr double kPenalty = 0.3;
  const Ridge ridge(rows, View<const double, 2>(y.data(), {kRows, kTargets}), kPenalty);

  // means and deviations by plain loops
  double mean[kWidth] = {}, deviation[kWidth] = {};
  for (i64 d = 0; d < kWidth; ++d) {
    for (i64 r = 0; r < kRows; ++r) mean[d] += static_cast<double>(rows(r, d)) / kRows;
    for (i64 r = 0; r < kRows; ++r) {
      deviation[d] += std::pow(static_cast<double>(rows(r, d)) - mean[d], 2) / kRows;
    }
    deviation[d] = std::sqrt(deviation[d]);
  }
  for (i64 d = 0; d < 2; ++d) {
    // the weights: what one deviation more of a number does
    std::vector<float> centre(mean, mean + kWidth), moved = centre;
    moved[static_cast<std::size_t>(d)] += static_cast<float>(deviation[d]);
    const auto at = [&](const std::vector<float>& where) {
      return ridge.predict(View<const float, 1>(where.data(), {kWidth}));
    };
    for (std::size_t k = 0; k < kTargets; ++k) {
      double gradient = kPenalty * (at(moved)[k] - at(centre)[k]);
      for (i64 r = 0; r < kRows; ++r) {
        std::vector<double> wanted(y.begin() + r * kTargets, y.begin() + (r + 1) * kTargets);
        ridge.standardise(wanted);
        const double off = ridge.predict(rows[r])[k] - wanted[k];
        gradient += (static_cast<double>(rows(r, d)) - mean[d]) / deviation[d] * off / kRows;
      }
      EXPECT_NEAR(gradient, 0, 1e-6);  // positions are rounded to float
    }
  }
  EXPECT_THROW(Ridge(rows, View<const double, 2>(y.data(), {kRows - 1, kTargets}), 1), Error);
  EXPECT_THROW(Ridge(rows, View<const double, 2>(y.data(), {kRows, kTargets}), 0), Error);
}

TEST(StateColumns, AreKnownByWidthAndByName) {
  const auto episodes = recording({6, 4});
  const auto known = quantities_of(*episodes);
  ASSERT_EQ(known.size(), 3u);
  EXPECT_EQ(known[1].name, "block");
  EXPECT_EQ(known[1].first, 2);
  EXPECT_TRUE(known[2].angle);
  const auto named = quantities_of(*episodes, {"action"});
  ASSERT_EQ(named.size(), 1u);
  EXPECT_EQ(named[0].width, 2);
  EXPECT_THROW(quantities_of(*episodes, {"pixels"}), Error);
  EXPECT_THROW(quantities_of(*episodes, {"speed"}), Error);

  TensorMap columns;
  // the second angle is a whole turn and 20 degrees before the first
  const std::vector<double> states = {0,  0, 3, 4, 0.1,
                                      10, 0, 0, 0, 0.1 - 20 * M_PI / 180 - 2 * M_PI};
  columns.emplace("state", Tensor::of<double>({2, 5}, states));
  const auto absolute = episodes_in_memory("absolute", {2}, std::move(columns));
  const StateTable table(*absolute, quantities_of(*absolute), {0, 1});
  EXPECT_NEAR(table.distance(0, 0, 1), 10, 1e-12);
  EXPECT_NEAR(table.distance(1, 0, 1), 5, 1e-12);
  EXPECT_NEAR(table.distance(2, 0, 1), 20, 1e-9);
  // a number that is none has no distance
  const auto odd = recording({6, 4});
  const StateTable with_nan(*odd, quantities_of(*odd, {"action"}), {3, 4});
  EXPECT_TRUE(std::isnan(with_nan.distance(0, 0, 1)));
}

TEST(EncodeFrames, TakesWholeEpisodesUntilThereAreEnough) {
  Context ctx({.threads = 2});
  const auto episodes = recording({21, 11, 3, 40});
  const lewm::Model model(ctx, lewm::seeded_weights(small_config(), "study"));
  const auto all = encode_frames(ctx, model, *episodes, {0, 1, 2, 3}, {kStride, 1000, 1});
  EXPECT_EQ(all.count(), 5 + 3 + 1 + 8);
  ASSERT_EQ(all.pieces.size(), 4u);
  for (const auto& piece : all.pieces) {
    for (i64 k = 0; k < piece.frames; ++k) {
      EXPECT_EQ(all.rows[static_cast<std::size_t>(piece.first + k)],
                episodes->offset(piece.episode) + k * kStride);
    }
  }
  // fewer: the same frames from the beginning, the last episode cut
  const auto some = encode_frames(ctx, model, *episodes, {0, 1, 2, 3}, {kStride, 7, 1});
  ASSERT_EQ(some.count(), 7);
  for (i64 i = 0; i < 7; ++i) {
    EXPECT_EQ(some.rows[static_cast<std::size_t>(i)], all.rows[static_cast<std::size_t>(i)]);
    EXPECT_LT(squared_distance(some.latent(i), all.latent(i)), 1e-9);
  }
  const auto alone = encode_frames(ctx, model, *episodes, {2}, {kStride, 9, 1});
  EXPECT_EQ(alone.rows, std::vector<i64>{32});
  EXPECT_THROW(encode_frames(ctx, model, *episodes, {}, {kStride, 9, 1}), Error);
}

// windows longer than the predictor's, against the planner's rollout of each alone
TEST(PredictionErrors, AreThoseOfAnOpenLoop) {
  Context ctx({.threads = 2});
  const auto episodes = recording({31, 21, 41});
  const lewm::Config config = small_config();
  const lewm::Model model(ctx, lewm::seeded_weights(config, "study"));
  const auto frames = encode_frames(ctx, model, *episodes, {0, 1, 2}, {kStride, 1000, 0});
  const ZScore scale(std::vector<double>{0.5, -0.25}, std::vector<double>{2, 0.5});
  for (const i64 history : {1, 2, 3}) {
    constexpr i64 kAhead = 3;
    const auto errors = prediction_errors(ctx, model, *episodes, frames, scale, {kAhead, history});
    std::vector<double> expected(kAhead), unchanged(kAhead);
    i64 windows = 0;
    const i64 blocks = history - 1 + kAhead, dim = config.latent();
    auto state =
        lewm::make_rollout_state(ctx, model, {.samples = 1, .history = history, .blocks = blocks});
    for (const auto& piece : frames.pieces) {
      for (i64 k = 0; k + history + kAhead <= piece.frames; ++k, ++windows) {
        const i64 start = piece.first + k;
        std::vector<float> actions(static_cast<std::size_t>(blocks * 10));
        const i64 row = episodes->offset(piece.episode) + k * kStride;
        episodes->read_f32(episodes->column_index("action"), row, row + blocks * kStride, 1,
                           actions.data());
        for (std::size_t i = 0; i < actions.size(); ++i) {
          const float value = (actions[i] - (i % 2 == 0 ? 0.5f : -0.25f)) / (i % 2 == 0 ? 2 : 0.5f);
          actions[i] = std::isnan(value) ? 0 : value;
        }
        std::vector<float> latents(static_cast<std::size_t>((history + kAhead) * dim));
        lewm::RolloutInput input;
        input.context = View<const float, 3>(frames.latent(start).data(), {1, history, dim});
        if (history > 1) {
          input.prefix = View<const float, 3>(actions.data(), {1, history - 1, 10});
        }
        input.actions =
            View<const float, 4>(actions.data() + (history - 1) * 10, {1, 1, kAhead, 10});
        lewm::rollout(
            ctx, model, state, input,
            {.latents = View<float, 4>(latents.data(), {1, 1, history + kAhead, dim}), .last = {}});
        for (i64 h = 0; h < kAhead; ++h) {
          for (i64 d = 0; d < dim; ++d) {
            const auto seen = static_cast<double>(
                frames.latent(start + history + h)[static_cast<std::size_t>(d)]);
            const double now = frames.latent(start + history - 1)[static_cast<std::size_t>(d)];
            const double imagined = latents[static_cast<std::size_t>((history + h) * dim + d)];
            expected[static_cast<std::size_t>(h)] += std::pow(imagined - seen, 2);
            unchanged[static_cast<std::size_t>(h)] += std::pow(now - seen, 2);
          }
        }
      }
    }
    ASSERT_GT(windows, 3);
    EXPECT_EQ(errors.windows, windows);
    EXPECT_EQ(errors.history, history);
    ASSERT_EQ(errors.horizons.size(), static_cast<std::size_t>(kAhead));
    for (std::size_t h = 0; h < errors.horizons.size(); ++h) {
      // f32 products summed in another order
      const double error = expected[h] / static_cast<double>(windows);
      EXPECT_NEAR(errors.horizons[h].error, error, 1e-4 * error);
      EXPECT_NEAR(errors.horizons[h].unchanged, unchanged[h] / static_cast<double>(windows), 1e-9);
    }
  }
  // as far as the longest episode goes: 9 frames, 3 of them context
  EXPECT_EQ(prediction_errors(ctx, model, *episodes, frames, scale, {50, 0}).horizons.size(), 6u);
  EXPECT_THROW(prediction_errors(ctx, model, *episodes, frames, scale, {5, 4}), Error);
  const auto one = encode_frames(ctx, model, *episodes, {0}, {kStride, 1, 0});
  EXPECT_TRUE(prediction_errors(ctx, model, *episodes, one, scale).horizons.empty());
}

TEST(Probe, FindsWhatIsThereAndNothingElse) {
  const auto episodes = recording({300, 300});
  const auto quantities = quantities_of(*episodes);
  // latents: the agent's place mixed, and the angle's cosine and sine; nothing of the block
  std::vector<float> latents;
  std::vector<i64> rows;
  const auto noise = drawn(9, 120);
  for (i64 frame = 0; frame < 120; ++frame) rows.push_back(frame * kStride);
  const StateTable all(*episodes, quantities, rows);
  for (i64 i = 0; i < 120; ++i) {
    const double x = all.at(0, i)[0], y = all.at(0, i)[1], angle = all.at(2, i)[0];
    for (const double value : {x + y, x - 2 * y, 5 + std::cos(angle), -std::sin(angle)}) {
      latents.push_back(static_cast<float>(value));
    }
    latents.push_back(noise[static_cast<std::size_t>(i)]);
  }
  const EncodedFrames learn = made_frames({60}, 5, {latents.begin(), latents.begin() + 300});
  EncodedFrames judge = made_frames({60}, 5, {latents.begin() + 300, latents.end()});
  for (i64& row : judge.rows) row += 300;
  const StateTable learn_states(*episodes, quantities, learn.rows);
  const StateTable judge_states(*episodes, quantities, judge.rows);
  const auto scores = probe({learn, learn_states}, {judge, judge_states});
  ASSERT_EQ(scores.size(), 3u);
  EXPECT_EQ(scores[2].components.size(), 2u);
  for (const std::size_t known : {0u, 2u}) {
    EXPECT_LT(scores[known].mse, 1e-4) << scores[known].name;
    EXPECT_GT(scores[known].r, 0.9999);
  }
  // the one row of actions that is not whole is left out: row 3, were it asked for
  const StateTable actions(*episodes, quantities_of(*episodes, {"action"}), learn.rows);
  std::vector<i64> rows_with_nan = judge.rows;
  rows_with_nan[0] = 3;
  const StateTable some_actions(*episodes, quantities_of(*episodes, {"action"}), rows_with_nan);
  const auto unread = probe({learn, actions}, {judge, some_actions});
  EXPECT_TRUE(std::isfinite(unread.at(0).mse));
  // five numbers that know nothing, learned from 60 frames: a little worse than the mean
  EXPECT_GT(scores[1].mse, 0.7);
  EXPECT_LT(std::abs(scores[1].r), 0.4);
}

TEST(Probe, NetworksFindWhatLiesOnNoLine) {
  // of two numbers u and v, drawn: their sum, and their product, which no line tells
  constexpr i64 kFrames = 600;
  const auto numbers = drawn(11, 2 * kFrames);
  std::vector<float> told;
  for (i64 i = 0; i < kFrames; ++i) {
    const float u = numbers[static_cast<std::size_t>(2 * i)];
    const float v = numbers[static_cast<std::size_t>(2 * i + 1)];
    for (i64 row = 0; row < kStride; ++row) told.insert(told.end(), {u + v, u * v});
  }
  TensorMap columns;
  columns.emplace("proprio", Tensor::of<float>({kFrames * kStride, 2}, told));
  const auto episodes = episodes_in_memory("numbers", {kFrames * kStride}, std::move(columns));
  const auto quantities = quantities_of(*episodes);
  ASSERT_EQ(quantities.size(), 1u);
  constexpr i64 kLearn = 500;
  const EncodedFrames learn =
      made_frames({kLearn}, 2, {numbers.begin(), numbers.begin() + 2 * kLearn});
  EncodedFrames judge =
      made_frames({kFrames - kLearn}, 2, {numbers.begin() + 2 * kLearn, numbers.end()});
  for (i64& row : judge.rows) row += kLearn * kStride;
  const StateTable seen(*episodes, quantities, learn.rows), held(*episodes, quantities, judge.rows);
  const auto linear = probe({learn, seen}, {judge, held});
  EXPECT_LT(linear.at(0).components.at(0).mse, 1e-4);
  EXPECT_LT(linear.at(0).components.at(1).r, 0.4);
  std::vector<double> errors;
  for (const int threads : {1, 3}) {
    Context ctx({.threads = threads});
    MlpProbe how = {.steps = 5, .hidden = 32, .batch = 64, .lr = 1e-2};
    errors.push_back(mlp_probe(ctx, {learn, seen}, {judge, held}, how).at(0).mse);
    if (threads > 1) continue;
    how.steps = 400;
    const auto scores = mlp_probe(ctx, {learn, seen}, {judge, held}, how);
    ASSERT_EQ(scores.size(), 1u);
    EXPECT_LT(scores[0].components.at(0).mse, 0.02);
    EXPECT_LT(scores[0].components.at(1).mse, 0.1);
    EXPECT_GT(scores[0].components.at(1).r, 0.95);
    EXPECT_TRUE(mlp_probe(ctx, {learn, seen}, {judge, held}, {.steps = 0}).empty());
    EXPECT_THROW(mlp_probe(ctx, {learn, seen}, {judge, held}, {.batch = 0}), Error);
  }
  EXPECT_EQ(errors[0], errors[1]) << "the same for any number of threads";
}

TEST(DistanceCurve, OfALineRises) {
  // two episodes of 30 frames that walk along x, 16 px a frame; the latent is 1 / 16 of it
  const i64 kFrames = 30;
  std::vector<float> latents, places;
  for (i64 i = 0; i < 2 * kFrames; ++i) {
    latents.push_back(static_cast<float>(i % kFrames));
    for (i64 row = 0; row < kStride; ++row) {
      places.push_back(static_cast<float>(16 * (i % kFrames)));
      places.push_back(0);
    }
  }
  const auto rows = static_cast<i64>(places.size()) / 2;
  TensorMap columns;
  columns.emplace("pos_agent", Tensor::of<float>({rows, 2}, places));
  const auto episodes = episodes_in_memory("line", {rows / 2, rows / 2}, std::move(columns));
  const EncodedFrames frames = made_frames({kFrames, kFrames}, 1, latents);
  const StateTable states(*episodes, quantities_of(*episodes), frames.rows);
  const DistanceCurve curve = distance_curve(frames, states, 3000, 7);
  ASSERT_EQ(curve.measures.size(), 2u);
  EXPECT_EQ(curve.main()->name, "agent");
  EXPECT_NEAR(curve.main()->within.rank_correlation, 1, 1e-12);
  EXPECT_NEAR(curve.main()->across.rank_correlation, 1, 1e-12);
  i64 pairs = 0;
  for (const auto& bin : curve.main()->within.bins) {
    pairs += bin.pairs;
    EXPECT_GE(bin.low, bin.from * bin.from / 256);
    EXPECT_LT(bin.high, bin.to * bin.to / 256);
    if (bin.steps > 0) {
      EXPECT_EQ(bin.cost_falls, 1);
      EXPECT_EQ(bin.distance_falls, 1);
    }
  }
  EXPECT_EQ(pairs, 3000);
  const auto& time = curve.measures[1];
  EXPECT_EQ(time.name, "time");
  EXPECT_TRUE(time.across.bins.empty());
  // one frame ahead: always 1, and no step on the way; two ahead: always 4
  EXPECT_EQ(time.within.bins[0].mean, 1);
  EXPECT_EQ(time.within.bins[0].steps, 0);
  EXPECT_EQ(time.within.bins[1].from, 10);
  EXPECT_EQ(time.within.bins[1].deviation, 0);
  EXPECT_EQ(time.within.bins[1].steps, time.within.bins[1].pairs);

  // latents that alternate between two places say nothing: every step from an even distance rises
  for (std::size_t i = 0; i < latents.size(); ++i) latents[i] = static_cast<float>(i % 2);
  const auto flat = distance_curve(made_frames({kFrames, kFrames}, 1, latents), states, 3000, 7);
  EXPECT_EQ(flat.measures[1].within.bins[1].cost_falls, 0);
  // what is left: the next frame is the most frequent distance, and an odd one
  EXPECT_LT(std::abs(flat.main()->within.rank_correlation), 0.25);

  const auto told = json_from_distance_curve(curve);
  EXPECT_EQ(told.at("measures").at(0).at("within").at("bins").size(),
            curve.main()->within.bins.size());
  EXPECT_TRUE(told.at("measures").at(1).at("within").at("bins").back().at("to").is_number());
  EXPECT_TRUE(told.at("measures").at(1).at("within").at("bins").at(0).at("cost_falls").is_null());
}

TEST(DistanceCurve, OfOneFrameOrOneEpisodeHasNoPairs) {
  const auto episodes = recording({12});
  const EncodedFrames one = made_frames({1}, 2, {1, 2});
  const StateTable none(*episodes, {}, one.rows);
  const DistanceCurve curve = distance_curve(one, none, 10, 0);
  ASSERT_EQ(curve.measures.size(), 1u);
  EXPECT_TRUE(curve.main()->within.bins.empty());
  EXPECT_THROW(distance_curve(one, none, 0, 0), Error);
}

TEST(StudyModel, TellsTheSameWhateverTheThreads) {
  const auto episodes = recording({40, 40, 40, 40});
  std::vector<std::string> told;
  for (const int threads : {1, 3}) {
    Context ctx({.threads = threads});
    const lewm::Model model(ctx, lewm::seeded_weights(small_config(), "study"));
    const lewm::Statistics statistics = {
        .action_mean = {0, 0}, .action_std = {1, 1}, .frameskip = kStride};
    const Study study =
        study_model(ctx, model, statistics, {*episodes, {0, 1, 2}, *episodes, {3}},
                    {.frames = 8, .learn_frames = 20, .pairs = 100, .mlp_steps = 3});
    EXPECT_EQ(study.frames, 8);
    EXPECT_EQ(study.learn_frames, 20);
    EXPECT_EQ(study.latent_std.size(), 20u);
    EXPECT_EQ(study.probes.size(), 3u);
    EXPECT_EQ(study.mlp_probes.size(), 3u);
    EXPECT_EQ(study.prediction.horizons.size(), 5u);
    ASSERT_TRUE(study.distance.has_value());
    EXPECT_EQ(study.distance->main()->name, "agent and block");
    EXPECT_FALSE(lines_of(study).empty());
    told.push_back(json_from_study(study).dump());
  }
  EXPECT_EQ(told[0], told[1]);
}

}  // namespace
}  // namespace orrery
