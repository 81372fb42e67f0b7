#pragma once

#include <memory>
#include <string>

#include "device/context.h"
#include "ops/batch_share.h"
#include "tensor/tensor.h"
#include "tensor/view.h"

namespace orrery::train {

// What a loss is computed from.
struct LossInputs {
  View<const float, 3> emb;      // [B, T, D] latents
  View<const float, 3> pred;     // [B, S, D] predictions of emb[:, 1 .. S]
  View<const float, 3> rolled;   // [B, K-1, D] of further steps, empty with one step
  View<const float, 3> actions;  // [B, T, A] z-scored, may hold NaN; the block behind each frame
  View<const float, 3> observations = {};  // [B, T, N] as recorded, empty where nobody asked
  // which windows of the batch these are; a loss that hangs on all of them adds up through it
  BatchShare share = {};
};

// Gradient of a loss with respect to its inputs, to be added to; contiguous.
struct LossSlopes {
  View<float, 3> emb, pred, rolled;
};

// An optimiser step, for a loss that learns something itself.
struct LearningStep {
  double schedule = 1;  // of a learning rate: from 0 to 1, warm-up and cosine
  double clip = 1;      // largest norm of a gradient; 0: not clipped
  i64 batches = 1;      // whose gradients are added since begin_step
  BatchShare share = {};
};

// A loss of one's own beside those of losses.h: add one to LossSettings::added and train.
//
// The calls of a run: begin or restore once; then for every optimiser step prepare_step,
// begin_step, value_and_gradient for each of its batches, learn, and end_step, which is left out
// when the step was not finite; between steps value_and_gradient of held-out batches. What a loss
// does must be a function of these calls alone, or a resumed run would not come to the same bits.
// By default a loss learns nothing.
//
// On a device begin_step, measure and learn are asked for once and then run again as captured work:
// what differs from step to step must lie in memory that prepare_step fills.
class BatchLoss {
 public:
  virtual ~BatchLoss() = default;

  // its name in metrics.jsonl; no other loss may have it
  virtual std::string name() const = 0;
  // The loss of the batch, and `weight` times its gradient added to `slopes`. With a share of the
  // batch: the loss of the whole, and its gradient for the windows here.
  virtual double value_and_gradient(Context& ctx, const LossInputs& in, double weight,
                                    const LossSlopes& slopes) = 0;

  // The same with the value [1] left where the context works, so that a device's work goes on
  // without the host. By default the above, for which the context must be a CPU's: a loss that is
  // to be computed on a device does both.
  virtual void measure(Context& ctx, const LossInputs& in, double weight, const LossSlopes& slopes,
                       View<double, 1> value) {
    must_be_cpu(ctx, ("the loss " + name()).c_str());
    value[0] = value_and_gradient(ctx, in, weight, slopes);
  }

  // Called before anything else: what the loss learns is to live where the context works.
  // `contents` brings it back.
  virtual void settle_on(Context& /*ctx*/) {}
  virtual void begin(u64 /*seed*/) {}
  // the step to come, as the host knows it
  virtual void prepare_step(const LearningStep&) {}
  virtual void begin_step(Context&) {}
  // The step itself, after the gradients of all batches. `well` [1] lies where the context works;
  // not a number: nothing is to be learned.
  virtual void learn(Context&, View<const double, 1> /*well*/) {}
  // the host again, when the step's work is done
  virtual void end_step() {}
  // for checkpoints
  virtual TensorMap contents() const { return {}; }
  virtual void restore(const TensorMap&, const std::string& /*where*/) {}
};

struct AddedLoss {
  std::shared_ptr<BatchLoss> loss;
  double weight = 1;
};

}  // namespace orrery::train
