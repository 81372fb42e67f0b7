#pragma once

#include <map>
#include <utility>
#include <vector>

#include "train/feeder.h"
#include "train/ranks.h"
#include "train/settings.h"
#include "train/working.h"

namespace orrery::train {

// Gradient and AdamW's moments, each a block with the layout of the parameters.
struct Moments {
  View<float, 1> gradient, m, v;
};

// One optimiser step of a CUDA device: what step.h does, as work that is captured once per batch of
// a step and place of the pixels, and then run again with one launch. What changes from step to
// step (the streams of dropout and of SIGReg's directions, learning rate and bias corrections) is a
// row of numbers that the captured work fetches from page-locked memory; the gradient is clipped
// and checked where it lies. The host waits once a batch, while the next one's pixels travel, and
// reads the report of a few dozen numbers at the end. Where ranks share the batches, what they add
// up is captured with the rest (dist/device_sums.h): the batch's statistics where they are needed,
// the gradient of all but the encoder while the encoder's is computed, and that before clipping.
class DeviceStep {
 public:
  // What a step works on; all outlive it.
  struct Parts {
    const TrainingSettings& settings;
    const std::vector<AdamWGroup>& groups;
    WorkingWeights& weights;
    Moments moments;
    lewm::TrainingState& state;
    LossState& losses;
    Feeder& feeder;
    Ranks& ranks;
    BatchShare share;  // of every batch, where ranks share them
  };
  DeviceStep(Context& ctx, const Parts& parts);

  // The step that follows `steps` others with learning rate lr; batch_at(i), the host's, gives the
  // batches of the run by number, of which the one after this step's is asked for too while there
  // is one (below `batches`).
  StepReport run(i64 steps, double lr, i64 batches, FunctionRef<Batch(i64 index)> batch_at);
  // forgets which batch was sent ahead
  void begin_anew() { sent_ = -1; }

  // captured work, or each operation asked for by itself
  void capture_from_now_on(bool wanted) { captures_ = wanted; }

 private:
  void lay_out(Arena& arena);
  void prepare(i64 steps, double lr);
  void add_batch(i64 index, const Batch& batch);
  void backward(bool last);
  StepReport report() const;

  struct Work {
    bool ran = false;
    Graph graph;
  };

  Context& ctx_;
  Parts parts_;
  lewm::Tensors gradient_;
  std::pair<i64, i64> encoder_;  // where its gradient begins and ends in the block
  bool captures_ = true;
  i64 sent_ = -1;                                     // the batch that lies ready, or is on its way
  i64 masks_ = 0;                                     // streams of dropout that a batch has
  std::map<std::pair<i64, std::size_t>, Work> work_;  // by batch of the step, and place

  // on the device, and in page-locked memory of the host
  Block there_, here_;
  View<u64, 2> streams_, host_streams_;  // [accumulate, 1 + masks]: of directions, of dropout
  View<AdamWStretch, 1> stretches_, host_stretches_;
  View<double, 1> results_, host_results_;  // mean losses, norm of the gradient, its factor
};

}  // namespace orrery::train
