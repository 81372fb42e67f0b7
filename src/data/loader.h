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

namespace orrery {

struct LoaderOptions {
  i64 batch = 64;
  // which windows of each batch are read, where others read the rest: `part` from `first` on; 0:
  // all
  i64 first = 0;
  i64 part = 0;
  u64 seed = 0;
  WindowOrder order = WindowOrder::shuffled;
  i64 prefetch = 2;  // batches made ahead; at least one for each thread
  int threads = 1;   // that make them
  // memory that the chunks of a group of by_chunk may take, less than what the recording keeps
  // decoded (OpenOptions::cache_bytes)
  i64 group_bytes = i64{384} << 20;
  std::string pixels = "pixels";  // empty: none
  std::string action = "action";
  // a column of numbers that is read for every frame beside the pixels, as recorded; empty: none
  std::string observation;
};

// What a training step is given. B = batch, or the part of it that is read; T = num_steps.
struct WindowBatch {
  i64 step = -1;
  std::vector<i64> windows;  // [B]
  Tensor pixels;             // u8 [B, T, height, width, channels], or [0]
  Tensor action;             // f32 [B, T, frameskip * action width], z-scored, NaN made 0
  Tensor observation;        // f32 [B, T, width of the column], or [0]
};

// Batches of windows, made ahead by threads of its own. Batch `step` is a pure function of
// (windows, seed, step): step s is part of epoch s / steps_per_epoch(), each epoch has its own
// order, the windows that do not fill a batch are left out of that epoch. Training goes on at any
// step without a saved generator.
//
// Memory: prefetch + 1 batches, beside what the recording keeps decoded.
class WindowLoader {
 public:
  // The windows and their recording must outlive the loader. `action_scale` normalises actions, a
  // row at a time.
  WindowLoader(const Windows& windows, ZScore action_scale, LoaderOptions options = {});
  ~WindowLoader();
  WindowLoader(const WindowLoader&) = delete;
  WindowLoader& operator=(const WindowLoader&) = delete;

  i64 steps_per_epoch() const { return windows_->size() / options_.batch; }
  // Valid until the next call. Steps asked for one after the other are ready; any other step is
  // made on demand.
  const WindowBatch& batch(i64 step);
  // The windows of a step that are read here, without reading them.
  std::vector<i64> windows_of(i64 step) const;

 private:
  struct Slot {
    WindowBatch batch;  // batch.step is -1 while it is being filled
    bool busy = false;
  };

  void make_ahead();
  void fill(i64 step, WindowBatch& batch) const;
  Slot& slot(i64 step) { return slots_[static_cast<std::size_t>(step) % slots_.size()]; }

  const Windows* windows_;
  ZScore action_scale_;
  LoaderOptions options_;
  i64 part_ = 0;  // windows of a batch that are read
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
