#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "data/statistics.h"
#include "device/memory.h"
#include "nn/layers.h"
#include "ops/readout_targets.h"
#include "tensor/arena.h"
#include "tensor/placed.h"
#include "train/batch_loss.h"
#include "train/side_optimiser.h"

namespace orrery::train {

// Which recorded numbers latents are asked for, how much it counts: `training.readout`.
struct ReadoutSettings {
  std::string column;        // of the recording: numbers, one row for each frame
  std::vector<i64> numbers;  // of its rows: places and the like
  std::vector<i64> angles;   // of its rows: radians
  double weight = 1.0;       // of the loss in the total
  double lr = 1e-3;          // of the read-out
  bool asked() const { return !column.empty(); }
};

// The object `training.readout`, and what it says that is not the default; `where` names it.
ReadoutSettings readout_from_json(const nlohmann::json& node, const std::string& where);
nlohmann::json json_from_readout(const ReadoutSettings& settings);

// A linear read-out of recorded state from the latent of the same frame.
//
//   mean over windows, frames and targets of (W z + b - y)^2
//
// y: the chosen numbers, z-scored over the recording, and sqrt(2) cos and sqrt(2) sin of the
// chosen angles, so that an angle that points anywhere alike has variance 1 as the numbers have.
//
// It puts into the latent what the state says, where squared distance sees it. The published LeWM
// learns from pictures and actions alone; this is for those who recorded the state beside them and
// need it only in training. A NaN has no target and no gradient. W [Y, D] and b learn by an AdamW
// of their own and are no part of the model. tolerant: f32; steady
class Readout final : public BatchLoss {
 public:
  // `scale`: statistics of the column, all of it
  Readout(i64 latent, const ReadoutSettings& settings, const ColumnStatistics& scale);

  std::string name() const override { return kName; }
  double value_and_gradient(Context& ctx, const LossInputs& in, double weight,
                            const LossSlopes& slopes) override;
  void measure(Context& ctx, const LossInputs& in, double weight, const LossSlopes& slopes,
               View<double, 1> value) override;
  void settle_on(Context& ctx) override;
  void begin(u64 seed) override;
  void prepare_step(const LearningStep& step) override { optimiser_.prepare_step(step); }
  void begin_step(Context& ctx) override { optimiser_.begin_step(ctx); }
  void learn(Context& ctx, View<const double, 1> well) override;
  void end_step() override { optimiser_.end_step(); }
  TensorMap contents() const override;
  void restore(const TensorMap& contents, const std::string& where) override;

  static constexpr const char* kName = "readout";
  i64 targets() const { return static_cast<i64>(targets_.size()); }  // Y
  View<const float, 1> gradient() const { return optimiser_.gradient(); }

 private:
  void make_room(const Context& ctx, i64 rows);
  void lay_out(Arena& arena, i64 rows);
  nn::Dense bound(float* block) const;  // W, then b

  i64 latent_, numbers_;  // in a row of the column
  std::vector<ReadoutTarget> targets_;
  Tensor parameters_;
  Placed<ReadoutTarget> asked_;  // the same where the context works
  Working working_;              // of the parameters
  SideOptimiser optimiser_;

  // memory of one batch size
  i64 rows_ = 0;
  Block memory_;
  View<float, 2> guess_, wanted_, dguess_;  // [rows, Y]
  View<float, 2> dlatents_;                 // [rows, D]
};

}  // namespace orrery::train
