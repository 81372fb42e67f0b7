#include "data/played_episodes.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/random.h"
#include "data/drawing.h"
#include "env/environment.h"

namespace orrery {

namespace {

std::vector<i64> lengths_of(const Episodes& episodes) {
  std::vector<i64> lengths;
  for (i64 e = 0; e < episodes.count(); ++e) lengths.push_back(episodes.length(e));
  return lengths;
}

// idle environments that are kept: as many as threads play at the same time on most machines
constexpr std::size_t kMostIdle = 64;

// what a recording's episode may have (RecordOptions::max_steps)
constexpr i64 kMostActions = 1000000;

template <typename T>
std::byte* put(T value, std::byte* to) {
  std::memcpy(to, &value, sizeof value);
  return to + sizeof value;
}

bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

class PlayedEpisodes final : public Episodes {
 public:
  PlayedEpisodes(std::unique_ptr<Episodes> source, const Drawing& drawing)
      : Episodes(source->name(), lengths_of(*source)),
        source_(std::move(source)),
        recorded_(drawing),
        states_(static_cast<std::size_t>(count())),
        once_(std::make_unique<std::once_flag[]>(static_cast<std::size_t>(count()))) {
    columns_ = source_->columns();
    refused_ = source_->refused();
    drawing_ = source_->drawing();
    try {
      learn_to_play();
    } catch (const Error& error) {
      refused_.push_back({drawing.state, error.what()});
    }
  }

  i64 chunk_rows(i64 index) const override {
    return is_state(index) ? 1 : source_->chunk_rows(index);
  }

 protected:
  void do_read(i64 index, i64 begin, i64 end, i64 stride, std::byte* out) const override {
    if (!is_state(index)) return source_->read(index, begin, end, stride, out);
    i64 episode = episode_of(begin);
    play(episode, episode_of(end - 1) + 1);
    const i64 row_bytes = column(index).row_bytes();
    for (i64 row = begin; row < end; row += stride, out += row_bytes) {
      while (row >= offset(episode) + length(episode)) ++episode;
      const Tensor& states = states_[static_cast<std::size_t>(episode)];
      std::memcpy(out, states.bytes() + (row - offset(episode)) * row_bytes,
                  static_cast<std::size_t>(row_bytes));
    }
  }

 private:
  bool is_state(i64 index) const { return index == static_cast<i64>(source_->columns().size()); }

  i64 column_of(const char* name, DType dtype, i64 width) const {
    const i64 index = column_index(name);
    check(column(index).dtype == dtype && column(index).width() == width, "its column ", name,
          " holds ", column(index).dtype, " ", column(index).row, ", ", width, " of ", dtype,
          " are needed");
    return index;
  }

  void learn_to_play() {
    auto environment = make_environment(recorded_.environment);
    environment->reset(0, recorded_.reset);  // factors that it does not have are told here
    const i64 dim = environment->state_dim();
    action_ = column_of("action", DType::f32, environment->action_dim());
    number_ = column_of("ep_idx", DType::int32, 1);
    start_ = column_of(kStartColumn, DType::f64, dim);
    end_ = column_of(kEndColumn, DType::f64, dim);
    columns_.push_back({recorded_.state, environment->state_dtype(), {dim}});
    idle_.push_back(std::move(environment));
  }

  // the first reader of an episode plays it, others wait for it; many at once share the cores
  void play(i64 first, i64 end) const {
    const i64 several = std::min<i64>(end - first, std::thread::hardware_concurrency());
    if (several < 2) {
      for (i64 e = first; e < end; ++e) play_once(e);
      return;
    }
    std::atomic<i64> next = first;
    std::mutex mutex;
    std::exception_ptr failure;
    const auto work = [&] {
      try {
        for (i64 e = next++; e < end; e = next++) play_once(e);
      } catch (...) {
        const std::lock_guard guard(mutex);
        failure = std::current_exception();
        next = end;
      }
    };
    std::vector<std::thread> others;
    for (i64 i = 1; i < several; ++i) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
    if (failure) std::rethrow_exception(failure);
  }

  // after an Error the next reader tries again
  void play_once(i64 episode) const {
    std::call_once(once_[static_cast<std::size_t>(episode)], [&] {
      std::unique_ptr<Environment> environment = take_environment();
      simulate(episode, *environment);
      const std::lock_guard guard(mutex_);
      if (idle_.size() < kMostIdle) idle_.push_back(std::move(environment));
    });
  }

  void simulate(i64 episode, Environment& environment) const {
    const i64 first = offset(episode), length = this->length(episode);
    if (length == 0) return;
    check(length <= kMostActions + 1, "episode ", episode, " of ", name(), " has ", length,
          " rows; up to ", kMostActions, " actions are played");
    const auto dim = static_cast<std::size_t>(environment.state_dim());
    i32 number = 0;
    std::vector<double> start(dim), end(dim), state(dim);
    source_->read(number_, first, first + 1, 1, reinterpret_cast<std::byte*>(&number));
    source_->read_f64(start_, first, first + 1, 1, start.data());
    source_->read_f64(end_, first, first + 1, 1, end.data());
    check(number >= 0, name(), ": ep_idx of row ", first, " is ", number);
    std::vector<float> actions(static_cast<std::size_t>(length * environment.action_dim()));
    source_->read_f32(action_, first, first + length, 1, actions.data());
    Tensor states(columns_.back().dtype, {length, columns_.back().width()});
    std::byte* to = states.bytes();
    try {
      environment.reset(mix(recorded_.seed, static_cast<u64>(number)), recorded_.reset);
      if (!std::isnan(start[0])) environment.set_state(start);
      const auto width = static_cast<std::size_t>(environment.action_dim());
      for (i64 t = 0;; ++t) {
        environment.state(state);
        for (const double value : state) {
          to = states.dtype() == DType::f64 ? put(value, to) : put(static_cast<float>(value), to);
        }
        if (t + 1 == length) break;
        const std::span<const float> action(&actions[static_cast<std::size_t>(t) * width], width);
        for (const float component : action) {
          check(std::isfinite(component), "action ", t, " is ", component);
        }
        environment.step(action);
      }
    } catch (const Error& error) {
      fail("cannot play episode ", episode, " of ", name(), ": ", error.what());
    }
    for (std::size_t i = 0; i < dim; ++i) {
      check(same_bits(state[i], end[i]), name(), ": episode ", episode, " played again ends with ",
            state[i], " as number ", i, " of its state, it was recorded with ", end[i],
            "; another build of the simulator moves otherwise");
    }
    states_[static_cast<std::size_t>(episode)] = std::move(states);
  }

  std::unique_ptr<Environment> take_environment() const {
    {
      const std::lock_guard guard(mutex_);
      if (!idle_.empty()) {
        auto environment = std::move(idle_.back());
        idle_.pop_back();
        return environment;
      }
    }
    return make_environment(recorded_.environment);
  }

  std::unique_ptr<Episodes> source_;
  Drawing recorded_;
  i64 action_ = -1, number_ = -1, start_ = -1, end_ = -1;  // columns of the source

  // by episode
  mutable std::vector<Tensor> states_;  // empty until it was played
  std::unique_ptr<std::once_flag[]> once_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Environment>> idle_;
};

}  // namespace

std::unique_ptr<Episodes> played(std::unique_ptr<Episodes> source) {
  if (source->drawing().empty()) return source;
  std::optional<Drawing> drawing;
  try {
    drawing = drawing_from_text(source->drawing(), source->name());
  } catch (const Error&) {
    return source;  // who draws its pictures says why
  }
  if (source->find_column(drawing->state) >= 0 || source->find_column(kStartColumn) < 0) {
    return source;
  }
  return std::make_unique<PlayedEpisodes>(std::move(source), *drawing);
}

}  // namespace orrery
