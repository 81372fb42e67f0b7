#include "eval/results.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/error.h"
#include "eval/films.h"
#include "eval/kept.h"
#include "eval/seeds.h"
#include "io/json.h"
#include "media/video.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

EpisodeRecord record_of(i64 index, bool success) {
  EpisodeRecord record;
  record.index = index;
  record.start = {.row = 10 * index + 3, .episode = index, .step = 3};
  record.success = success;
  record.steps = 2;
  record.reached_at = success ? 2 : -1;
  record.distances = {5, 4, 0.1};
  record.states = {{0, 0}, {1, 0}, {1, 0.3}};
  record.actions = {{1, 0}, {0, 0.3f}};
  record.plans = {{.step = 0, .plan_ms = 1.5, .cost = 0.25, .trace = {.best_cost = {3, 2}}}};
  return record;
}

Evaluation run_of(u64 seed, std::vector<bool> successes) {
  Evaluation evaluation;
  evaluation.environment = "tworoom";
  evaluation.protocol.seed = seed;
  for (const bool success : successes) {
    evaluation.episodes.push_back(record_of(static_cast<i64>(evaluation.episodes.size()), success));
  }
  evaluation.episodes[0].random_success = true;
  evaluation.episodes[0].already_solved = true;
  return evaluation;
}

TEST(Seeds, AreNumbersRangesAndLists) {
  EXPECT_EQ(seeds_from_text("42"), std::vector<u64>({42}));
  EXPECT_EQ(seeds_from_text("0..3"), std::vector<u64>({0, 1, 2, 3}));
  EXPECT_EQ(seeds_from_text("7,0..2,18446744073709551615"),
            std::vector<u64>({7, 0, 1, 2, ~u64{0}}));
  EXPECT_EQ(seeds_from_text("18446744073709551614..18446744073709551615").size(), 2u);
  for (const char* wrong : {"", ",", "1,", "a", "-1", "1..", "..1", "3..2", "1...3", "0..3,2",
                            "1 2", "0..10000", "0..18446744073709551615", "18446744073709551616"}) {
    EXPECT_THROW(seeds_from_text(wrong), Error) << wrong;
  }
}

TEST(Seeds, AreSummedUpTogetherAndOneBesideAnother) {
  const std::vector<Evaluation> runs = {run_of(1, {true, true, false, false}),
                                        run_of(2, {true, true, true, true}),
                                        run_of(3, {false, false, false, true})};
  const SeedSummary all = summary_of_seeds(runs);
  EXPECT_EQ(all.episodes, 12);
  EXPECT_EQ(all.successes, 7);
  EXPECT_EQ(all.random_successes, 3);
  EXPECT_EQ(all.already_solved, 3);
  EXPECT_NEAR(all.success_rate, 700.0 / 12, 1e-12);
  EXPECT_NEAR(all.mean, (50.0 + 100 + 25) / 3, 1e-12);
  // of 50, 100, 25: squares of -8.33, 41.67, -33.33 over 2
  EXPECT_NEAR(all.std, std::sqrt((69.4444444444 + 1736.1111111111 + 1111.1111111111) / 2), 1e-9);
  EXPECT_EQ(all.lowest, 25);
  EXPECT_EQ(all.highest, 100);
  EXPECT_EQ(all.ci95[0], 100 * wilson_interval(7, 12)[0]);
  EXPECT_EQ(summary_of_seeds(std::span(runs).first(1)).std, 0);
  EXPECT_EQ(summary_of_seeds({}).episodes, 0);
}

TEST(Results, OfOneSeedAndOfSeveralHaveTheSameNames) {
  const std::vector<Evaluation> runs = {run_of(1, {true, false}), run_of(2, {false, false})};
  const nlohmann::json one = json_from_evaluations(std::span(runs).first(1), {.table = true});
  const nlohmann::json all = json_from_evaluations(runs, {.table = true});
  for (const char* name : {"env", "protocol", "episodes", "successes", "success_rate", "ci95",
                           "random_success_rate", "already_solved", "plan_ms"}) {
    EXPECT_TRUE(one.contains(name)) << name;
    EXPECT_TRUE(all.contains(name)) << name;
  }
  EXPECT_EQ(one.at("episodes"), 2);
  EXPECT_EQ(one.at("protocol").at("seed"), 1);
  EXPECT_EQ(all.at("episodes"), 4);
  EXPECT_EQ(all.at("successes"), 1);
  EXPECT_EQ(all.at("seeds"), nlohmann::json({1, 2}));
  EXPECT_EQ(all.at("runs").size(), 2u);
  EXPECT_EQ(all.at("runs")[0], one);
  const nlohmann::json& row = one.at("table")[1];
  EXPECT_EQ(row.at("row"), 13);
  EXPECT_TRUE(row.at("reached_at").is_null());
  EXPECT_EQ(row.at("distance"), nlohmann::json({5.0, 0.1}));
  EXPECT_FALSE(row.at("plans")[0].contains("trace"));
  const nlohmann::json traced = json_from_evaluations(runs, {.traces = true});
  EXPECT_EQ(traced.at("runs")[0].at("table")[1].at("plans")[0].at("trace"),
            nlohmann::json({{"best_cost", {3.0, 2.0}}}));
  EXPECT_FALSE(json_from_evaluations(runs).contains("table"));

  EXPECT_NE(lines_of(runs).find("all 2 seeds: 1 of 4 (25.0 %"), std::string::npos);
  const std::string table = table_of(runs);
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 1 + 4);
}

class Kept : public testing::Test {
 protected:
  ~Kept() override { fs::remove(path_); }
  fs::path path_ = fs::path(testing::TempDir()) / text("orrery-kept-", ::getpid(), ".json");
  nlohmann::json settings_ = {{"model", "1"}, {"protocol", {{"samples", 300}, {"budget", 50}}}};
};

EvalCase case_at(i64 index, i64 row) {
  EvalCase one;
  one.index = index;
  one.start.row = row;
  return one;
}

TEST_F(Kept, EpisodesAreFoundAgain) {
  {
    KeptEpisodes kept(path_, settings_);
    EXPECT_EQ(kept.find(42, case_at(0, 3)), nullptr);
    EXPECT_FALSE(fs::exists(path_)) << "nothing to keep yet";
    kept.add(42, std::vector<EpisodeRecord>{record_of(0, true), record_of(2, false)});
    kept.add(~u64{0}, std::vector<EpisodeRecord>{record_of(0, false)});
  }
  const KeptEpisodes kept(path_, settings_);
  EXPECT_EQ(kept.count(), 3);
  ASSERT_NE(kept.find(42, case_at(2, 23)), nullptr);
  EXPECT_EQ(kept.find(42, case_at(2, 23))->states, record_of(2, false).states);
  EXPECT_TRUE(kept.find(42, case_at(0, 3))->success);
  EXPECT_FALSE(kept.find(~u64{0}, case_at(0, 3))->success);
  EXPECT_EQ(kept.find(42, case_at(1, 13)), nullptr);
  EXPECT_EQ(kept.find(43, case_at(0, 3)), nullptr);
  EXPECT_THROW(kept.find(42, case_at(2, 24)), Error) << "of other data";
}

TEST_F(Kept, OthersEpisodesAreRefused) {
  KeptEpisodes(path_, settings_).add(42, std::vector<EpisodeRecord>{record_of(0, true)});
  const std::string whole = read_file(path_, 1 << 20);
  const auto refused = [&](const nlohmann::json& settings, const std::string& because) {
    try {
      KeptEpisodes(path_, settings).count();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(because), std::string::npos) << error.what();
      return true;
    }
    return false;
  };
  nlohmann::json other = settings_;
  other["protocol"]["samples"] = 64;
  EXPECT_TRUE(refused(other, "protocol.samples 300, now 64"));
  other = settings_;
  other["more"] = 1;
  EXPECT_TRUE(refused(other, "more"));
  other = settings_;
  other["protocol"].erase("budget");
  EXPECT_TRUE(refused(other, "budget"));

  // damaged files: every one is refused, whatever is wrong with it
  for (const char* part : {"\"seeds\"", "\"settings\"", "orrery-episodes", "\"42\"", "\"steps\"",
                           "\"version\":1", "true", "[", "{"}) {
    std::string damaged = whole;
    damaged.replace(damaged.find(part), std::string(part).size(), "\"x\"");
    write_file(path_, damaged);
    EXPECT_THROW(KeptEpisodes(path_, settings_), Error) << part;
  }
  nlohmann::json twice = parse_json(whole, "a test");
  twice["seeds"]["42"].push_back(twice["seeds"]["42"][0]);
  write_file(path_, twice.dump());
  EXPECT_TRUE(refused(settings_, "twice"));
}

TEST(Films, ShowAgentAndGoalSideBySide) {
  if (!has_video()) GTEST_SKIP() << "this build has no FFmpeg";
  const fs::path path = fs::path(testing::TempDir()) / text("orrery-film-", ::getpid(), ".mp4");
  const auto grey = [](i64 side, u8 tone) {
    return Image{side, side, std::vector<u8>(static_cast<std::size_t>(side * side * 3), tone)};
  };
  EpisodeRecord record = record_of(0, true);
  EXPECT_THROW(write_film(path, record), Error) << "there is no film";
  record.goal = grey(32, 200);
  record.film = {grey(32, 10), grey(32, 60), grey(32, 110)};
  write_film(path, record);
  VideoReader film(path);
  EXPECT_EQ(film.frames(), 3);
  EXPECT_EQ(film.height(), 32);
  EXPECT_EQ(film.width(), 64);
  film.read(0, 3, [&](i64 frame, View<const u8, 3> rgb) {
    // a film is not exact: 8 tones for what H.264 loses of even surfaces
    EXPECT_NEAR(rgb(16, 8, 0), 10 + 50 * frame, 8);
    EXPECT_NEAR(rgb(16, 56, 0), 200, 8);
  });
  fs::remove(path);
  record.film[1] = grey(16, 60);
  EXPECT_THROW(write_film(path, record), Error) << "pictures of other sizes";
  EXPECT_FALSE(fs::exists(path)) << "half a film";
}

}  // namespace
}  // namespace orrery
