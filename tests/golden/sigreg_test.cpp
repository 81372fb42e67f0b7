#include "ops/sigreg.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <vector>

#include <nlohmann/json.hpp>

#include "io/safetensors.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

nlohmann::json json_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

// golden/lewm/README: ten times the float32 noise of the official implementation, and no less than
// the 1e-6 on values and 1e-7 on gradients that it promises
double tolerance_of(const nlohmann::json& recorded, const std::string& name) {
  const double floor = name.rfind("grad_", 0) == 0 ? 1e-7 : 1e-6;
  return std::max(floor, 10 * recorded.at(name).at("max_abs_diff_f32").get<double>());
}

void expect_near(const float* values, const Tensor& expected, double tolerance,
                 const std::string& what) {
  const auto wanted = expected.span<float>();
  double worst = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double difference =
        std::abs(static_cast<double>(values[i]) - static_cast<double>(wanted[i]));
    if (!(difference <= worst)) worst = difference;
  }
  EXPECT_LE(worst, tolerance) << what;
}

TEST(GoldenSigreg, LossesAndGradientsAreTheOfficialOnes) {
  const auto folder = shared_folder() / "golden/lewm/losses";
  ORRERY_NEEDS_SHARED(folder);
  const auto tolerances = json_of(folder / "tolerance.json");
  Context ctx;
  int cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() != ".safetensors" || name.rfind("sigreg_", 0) != 0) continue;
    SCOPED_TRACE(name);
    const TensorMap golden = read_safetensors(entry.path());
    const Tensor& z = golden.at("z");
    const Tensor& directions = golden.at("projection_raw");
    const i64 time = z.size(0);
    const i64 projections = directions.size(1);
    const SigregSettings settings = {.knots = golden.at("knots").data<i32>()[0]};

    std::vector<float> statistics(static_cast<std::size_t>(time * projections));
    Tensor dz = Tensor::zeros<float>(z.shape());
    const double loss =
        sigreg(ctx, settings, z.view<float, 3>(), directions.view<float, 2>(),
               View<float, 2>(statistics.data(), {time, projections}), dz.view<float, 3>());

    const auto& recorded = tolerances.at(name);
    EXPECT_NEAR(loss, golden.at("loss").data<float>()[0], tolerance_of(recorded, "loss"));
    expect_near(dz.data<float>(), golden.at("grad_z"), tolerance_of(recorded, "grad_z"), "grad_z");
    std::vector<float> per_time;
    for (i64 t = 0; t < time; ++t) {
      double sum = 0;
      for (i64 m = 0; m < projections; ++m)
        sum += static_cast<double>(statistics[static_cast<std::size_t>(t * projections + m)]);
      per_time.push_back(static_cast<float>(sum / static_cast<double>(projections)));
    }
    expect_near(per_time.data(), golden.at("loss_per_time"),
                tolerance_of(recorded, "loss_per_time"), "loss_per_time");
    if (golden.count("statistic_time_projection") > 0) {
      expect_near(statistics.data(), golden.at("statistic_time_projection"),
                  tolerance_of(recorded, "statistic_time_projection"), "statistic_time_projection");
    }
    ++cases;
  }
  EXPECT_GT(cases, 0);
}

TEST(GoldenSigreg, ScalarsOfOneProjection) {
  const auto path = shared_folder() / "golden/lewm/losses/sigreg_scalars.json";
  ORRERY_NEEDS_SHARED(path);
  const auto golden = json_of(path);
  // the samples behind each name; one direction of length 1, one step
  const std::map<std::string, std::vector<float>> samples = {
      {"zeros_B1", {0}},
      {"zeros_B7", std::vector<float>(7)},
      {"minus1_plus1", {-1, 1}},
      {"minus1_0_plus1", {-1, 0, 1}},
      {"half_x4", std::vector<float>(4, 0.5f)}};
  Context ctx;
  const std::vector<float> direction = {1.0f};
  for (const auto& [name, value] : golden.items()) {
    ASSERT_EQ(samples.count(name), 1u) << name;
    const auto& h = samples.at(name);
    float statistic = 0;
    const double loss = sigreg(
        ctx, {}, View<const float, 3>(h.data(), {1, static_cast<i64>(h.size()), 1}),
        View<const float, 2>(direction.data(), {1, 1}), View<float, 2>(&statistic, {1, 1}), {});
    EXPECT_NEAR(loss, value.get<double>(), 1e-6) << name;
  }
}

}  // namespace
}  // namespace orrery
