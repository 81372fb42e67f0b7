#include "data/loader.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/random.h"

namespace orrery {

namespace {

// Windows that a thread takes at once: 16 frames of the published shape, about 2 ms of drawing. A
// batch of 128 keeps 32 threads busy.
constexpr i64 kWindowsEach = 4;

}  // namespace

WindowLoader::WindowLoader(const Windows& windows, ZScore action_scale, LoaderOptions options)
    : windows_(&windows), action_scale_(std::move(action_scale)), options_(std::move(options)) {
  const Episodes& episodes = windows.episodes();
  if (!options_.pixels.empty()) {
    pixels_ = episodes.column_index(options_.pixels);
    const Column& pixels = episodes.column(*pixels_);
    check(pixels.dtype == DType::uint8 && pixels.row.rank() == 3, "column ", pixels.name, " of ",
          episodes.name(), " holds ", pixels.dtype, " of shape ", pixels.row,
          ", bytes of (height, width, channels) are needed");
    picture_ = pixels.row;
  }
  action_ = episodes.column_index(options_.action);
  const Column& action = episodes.column(action_);
  check(action.width() == action_scale_.width(), "column ", action.name, " of ", episodes.name(),
        " has ", action.width(), " numbers a row, its statistics have ", action_scale_.width());
  check(options_.batch > 0 && options_.prefetch >= 0 && options_.kept > 0 && options_.threads > 0,
        "a loader with batches of ", options_.batch, ", ", options_.prefetch, " made ahead by ",
        options_.threads, " threads was asked for");
  check(windows.size() >= options_.batch, episodes.name(), " has ", windows.size(), " windows of ",
        windows.shape().num_steps, " steps with frameskip ", windows.shape().frameskip,
        " in these episodes, too few for a batch of ", options_.batch);

  part_ = options_.part == 0 ? options_.batch : options_.part;
  check(options_.first >= 0 && part_ > 0 && options_.first <= options_.batch - part_,
        "a loader of ", part_, " windows from ", options_.first,
        " on was asked for, of batches of ", options_.batch);

  if (!options_.observation.empty()) {
    observation_ = episodes.column_index(options_.observation);
    observed_ = episodes.column(*observation_).width();
  }

  action_width_ = windows.shape().frameskip * action.width();
  orders_ = std::make_unique<WindowOrders>(windows, options_.order, options_.seed,
                                           pixels_.value_or(action_), options_.group_bytes);
  slots_.resize(static_cast<std::size_t>(options_.prefetch + options_.kept));
  for (Slot& one : slots_) {
    Arena measure;
    lay_out(measure, one.batch);
    one.memory = options_.device != nullptr ? Block::staging(*options_.device, measure.used())
                                            : Block(measure.used());
    Arena arena(one.memory);
    lay_out(arena, one.batch);
    one.batch.windows.resize(static_cast<std::size_t>(part_));
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

void WindowLoader::lay_out(Arena& arena, WindowBatch& batch) const {
  const i64 steps = windows_->shape().num_steps;
  if (pixels_) {
    batch.pixels = arena.take<u8, 5>({part_, steps, picture_[0], picture_[1], picture_[2]});
  }
  batch.action = arena.take<float, 3>({part_, steps, action_width_});
  if (observation_) batch.observation = arena.take<float, 3>({part_, steps, observed_});
}

i64 WindowLoader::window_at(const WindowOrders::Epoch& order, i64 step, i64 i) const {
  return order.window(step % steps_per_epoch() * options_.batch + options_.first + i);
}

std::vector<i64> WindowLoader::windows_of(i64 step) const {
  check(step >= 0, "step ", step, " of a loader was asked for");
  const auto order = orders_->of_epoch(step / steps_per_epoch());
  std::vector<i64> result(static_cast<std::size_t>(part_));
  for (i64 i = 0; i < part_; ++i) result[static_cast<std::size_t>(i)] = window_at(*order, step, i);
  return result;
}

void WindowLoader::fill(i64 step, i64 begin, i64 end, WindowBatch& batch) const {
  const auto order = orders_->of_epoch(step / steps_per_epoch());
  for (i64 i = begin; i < end; ++i) {
    const i64 window = window_at(*order, step, i);
    batch.windows[static_cast<std::size_t>(i)] = window;
    if (pixels_) {
      windows_->read_observations(window, *pixels_,
                                  reinterpret_cast<std::byte*>(batch.pixels[i].data()));
    }
    const View<float, 2> action = batch.action[i];
    windows_->read_actions_f32(window, action_, action.data());
    action_scale_.normalise({action.data(), static_cast<std::size_t>(action.numel())});
    if (observation_) {
      windows_->read_observations_f32(window, *observation_, batch.observation[i].data());
    }
  }
}

bool WindowLoader::has_work() const {
  // slots in use are never the ones to fill
  if (failure_ || next_ < 0 || next_ > wanted_ + options_.prefetch) return false;
  const Slot& next = slot(next_);
  return next.batch.step == next_ || next.making == next_ || next.busy == 0;
}

void WindowLoader::make_ahead() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ends_ || has_work(); });
    if (ends_) return;
    const i64 step = next_;
    Slot& one = slot(step);
    if (one.making != step && one.batch.step != step) {
      one.batch.step = -1;
      one.making = step;
      one.taken = one.made = 0;
    }
    if (one.batch.step == step || one.taken == part_) {
      ++next_;
      continue;
    }
    const i64 begin = one.taken, end = std::min(part_, begin + kWindowsEach);
    one.taken = end;
    if (end == part_) ++next_;
    ++one.busy;
    lock.unlock();
    std::exception_ptr failure;
    try {
      fill(step, begin, end, one.batch);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    --one.busy;
    if (failure) {
      failure_ = failure;
      one.making = -1;  // what others make of it is no whole batch
    } else if (one.making == step) {
      one.made += end - begin;
      if (one.made == part_) {
        one.batch.step = step;
        one.making = -1;
      }
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
