#pragma once

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "data/statistics.h"
#include "data/window_order.h"
#include "data/windows.h"
#include "device/context.h"
#include "device/memory.h"
#include "tensor/arena.h"

namespace orrery {

struct LoaderOptions {
  i64 batch = 64;
  // which windows of each batch are read, where others read the rest: `part` from `first` on; 0:
  // all
  i64 first = 0;
  i64 part = 0;
  u64 seed = 0;
  WindowOrder order = WindowOrder::shuffled;
  i64 prefetch = 2;  // batches made ahead
  i64 kept = 1;      // batches that stay when asked for one after the other: the newest ones
  int threads = 1;   // that make them, all of them one batch after the other
  // of whose device batches go to: they lie in page-locked memory; none: in the host's
  const Context* device = nullptr;
  // memory that the chunks of a group of by_chunk may take, less than what the recording keeps
  // decoded (OpenOptions::cache_bytes)
  i64 group_bytes = i64{384} << 20;
  std::string pixels = "pixels";  // empty: none
  std::string action = "action";
  // a column of numbers that is read for every frame beside the pixels, as recorded; empty: none
  std::string observation;
};

// What a training step is given. B = batch, or the part of it that is read; T = num_steps. Views
// are contiguous, of memory that the loader keeps; empty where there is no such column.
struct WindowBatch {
  i64 step = -1;
  std::vector<i64> windows;    // [B]
  View<u8, 5> pixels;          // [B, T, height, width, channels]
  View<float, 3> action;       // [B, T, frameskip * action width], z-scored, NaN made 0
  View<float, 3> observation;  // [B, T, width of the column]
};

// Batches of windows, made ahead by threads of its own, a few windows of a batch each. Batch `step`
// is a pure function of (windows, seed, step): step s is part of epoch s / steps_per_epoch(), each
// epoch has its own order, the windows that do not fill a batch are left out of that epoch.
// Training goes on at any step without a saved generator.
//
// Memory: prefetch + kept batches, beside what the recording keeps decoded.
class WindowLoader {
 public:
  // The windows and their recording must outlive the loader. `action_scale` normalises actions, a
  // row at a time.
  WindowLoader(const Windows& windows, ZScore action_scale, LoaderOptions options = {});
  ~WindowLoader();
  WindowLoader(const WindowLoader&) = delete;
  WindowLoader& operator=(const WindowLoader&) = delete;

  i64 steps_per_epoch() const { return windows_->size() / options_.batch; }
  // Valid until the next call, or longer (LoaderOptions::kept). Steps asked for one after the other
  // are ready; any other step is made on demand.
  const WindowBatch& batch(i64 step);
  // The windows of a step that are read here, without reading them.
  std::vector<i64> windows_of(i64 step) const;

 private:
  struct Slot {
    WindowBatch batch;  // batch.step is -1 while it is being filled
    Block memory;
    i64 making = -1;  // the step it is filled for
    i64 taken = 0;    // windows that threads have taken upon them, from the first on
    i64 made = 0;     // and have made
    int busy = 0;     // threads at it
  };

  void lay_out(Arena& arena, WindowBatch& batch) const;
  bool has_work() const;
  void make_ahead();
  void fill(i64 step, i64 begin, i64 end, WindowBatch& batch) const;
  i64 window_at(const WindowOrders::Epoch& order, i64 step, i64 i) const;
  Slot& slot(i64 step) { return slots_[static_cast<std::size_t>(step) % slots_.size()]; }
  const Slot& slot(i64 step) const {
    return slots_[static_cast<std::size_t>(step) % slots_.size()];
  }

  const Windows* windows_;
  ZScore action_scale_;
  LoaderOptions options_;
  i64 part_ = 0;  // windows of a batch that are read
  Shape picture_;
  i64 action_width_ = 0, observed_ = 0;  // numbers a frame
  std::optional<i64> pixels_;
  i64 action_ = 0;
  std::optional<i64> observation_;
  std::unique_ptr<const WindowOrders> orders_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot> slots_;
  i64 wanted_ = 0;  // the step in use, or waited for
  i64 next_ = -1;   // the step to make next; -1 before the first is asked for
  std::exception_ptr failure_;
  bool ends_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace orrery
