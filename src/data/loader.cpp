#include "data/loader.h"

#include <utility>

#include "base/error.h"
#include "base/random.h"

namespace orrery {

WindowLoader::WindowLoader(const Windows& windows, ZScore action_scale, LoaderOptions options)
    : windows_(&windows), action_scale_(std::move(action_scale)), options_(std::move(options)) {
  const Episodes& episodes = windows.episodes();
  pixels_ = episodes.column_index(options_.pixels);
  action_ = episodes.column_index(options_.action);
  const Column& pixels = episodes.column(pixels_);
  const Column& action = episodes.column(action_);
  check(pixels.dtype == DType::uint8 && pixels.row.rank() == 3, "column ", pixels.name, " of ",
        episodes.name(), " holds ", pixels.dtype, " of shape ", pixels.row,
        ", bytes of (height, width, channels) are needed");
  check(action.width() == action_scale_.width(), "column ", action.name, " of ", episodes.name(),
        " has ", action.width(), " numbers a row, its statistics have ", action_scale_.width());
  check(options_.batch > 0 && options_.prefetch >= 0, "a loader with batches of ", options_.batch,
        " and ", options_.prefetch, " made ahead was asked for");
  check(windows.size() >= options_.batch, episodes.name(), " has ", windows.size(), " windows of ",
        windows.shape().num_steps, " steps with frameskip ", windows.shape().frameskip,
        " in these episodes, too few for a batch of ", options_.batch);

  const i64 steps = windows.shape().num_steps;
  slots_.resize(static_cast<std::size_t>(options_.prefetch + 1));
  for (WindowBatch& batch : slots_) {
    batch.pixels =
        Tensor(DType::uint8, {options_.batch, steps, pixels.row[0], pixels.row[1], pixels.row[2]});
    batch.action =
        Tensor(DType::f32, {options_.batch, steps, windows.shape().frameskip * action.width()});
  }
  thread_ = std::thread([this] { make_ahead(); });
}

WindowLoader::~WindowLoader() {
  {
    const std::lock_guard guard(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::vector<i64> WindowLoader::windows_of(i64 step) const {
  check(step >= 0, "step ", step, " of a loader was asked for");
  const i64 epoch = step / steps_per_epoch();
  const i64 first = step % steps_per_epoch() * options_.batch;
  // 0: keeps the order apart from split_episodes' draw
  const u64 key = mix(mix(mix(options_.seed, static_cast<u64>(Stream::data_order)), 0),
                      static_cast<u64>(epoch));
  std::vector<i64> result(static_cast<std::size_t>(options_.batch));
  for (std::size_t i = 0; i < result.size(); ++i) {
    const u64 place = static_cast<u64>(first) + i;
    result[i] = static_cast<i64>(
        options_.shuffle ? permuted_index(key, static_cast<u64>(windows_->size()), place) : place);
  }
  return result;
}

void WindowLoader::fill(i64 step, WindowBatch& batch) const {
  batch.windows = windows_of(step);
  const i64 pixel_bytes = batch.pixels.byte_count() / options_.batch;
  const i64 action_numbers = batch.action.numel() / options_.batch;
  for (i64 i = 0; i < options_.batch; ++i) {
    const i64 window = batch.windows[static_cast<std::size_t>(i)];
    windows_->read_observations(window, pixels_, batch.pixels.bytes() + i * pixel_bytes);
    float* action = batch.action.data<float>() + i * action_numbers;
    windows_->read_actions_f32(window, action_, action);
    action_scale_.normalise({action, static_cast<std::size_t>(action_numbers)});
  }
}

void WindowLoader::make_ahead() {
  std::unique_lock lock(mutex_);
  for (;;) {
    // the slot in use is never the one to fill: next_ stays within a round of wanted_
    changed_.wait(lock, [&] {
      return ends_ ||
             (!failure_ && next_ >= 0 && next_ < wanted_ + static_cast<i64>(slots_.size()));
    });
    if (ends_) return;
    const i64 step = next_++;
    WindowBatch& batch = slot(step);
    if (batch.step == step) continue;
    batch.step = -1;
    lock.unlock();
    std::exception_ptr failure;
    try {
      fill(step, batch);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (failure) {
      failure_ = failure;
    } else {
      batch.step = step;
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
  changed_.wait(lock, [&] { return failure_ || slot(step).step == step; });
  if (failure_) {
    next_ = -1;
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
  return slot(step);
}

}  // namespace orrery
