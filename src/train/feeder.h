#pragma once

#include <array>

#include "device/context.h"
#include "device/memory.h"
#include "train/step.h"

namespace orrery::train {

// Brings batches to where a context works. On a CPU they are there already. To a device they go out
// of page-locked memory, beside the work that runs: while a step computes, the pixels of the next
// one travel. A batch that lies in such memory goes as it is, another by way of the feeder's own.
//
// Two places on the device take turns, and a third is for what is shown beside training. Nobody may
// wait for their memory within a step: whoever sends must have seen the work on the batch before
// the last one done (Context::synchronize).
class Feeder {
 public:
  explicit Feeder(Context& ctx) : ctx_(ctx) {}

  // Waits until whatever was sent has arrived: its memory may be used again. Before a batch is
  // asked for that does not follow the last one.
  void settle();

  // Begins to bring a batch. When it is locked its memory must stay until the one after it has been
  // taken, or settle; else it may change at once.
  void send(const Batch& batch);
  // The batch that was sent: work asked for from now on finds it.
  Batch take();
  // which of the two places it lies in: captured work is tied to one
  std::size_t place() const { return place_; }

  // Both at once, in the third place; the work on what was shown before must be done (settle).
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
