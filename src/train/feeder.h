#pragma once

#include <array>

#include "device/context.h"
#include "device/memory.h"
#include "train/step.h"

namespace orrery::train {

// Brings batches to where a context works. On a CPU they are there already. To a device they go by
// way of page-locked memory, beside the work that runs: while a step computes, the pixels of the
// next one travel.
//
// Two places on the device take turns, and a third is for what is shown beside training. Nobody may
// wait for their memory within a step: whoever sends must have seen the work on the batch before
// the last one done (Context::synchronize).
class Feeder {
 public:
  explicit Feeder(Context& ctx) : ctx_(ctx) {}

  // Begins to bring a batch, whose memory may change afterwards.
  void send(const Batch& batch);
  // The batch that was sent: work asked for from now on finds it.
  Batch take();
  // which of the two places it lies in: captured work is tied to one
  std::size_t place() const { return place_; }

  // Both at once, in the third place.
  Batch show(const Batch& batch);

  std::size_t bytes() const;  // of the device's memory

 private:
  struct Place {
    Block staging, block;
    Batch batch;
  };
  void fill(Place& place, const Batch& batch);

  Context& ctx_;
  std::array<Place, 3> places_;
  std::size_t place_ = 0;
};

}  // namespace orrery::train
