#include "eval/report.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

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
    plan.iteration_best = {3, 2, 1};
    plan.iteration_elite = {4, 3, 2};
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

std::string written(std::span<const Evaluation> evaluations) {
  const auto path = std::filesystem::path(testing::TempDir()) / "orrery-report-test.html";
  write_report(path, evaluations);
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

TEST(Report, StandsAloneAndShowsEveryEpisode) {
  const std::vector<Evaluation> runs = {example(true)};
  const std::string page = written(runs);
  EXPECT_NE(page.find("The model reached 2 of 3 goals (67 %"), std::string::npos);
  EXPECT_EQ(count(page, "http"), 0u);
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

}  // namespace
}  // namespace orrery
