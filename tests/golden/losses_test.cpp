#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "io/json.h"
#include "io/safetensors.h"
#include "tests/golden/shared.h"
#include "train/inverse_dynamics.h"
#include "train/losses.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using train::LossSettings;
using train::LossState;
using train::LossValues;

fs::path folder() { return shared_folder() / "golden" / "lewm" / "losses"; }

// One file of inputs and expected values, with the float32 noise that the official program showed.
struct Golden {
  TensorMap tensors;
  nlohmann::json noise;

  explicit Golden(const std::string& stem)
      : tensors(read_safetensors(folder() / (stem + ".safetensors"))),
        noise(read_json(folder() / "tolerance.json").at(stem)) {}

  const Tensor& operator[](const std::string& name) const { return tensors.at(name); }
  double scalar(const std::string& name) const {
    return tensors.at(name).converted(DType::f64).data<double>()[0];
  }
  // ten times the recorded noise, as the folder's README asks; never below one rounding to f32 of
  // the expected values themselves
  double tolerance(const std::string& name) const {
    const auto& entry = noise.at(name);
    return std::max(10 * entry.at("max_abs_diff_f32").get<double>(),
                    std::ldexp(entry.at("max_abs_value").get<double>(), -24));
  }
  void expect_value(const std::string& name, double value) const {
    EXPECT_NEAR(value, scalar(name), tolerance(name)) << name;
  }
  // values in the order of the stored tensor
  void expect_values(const std::string& name, const float* values) const {
    const Tensor& expected = tensors.at(name);
    double worst = 0;
    for (i64 i = 0; i < expected.numel(); ++i) {
      const double difference =
          std::abs(static_cast<double>(values[i]) - expected.data<float>()[i]);
      if (!(difference <= worst)) worst = difference;
    }
    EXPECT_LE(worst, tolerance(name)) << name;
  }
};

void copy_directions(const Tensor& raw, View<float, 2> directions) {
  ASSERT_EQ(raw.numel(), directions.numel());
  std::copy_n(raw.data<float>(), raw.numel(), directions.data());
}

TEST(GoldenLosses, LewmTotal) {
  ORRERY_NEEDS_SHARED(folder());
  Context ctx;
  const Golden golden("lewm_total");
  const auto emb = golden["emb"].view<float, 3>();
  const LossSettings settings{.projections = golden["projection_raw"].size(1)};
  LossState state(settings, {emb.size(0), emb.size(1), emb.size(2)});
  copy_directions(golden["projection_raw"], state.directions());
  const LossValues values = losses(ctx, settings, {emb, golden["pred"].view<float, 3>()}, state);
  golden.expect_value("pred_loss", values.prediction);
  golden.expect_value("sigreg_loss", values.sigreg);
  golden.expect_value("loss", values.total);
  golden.expect_values("grad_emb", state.gradient().emb.data());
  golden.expect_values("grad_pred", state.gradient().pred.data());
}

// the file's names of the terms that PLDM adds
constexpr struct {
  const char* name;
  double train::LossWeights::*weight;
  double LossValues::*value;
} kPldmTerms[] = {
    {"temp_align_loss", &train::LossWeights::temporal_alignment, &LossValues::temporal_alignment},
    {"temp_straight_loss", &train::LossWeights::straightening, &LossValues::straightening},
    {"std_loss", &train::LossWeights::std, &LossValues::std},
    {"std_t_loss", &train::LossWeights::std_time, &LossValues::std_time},
    {"cov_loss", &train::LossWeights::cov, &LossValues::cov},
    {"cov_t_loss", &train::LossWeights::cov_time, &LossValues::cov_time},
};

TEST(GoldenLosses, PldmTermsOneByOne) {
  ORRERY_NEEDS_SHARED(folder());
  Context ctx;
  const Golden golden("pldm");
  const auto z = golden["z"].view<float, 3>();
  for (const auto& term : kPldmTerms) {
    SCOPED_TRACE(term.name);
    LossSettings settings{.weights = {.prediction = 0, .sigreg = 0}, .projections = 1};
    settings.weights.*term.weight = 1.0;
    LossState state(settings, {z.size(0), z.size(1), z.size(2)});
    const LossValues values = losses(ctx, settings, {z, golden["pred"].view<float, 3>()}, state);
    golden.expect_value(term.name, values.*term.value);
    golden.expect_values(std::string("grad_z_of_") + term.name, state.gradient().emb.data());
  }
}

TEST(GoldenLosses, PldmTotal) {
  ORRERY_NEEDS_SHARED(folder());
  Context ctx;
  const Golden golden("pldm");
  const auto weights = read_json(folder() / "pldm_weights.json");
  ASSERT_EQ(weights.at("idm_loss").get<double>(), 0.0);  // inverse dynamics has its own optimiser
  LossSettings settings{
      .weights = {.prediction = weights.at("pred_loss").get<double>(), .sigreg = 0},
      .projections = 1};
  for (const auto& term : kPldmTerms) {
    const auto& weight = weights.at(term.name);
    if (weight.is_number()) settings.weights.*term.weight = weight.get<double>();
  }
  const auto z = golden["z"].view<float, 3>();
  LossState state(settings, {z.size(0), z.size(1), z.size(2)});
  const LossValues values = losses(ctx, settings, {z, golden["pred"].view<float, 3>()}, state);
  golden.expect_value("pred_loss", values.prediction);
  golden.expect_value("loss", values.total);
  golden.expect_values("grad_z_of_loss", state.gradient().emb.data());
  golden.expect_values("grad_pred_of_loss", state.gradient().pred.data());
}

TEST(GoldenLosses, InverseDynamics) {
  ORRERY_NEEDS_SHARED(folder());
  Context ctx;
  const Golden golden("pldm");
  const auto z = golden["z"].view<float, 3>();
  const auto actions = golden["action"].view<float, 3>();
  train::InverseDynamics idm(z.size(2), actions.size(2),
                             {.hidden = golden["idm.net.0.bias"].size(0)});
  const auto layout = lewm::layout_of_head("idm", idm.head().config);
  for (const auto& spec : layout.specs) {
    std::copy_n(golden[spec.name].data<float>(), spec.shape.numel(),
                idm.head().parameters.data<float>() + spec.offset);
  }
  std::vector<float> dz(static_cast<std::size_t>(z.numel()));
  idm.begin_step(ctx);
  const double value = idm.value_and_gradient(ctx, {.emb = z, .actions = actions}, 1.0,
                                              {View<float, 3>(dz.data(), z.sizes()), {}, {}});
  golden.expect_value("idm_loss", value);
  golden.expect_values("grad_z_of_idm_loss", dz.data());
  for (const auto& spec : layout.specs) {
    golden.expect_values("grad_idm_of_idm_loss." + spec.name.substr(4),
                         idm.gradient().data() + spec.offset);
  }
}

}  // namespace
}  // namespace orrery
