#include "data/loader.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/random.h"

namespace orrery {

WindowLoader::WindowLoader(const Windows& windows, ZScore action_scale, LoaderOptions options)
    : windows_(&windows), action_scale_(std::move(action_scale)), options_(std::move(options)) {
  const Episodes& episodes = windows.episodes();
  Shape picture;
  if (!options_.pixels.empty()) {
    pixels_ = episodes.column_index(options_.pixels);
    const Column& pixels = episodes.column(*pixels_);
    check(pixels.dtype == DType::uint8 && pixels.row.rank() == 3, "column ", pixels.name, " of ",
          episodes.name(), " holds ", pixels.dtype, " of shape ", pixels.row,
          ", bytes of (height, width, channels) are needed");
    picture = pixels.row;
  }
  action_ = episodes.column_index(options_.action);
  const Column& action = episodes.column(action_);
  check(action.width() == action_scale_.width(), "column ", action.name, " of ", episodes.name(),
        " has ", action.width(), " numbers a row, its statistics have ", action_scale_.width());
  check(options_.batch > 0 && options_.prefetch >= 0 && options_.threads > 0,
        "a loader with batches of ", options_.batch, ", ", options_.prefetch, " made ahead by ",
        options_.threads, " threads was asked for");
  check(windows.size() >= options_.batch, episodes.name(), " has ", windows.size(), " windows of ",
        windows.shape().num_steps, " steps with frameskip ", windows.shape().frameskip,
        " in these episodes, too few for a batch of ", options_.batch);

  part_ = options_.part == 0 ? options_.batch : options_.part;
  check(options_.first >= 0 && part_ > 0 && options_.first <= options_.batch - part_,
        "a loader of ", part_, " windows from ", options_.first,
        " on was asked for, of batches of ", options_.batch);

  i64 observed = 0;
  if (!options_.observation.empty()) {
    observation_ = episodes.column_index(options_.observation);
    observed = episodes.column(*observation_).width();
  }

  const i64 steps = windows.shape().num_steps;
  orders_ = std::make_unique<WindowOrders>(windows, options_.order, options_.seed,
                                           pixels_.value_or(action_), options_.group_bytes);
  slots_.resize(static_cast<std::size_t>(std::max<i64>(options_.prefetch, options_.threads) + 1));
  for (Slot& made : slots_) {
    WindowBatch& batch = made.batch;
    if (pixels_) {
      batch.pixels = Tensor(DType::uint8, {part_, steps, picture[0], picture[1], picture[2]});
    }
    batch.action = Tensor(DType::f32, {part_, steps, windows.shape().frameskip * action.width()});
    if (observation_) batch.observation = Tensor(DType::f32, {part_, steps, observed});
  }
  for (int i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { make_ahead(); });
}

WindowLoader::~WindowLoader() {
  {
    const std::lock_guard guard(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::vector<i64> WindowLoader::windows_of(i64 step) const {
  check(step >= 0, "step ", step, " of a loader was asked for");
  const i64 epoch = step / steps_per_epoch();
  const i64 first = step % steps_per_epoch() * options_.batch + options_.first;
  const auto order = orders_->of_epoch(epoch);
  std::vector<i64> result(static_cast<std::size_t>(part_));
  for (std::size_t i = 0; i < result.size(); ++i) {
    result[i] = order->window(first + static_cast<i64>(i));
  }
  return result;
}

void WindowLoader::fill(i64 step, WindowBatch& batch) const {
  batch.windows = windows_of(step);
  const i64 pixel_bytes = batch.pixels.byte_count() / part_;
  const i64 action_numbers = batch.action.numel() / part_;
  for (i64 i = 0; i < part_; ++i) {
    const i64 window = batch.windows[static_cast<std::size_t>(i)];
    if (pixels_) {
      windows_->read_observations(window, *pixels_, batch.pixels.bytes() + i * pixel_bytes);
    }
    float* action = batch.action.data<float>() + i * action_numbers;
    windows_->read_actions_f32(window, action_, action);
    action_scale_.normalise({action, static_cast<std::size_t>(action_numbers)});
    if (observation_) {
      const i64 numbers = batch.observation.numel() / part_;
      windows_->read_observations_f32(window, *observation_,
                                      batch.observation.data<float>() + i * numbers);
    }
  }
}

void WindowLoader::make_ahead() {
  std::unique_lock lock(mutex_);
  for (;;) {
    // the slot in use is never the one to fill: next_ stays within a round of wanted_
    changed_.wait(lock, [&] {
      return ends_ || (!failure_ && next_ >= 0 &&
                       next_ < wanted_ + static_cast<i64>(slots_.size()) && !slot(next_).busy);
    });
    if (ends_) return;
    const i64 step = next_++;
    Slot& made = slot(step);
    if (made.batch.step == step) continue;
    made.batch.step = -1;
    made.busy = true;
    lock.unlock();
    std::exception_ptr failure;
    try {
      fill(step, made.batch);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    made.busy = false;
    if (failure) {
      failure_ = failure;
    } else {
      made.batch.step = step;
    }
    changed_.notify_all();
  }
}

const WindowBatch& WindowLoader::batch(i64 step) {
  check(step >= 0, "step ", step, " of a loader was asked for");
  std::unique_lock lock(mutex_);
  // neither ready nor about to be: start again from here
  if (next_ < 0 || step < wanted_ || step > next_) next_ = step;
  wanted_ = step;
  changed_.notify_all();
  changed_.wait(lock, [&] { return failure_ || slot(step).batch.step == step; });
  if (failure_) {
    next_ = -1;
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
  return slot(step).batch;
}

}  // namespace orrery
