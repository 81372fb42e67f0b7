#pragma once

#include <iterator>
#include <string>
#include <vector>

#include "device/context.h"
#include "device/memory.h"
#include "models/lewm/training.h"
#include "ops/batch_share.h"
#include "tensor/arena.h"
#include "tensor/view.h"
#include "train/batch_loss.h"

namespace orrery::train {

// What training makes small. z [B, T, D] are the latents, p [B, S, D] the predictions of z[:, 1 ..
// S], r [B, K-1, D] those that the predictor makes of its own predictions (lewm/training.h) for
// frames from C + 1 on; c = z - mean_B(z).
//
//   prediction           mean (p - z[:, 1:S+1])^2, the target not detached
//   rollout              mean (r - z[:, C+1:C+K])^2, the target not detached: each of the K - 1
//                        further steps weighs rollout / (K - 1); nothing with one step
//   sigreg               SIGReg of the T batches of latents (ops/sigreg.h)
//   temporal_alignment   mean (z[:, 1:] - z[:, :-1])^2
//   straightening        -mean cos(v_t, v_t+1), v_t = z_t+1 - z_t
//   std, std_time        mean relu(1 - sqrt(var(c) + 1e-4)), variance over the batch, or over time;
//                        unbiased
//   cov                  mean_T sum_{i != j} C_ij^2 / (D^2 - D), C = c_t^T c_t / (B - 1)
//   cov_time             the same per window, C = c_b^T c_b / (T - 1), time not centred
//
// LeWM is the first two; the rest, of PLDM and VCReg, are off unless weighted.
struct LossWeights {
  double prediction = 1.0;
  double rollout = 1.0;
  double sigreg = 0.09;
  double temporal_alignment = 0.0;
  double straightening = 0.0;
  double std = 0.0;
  double std_time = 0.0;
  double cov = 0.0;
  double cov_time = 0.0;
};

struct LossSettings {
  LossWeights weights;
  int knots = 17;
  i64 projections = 1024;
  std::vector<AddedLoss> added = {};  // losses of one's own
};

struct NamedLoss {
  std::string name;
  double value = 0;
};

// The terms before weighting, and their weighted sum. Terms of weight 0 are not computed, but for
// the prediction.
struct LossValues {
  double prediction = 0;
  double rollout = 0;
  double sigreg = 0;
  double temporal_alignment = 0;
  double straightening = 0;
  double std = 0;
  double std_time = 0;
  double cov = 0;
  double cov_time = 0;
  double total = 0;
  std::vector<NamedLoss> added = {};  // in the order of the settings
};

// The mean of `count` values, the newest of which joins it: exactly that one when it is the first.
void add_to_mean(LossValues& mean, const LossValues& newest, i64 count);

// One of the weighted terms with its place in the two structures: for logs and configurations.
struct LossTerm {
  const char* name;
  double LossWeights::*weight;
  double LossValues::*value;
};
inline constexpr LossTerm kLossTerms[] = {
    {"prediction", &LossWeights::prediction, &LossValues::prediction},
    {"rollout", &LossWeights::rollout, &LossValues::rollout},
    {"sigreg", &LossWeights::sigreg, &LossValues::sigreg},
    {"temporal_alignment", &LossWeights::temporal_alignment, &LossValues::temporal_alignment},
    {"straightening", &LossWeights::straightening, &LossValues::straightening},
    {"std", &LossWeights::std, &LossValues::std},
    {"std_time", &LossWeights::std_time, &LossValues::std_time},
    {"cov", &LossWeights::cov, &LossValues::cov},
    {"cov_time", &LossWeights::cov_time, &LossValues::cov_time},
};

struct LossSizes {
  i64 windows, frames, width;  // B here, T, D
  i64 predicted = 0;           // S; 0: T - 1
  i64 rolled = 0;              // K - 1
  i64 context = 0;             // C

  LossSizes(i64 b, i64 t, i64 d) : windows(b), frames(t), width(d) {}
  explicit LossSizes(const lewm::TrainingState& state);
};

// Memory of the losses of as many windows as are here, taken once.
class LossState {
 public:
  LossState(const LossSettings& settings, const LossSizes& sizes);
  // the same where the context works
  LossState(const Context& ctx, const LossSettings& settings, const LossSizes& sizes);

  std::size_t bytes() const { return memory_.bytes(); }
  // raw normal draws for SIGReg, to be filled before each call
  View<float, 2> directions() const { return directions_; }  // [D, projections]
  // gradient of the total, as the last call left it
  lewm::LossGradient gradient() const { return {demb_, dpred_, drolled_}; }
  // the terms in the order of kLossTerms, the total, and the added losses, as the last call of
  // measure left them where the context works
  View<const double, 1> values() const { return values_; }
  View<const double, 1> total() const { return values_.slice(0, kTotalPlace, kTotalPlace + 1); }

  static constexpr i64 kTotalPlace = static_cast<i64>(std::size(kLossTerms));

 private:
  friend void measure(Context&, const LossSettings&, const LossInputs&, LossState&);
  void lay_out(Arena& arena, const LossSettings& settings);

  LossSizes sizes_;
  Block memory_;
  View<float, 2> directions_, statistics_;
  View<float, 3> dsigreg_;  // [T, B, D]
  View<float, 3> demb_, dpred_, drolled_;
  View<double, 3> sum_;            // [B, T, D] gradient with respect to z, before rounding
  View<double, 3> centred_;        // [B, T, D]
  View<double, 3> dcentred_;       // [B, T, D]
  View<double, 2> covariance_;     // [D, D]
  View<double, 2> mean_, square_;  // [max(B, T), D]
  View<double, 1> values_;         // [terms, total, added]
};

// Fills the state's values and gradient where the context works, without waiting for them. All
// terms but SIGReg are summed in double in a fixed order. With a share of a batch every process
// gets the values of the whole batch, and their gradient for its windows. steady
void measure(Context& ctx, const LossSettings& settings, const LossInputs& in, LossState& state);

// The same values with their names; `values` is the host's.
LossValues named(const LossSettings& settings, View<const double, 1> values);

// measure, and what it found.
LossValues losses(Context& ctx, const LossSettings& settings, const LossInputs& in,
                  LossState& state);

}  // namespace orrery::train
