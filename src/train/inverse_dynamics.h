#pragma once

#include "device/memory.h"
#include "models/lewm/side_head.h"
#include "models/lewm/training_head.h"
#include "tensor/arena.h"
#include "train/batch_loss.h"
#include "train/side_optimiser.h"

namespace orrery::train {

// PLDM's inverse dynamics: which actions lead from a latent to the next one.
//
//   mean over windows, t = 0 .. T-2 and numbers of (head([z_t+1; z_t]) - a_t)^2
//
// head: Linear 2D -> hidden, LayerNorm, GELU, Linear -> A. It learns by an AdamW of its own from
// the whole gradient; the weight of the loss says how much of it reaches the latents, and is 0 as
// published: the head then only reads. NaN in an action counts as 0. tolerant: f32; steady
class InverseDynamics final : public BatchLoss {
 public:
  struct Settings {
    i64 hidden = 512;
    double lr = 5e-5;  // at the top of the schedule
    double weight_decay = 1e-3;
  };
  InverseDynamics(i64 latent, i64 action, const Settings& settings);

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

  static constexpr const char* kName = "inverse_dynamics";
  lewm::SideHead& head() { return head_; }
  View<const float, 1> gradient() const { return optimiser_.gradient(); }

 private:
  void make_room(const Context& ctx, i64 rows);
  lewm::Head learned();  // where the context works
  void lay_out(Arena& arena, i64 rows);

  mutable lewm::SideHead head_;  // the host's side, brought up to date for who reads it
  Working parameters_;
  SideOptimiser optimiser_;

  // memory of one batch size; P pairs
  i64 rows_ = 0;
  Block memory_;
  View<float, 2> pairs_;  // [P, 2D]
  lewm::HeadState state_;
  View<float, 2> wanted_;  // [P, A]
  View<float, 2> guess_;   // [P, A]
  View<float, 2> dguess_;  // [P, A]
  View<float, 2> dpairs_;  // [P, 2D]
};

}  // namespace orrery::train
