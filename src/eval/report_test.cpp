#include "eval/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "eval/start_distance.h"
#include "io/json.h"

namespace orrery {
namespace {

Image gradient(i64 side, int tone) {
  Image image{side, side, std::vector<u8>(static_cast<std::size_t>(side * side * 3))};
  for (std::size_t i = 0; i < image.rgb.size(); ++i)
    image.rgb[i] = static_cast<u8>(static_cast<int>(i) / 7 + tone);
  return image;
}

Evaluation example(bool films) {
  Evaluation evaluation;
  evaluation.environment = "tworoom";
  evaluation.model = "<script>alert(1)</script>";
  evaluation.data = "recorded & shown";
  for (int e = 0; e < 3; ++e) {
    EpisodeRecord episode;
    episode.success = e != 1;
    episode.steps = 4;
    PlanRecord plan;
    plan.plan_ms = 10 + e;
    plan.trace.best_cost = {3, 2, 1};
    plan.trace.elite_mean = {4, 3, 2};
    plan.surprise = {0.1f, 0.2f};
    plan.goal_distance = {2, 1};
    if (films) {
      plan.nearest = {0, 1};
      for (int t = 0; t < 5; ++t) episode.film.push_back(gradient(32, 20 * t));
      episode.goal = gradient(32, 200);
    }
    episode.plans.push_back(plan);
    evaluation.episodes.push_back(episode);
  }
  if (films) evaluation.gallery = {gradient(16, 0), gradient(16, 99)};
  return evaluation;
}

std::string written(std::span<const Evaluation> evaluations, const DistanceCurve* curve = nullptr) {
  const auto path =
      std::filesystem::path(testing::TempDir()) / text("orrery-report-", ::getpid(), ".html");
  write_report(path, evaluations, curve);
  std::ostringstream page;
  page << std::ifstream(path).rdbuf();
  std::filesystem::remove(path);
  return page.str();
}

std::size_t count(const std::string& page, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = page.find(part); at != std::string::npos; at = page.find(part, at + 1))
    ++found;
  return found;
}

// what stands in the page for the script of the films
nlohmann::json films_in(const std::string& page) {
  const std::string open = "id=\"films-data\">";
  const std::size_t begin = page.find(open) + open.size();
  return parse_json(page.substr(begin, page.find("</script>", begin) - begin), "films");
}

std::vector<std::byte> from_base64(const std::string& characters) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<std::byte> bytes;
  u32 bits = 0, held = 0;
  for (const char c : characters.substr(0, characters.find('='))) {
    bits = bits << 6 | static_cast<u32>(digits.find(c));
    held += 6;
    if (held >= 8) bytes.push_back(static_cast<std::byte>(bits >> (held -= 8) & 255u));
  }
  return bytes;
}

Image sprite_of(const nlohmann::json& sheet) {
  const std::string uri = sheet.at("sprite");
  return parse_image(from_base64(uri.substr(uri.find(',') + 1)), "sprite");
}

Image grey(i64 side, int tone) {
  return {side, side,
          std::vector<u8>(static_cast<std::size_t>(side * side * 3), static_cast<u8>(tone))};
}

// what films are laid out as: the middle of tile `index`
int tone_of(const nlohmann::json& sheet, const Image& sprite, i64 index) {
  const i64 columns = sheet.at("columns"), w = sheet.at("w"), h = sheet.at("h");
  return sprite.view()(index / columns * h + h / 2, index % columns * w + w / 2, 0);
}

TEST(Report, StandsAloneAndShowsEveryEpisode) {
  const std::vector<Evaluation> runs = {example(true)};
  const std::string page = written(runs);
  EXPECT_NE(page.find("The model reached 2 of 3 goals (67 %"), std::string::npos);
  EXPECT_EQ(count(page, "http"), 0u);
  EXPECT_EQ(count(page, "<td>never"), 3u) << "a row for every episode";
  EXPECT_EQ(count(page, "src="), 0u);
  EXPECT_EQ(count(page, "data:image/jpeg;base64,"), 4u);  // three films and the gallery
  EXPECT_EQ(count(page, "<svg"), 3u);
}

TEST(Report, EscapesWhatItWasGiven) {
  const std::vector<Evaluation> runs = {example(false)};
  const std::string page = written(runs);
  EXPECT_EQ(count(page, "<script>alert"), 0u);
  EXPECT_EQ(count(page, "&lt;script&gt;alert(1)"), 1u);
  EXPECT_EQ(count(page, "recorded &amp; shown"), 1u);
}

TEST(Report, LeavesOutFilmsThatWereNotKept) {
  const std::vector<Evaluation> runs = {example(false), example(false)};
  const std::string page = written(runs);
  EXPECT_EQ(count(page, "films-data\">"), 0u);
  EXPECT_EQ(count(written({}), "<svg"), 0u);
}

TEST(Report, FilmsHoldFramesGoalAndWhatWasImagined) {
  std::vector<Evaluation> runs = {example(true)};
  EpisodeRecord& episode = runs[0].episodes[0];
  episode.film.clear();
  for (int t = 0; t < 12; ++t) episode.film.push_back(grey(224, 20 * t));
  episode.goal = grey(64, 250);
  runs[0].gallery = {grey(32, 10), grey(32, 130), grey(32, 240)};
  episode.plans[0].nearest = {2, 0, 3, -1};  // two that the gallery does not have

  const nlohmann::json films = films_in(written(runs));
  ASSERT_EQ(films.at("episodes").size(), 3u);
  const nlohmann::json& film = films.at("episodes")[1];  // the failure stands before it
  const Image sprite = sprite_of(film);
  EXPECT_EQ(film.at("name"), "1");
  EXPECT_EQ(film.at("w"), 112);
  EXPECT_EQ(film.at("frames"), 12);
  EXPECT_EQ(sprite.width, 10 * 112);
  EXPECT_EQ(sprite.height, 2 * 112);
  // JPEG of one tone is off by rounding only: tiles of 112 are whole blocks
  for (i64 t = 0; t < 12; ++t) EXPECT_NEAR(tone_of(film, sprite, t), 20 * t, 2) << t;
  EXPECT_NEAR(tone_of(film, sprite, film.at("goal")), 250, 2);

  const nlohmann::json nearest = film.at("plans")[0].at("nearest");
  const nlohmann::json& gallery = films.at("galleries")[0];
  ASSERT_EQ(nearest.size(), 4u);
  EXPECT_NEAR(tone_of(gallery, sprite_of(gallery), nearest[0]), 240, 2);
  EXPECT_NEAR(tone_of(gallery, sprite_of(gallery), nearest[1]), 10, 2);
  EXPECT_EQ(nearest[2], -1);
  EXPECT_EQ(nearest[3], -1);
}

TEST(Report, ShowsFailuresFirst) {
  const std::vector<Evaluation> runs = {example(true), example(true)};
  const nlohmann::json films = films_in(written(runs)).at("episodes");
  ASSERT_EQ(films.size(), 6u);
  std::vector<bool> success;
  for (const nlohmann::json& film : films) success.push_back(film.at("success"));
  EXPECT_THAT(success, testing::ElementsAre(false, false, true, true, true, true));
  EXPECT_EQ(films[1].at("name"), "2 of seed 42");
  EXPECT_EQ(films[1].at("run"), 1);
}

TEST(Report, ReducesFilmsUntilThePageIsSmall) {
  // noise is what JPEG is worst at: 60 frames of 112 x 112 take about 0.9 MB, 20 episodes too much
  std::vector<Evaluation> runs(1);
  runs[0].environment = "noise";
  u32 bits = 1;
  Image noise = grey(112, 0);
  for (u8& byte : noise.rgb) byte = static_cast<u8>((bits = bits * 1664525u + 1013904223u) >> 24);
  EpisodeRecord episode;
  episode.film.assign(60, noise);
  runs[0].episodes.assign(20, episode);

  const std::string page = written(runs);
  EXPECT_LT(page.size(), 12'000'000u);
  const nlohmann::json films = films_in(page).at("episodes");
  EXPECT_EQ(films.size(), 20u);
  EXPECT_LT(films[0].at("w"), 112);
  EXPECT_EQ(films[0].at("goal"), -1);  // none was kept
}

TEST(Report, RefusesFilmsOfMixedSizes) {
  std::vector<Evaluation> runs = {example(true)};
  runs[0].episodes[0].film[2] = gradient(16, 0);
  try {
    written(runs);
    FAIL() << "a film of two sizes was taken";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("frame 2 of a film is 16 x 16"));
  }
  runs = {example(true)};
  runs[0].episodes[0].film[0].rgb.pop_back();
  EXPECT_THROW(written(runs), Error);
}

TEST(Report, TellsOfSeedsAndOfStricterRules) {
  std::vector<Evaluation> runs = {example(false), example(false)};
  for (const char* said : {"Over 2 seeds", "held for", "were replaced", "look back"}) {
    EXPECT_EQ(count(written(std::span(runs).first(1)), said), 0u) << said;
  }
  runs[1].episodes[0].success = false;  // 67 % and 33 %
  runs[0].protocol.criterion.kind = Criterion::Kind::held;
  runs[0].protocol.drop_solved = true;
  runs[0].protocol.plan.history_len = 3;
  const std::string page = written(runs);
  EXPECT_EQ(count(page, "Over 2 seeds the success rate is 50.0 &plusmn; 23.6 %"), 1u);
  EXPECT_EQ(count(page, "held for 5 steps in a row, a block within 15 degrees"), 1u);
  EXPECT_EQ(count(page, "were replaced by others"), 1u);
  EXPECT_EQ(count(page, "look back on up to 3 pictures"), 1u);
}

TEST(Report, DrawsDistances) {
  std::vector<Evaluation> runs = {example(false)};
  DistanceCurve curve;
  curve.frames = 1234;
  EXPECT_EQ(count(written(runs, &curve), "<svg"), 3u);  // nothing was measured
  DistanceCurve::Measure measure{.name = "agent", .unit = "px", .within = {}, .across = {}};
  measure.within.rank_correlation = 0.625;
  measure.within.bins = {{.from = 0, .to = 8, .pairs = 3, .mean = 1, .low = 0.5, .high = 2},
                         {.from = 16,
                          .to = INFINITY,
                          .pairs = 4,
                          .mean = 3,
                          .high = 4,
                          .steps = 4,
                          .cost_falls = 0.75}};
  measure.across.bins = {{.from = 8, .to = 16, .pairs = 1, .mean = 2, .high = 2}};
  curve.measures = {measure};
  const std::string page = written(runs, &curve);
  EXPECT_EQ(count(page, "<svg"), 5u);
  EXPECT_EQ(count(page, "squared latent distance by distance of agent, px"), 1u);
  // three places along x, in their order; of the slope only the last
  const auto place = [&](const char* name) { return page.find(text(">", name, "</text>")); };
  EXPECT_LT(place("0&#8211;8"), place("8&#8211;16"));
  EXPECT_LT(place("8&#8211;16"), place("16+"));
  EXPECT_EQ(count(page, ">16+</text>"), 2u);
  EXPECT_EQ(count(page, "1,234 recorded frames"), 1u);
  EXPECT_EQ(count(page, "correlation 0.62 within"), 1u);
  EXPECT_EQ(page.find("nan"), std::string::npos);
}

TEST(StartDistance, CutsEpisodesIntoEqualParts) {
  std::vector<Evaluation> runs(2);
  for (int e = 0; e < 20; ++e) {
    EpisodeRecord episode;
    episode.distances = {static_cast<double>((e * 7) % 20), 0};
    episode.success = (e * 7) % 20 < 6;
    runs[static_cast<std::size_t>(e % 2)].episodes.push_back(episode);
  }
  const auto bins = success_by_start_distance(runs);
  ASSERT_EQ(bins.size(), 5u);
  for (std::size_t b = 0; b < bins.size(); ++b) {
    EXPECT_EQ(bins[b].episodes, 4);
    EXPECT_EQ(bins[b].from, 4.0 * static_cast<double>(b));
    EXPECT_EQ(bins[b].to, 4.0 * static_cast<double>(b) + 3);
    EXPECT_EQ(bins[b].successes, b == 0 ? 4 : b == 1 ? 2 : 0);
    EXPECT_EQ(bins[b].ci95[0], 100 * wilson_interval(bins[b].successes, 4)[0]);
  }
  EXPECT_EQ(count(written(runs), "goals reached, % by distance"), 1u);
  // all starts of one distance are one part, as are few episodes
  for (Evaluation& run : runs) {
    for (EpisodeRecord& episode : run.episodes) episode.distances.front() = 3;
  }
  EXPECT_EQ(success_by_start_distance(runs).size(), 1u);
  EXPECT_EQ(count(written(runs), "goals reached, % by distance"), 0u);
  runs[0].episodes.resize(7);
  EXPECT_EQ(success_by_start_distance(std::span(runs).first(1)).size(), 1u);
  EXPECT_TRUE(success_by_start_distance({}).empty());
}

TEST(Report, CountsInPlainWords) {
  std::vector<Evaluation> runs = {example(false)};
  runs[0].parameters = 18034478;
  EXPECT_EQ(count(written(runs), "0 starts were at the goal already."), 1u);
  runs[0].episodes[0].already_solved = true;
  const std::string page = written(runs);
  EXPECT_EQ(count(page, "1 start was at the goal already."), 1u);
  EXPECT_EQ(count(page, "18,034,478"), 1u);
  runs[0].episodes.clear();
  EXPECT_EQ(count(written(runs), "No episode was run."), 1u);
}

}  // namespace
}  // namespace orrery
