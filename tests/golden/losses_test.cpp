#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "io/json.h"
#include "io/safetensors.h"
#include "ops/test_support.h"
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

void copy_directions(Context& ctx, const Tensor& raw, View<float, 2> directions) {
  ASSERT_EQ(raw.numel(), directions.numel());
  ctx.upload(directions.data(), raw.data<float>(), static_cast<std::size_t>(raw.byte_count()));
}

// Latents and predictions where a context works, and what was found, for the host.
class Measured {
 public:
  Measured(Context& ctx, const Tensor& z, const Tensor& pred, const LossSettings& settings,
           const Tensor* directions = nullptr)
      : ctx_(ctx),
        z_(ctx, z),
        pred_(ctx, pred),
        state_(ctx, settings, {z.size(0), z.size(1), z.size(2)}) {
    if (directions != nullptr) copy_directions(ctx, *directions, state_.directions());
    values = losses(ctx, settings,
                    {z_.view<3>({z.size(0), z.size(1), z.size(2)}),
                     pred_.view<3>({pred.size(0), pred.size(1), pred.size(2)})},
                    state_);
    demb = host(state_.gradient().emb);
    dpred = host(state_.gradient().pred);
  }
  LossValues values;
  std::vector<float> demb, dpred;

 private:
  std::vector<float> host(View<const float, 3> there) {
    std::vector<float> here(static_cast<std::size_t>(there.numel()));
    ctx_.download(here.data(), there.data(), here.size() * sizeof(float));
    return here;
  }
  Context& ctx_;
  Placed<float> z_, pred_;
  LossState state_;
};

TEST_ON_EVERY_BACKEND(GoldenLosses, LewmTotal) {
  ORRERY_NEEDS_SHARED(folder());
  const Golden golden("lewm_total");
  const LossSettings settings{.projections = golden["projection_raw"].size(1)};
  const Measured found(ctx, golden["emb"], golden["pred"], settings, &golden["projection_raw"]);
  golden.expect_value("pred_loss", found.values.prediction);
  golden.expect_value("sigreg_loss", found.values.sigreg);
  golden.expect_value("loss", found.values.total);
  golden.expect_values("grad_emb", found.demb.data());
  golden.expect_values("grad_pred", found.dpred.data());
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

TEST_ON_EVERY_BACKEND(GoldenLosses, PldmTermsOneByOne) {
  ORRERY_NEEDS_SHARED(folder());
  const Golden golden("pldm");
  for (const auto& term : kPldmTerms) {
    SCOPED_TRACE(term.name);
    LossSettings settings{.weights = {.prediction = 0, .sigreg = 0}, .projections = 1};
    settings.weights.*term.weight = 1.0;
    const Measured found(ctx, golden["z"], golden["pred"], settings);
    golden.expect_value(term.name, found.values.*term.value);
    golden.expect_values(std::string("grad_z_of_") + term.name, found.demb.data());
  }
}

TEST_ON_EVERY_BACKEND(GoldenLosses, PldmTotal) {
  ORRERY_NEEDS_SHARED(folder());
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
  const Measured found(ctx, golden["z"], golden["pred"], settings);
  golden.expect_value("pred_loss", found.values.prediction);
  golden.expect_value("loss", found.values.total);
  golden.expect_values("grad_z_of_loss", found.demb.data());
  golden.expect_values("grad_pred_of_loss", found.dpred.data());
}

TEST_ON_EVERY_BACKEND(GoldenLosses, InverseDynamics) {
  ORRERY_NEEDS_SHARED(folder());
  const Golden golden("pldm");
  const auto sizes = golden["z"].view<float, 3>().sizes();
  const auto action_sizes = golden["action"].view<float, 3>().sizes();
  train::InverseDynamics idm(sizes[2], action_sizes[2],
                             {.hidden = golden["idm.net.0.bias"].size(0)});
  const auto layout = lewm::layout_of_head("idm", idm.head().config);
  for (const auto& spec : layout.specs) {
    std::copy_n(golden[spec.name].data<float>(), spec.shape.numel(),
                idm.head().parameters.data<float>() + spec.offset);
  }
  Placed<float> z(ctx, golden["z"]), actions(ctx, golden["action"]), dz(ctx, golden["z"].numel());
  Placed<double> value(ctx, 1);
  idm.settle_on(ctx);
  idm.begin_step(ctx);
  idm.measure(ctx, {.emb = z.view<3>(sizes), .actions = actions.view<3>(action_sizes)}, 1.0,
              {dz.view<3>(sizes), {}, {}}, value.view<1>({1}));
  golden.expect_value("idm_loss", value.values()[0]);
  golden.expect_values("grad_z_of_idm_loss", dz.values().data());
  std::vector<float> gradient(static_cast<std::size_t>(idm.gradient().numel()));
  ctx.download(gradient.data(), idm.gradient().data(), gradient.size() * sizeof(float));
  for (const auto& spec : layout.specs) {
    golden.expect_values("grad_idm_of_idm_loss." + spec.name.substr(4),
                         gradient.data() + spec.offset);
  }
}

}  // namespace
}  // namespace orrery
