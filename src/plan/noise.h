#pragma once

#include <deque>

#include "base/random.h"
#include "plan/planner.h"
#include "tensor/tensor.h"

namespace orrery {

// Where a planner's random numbers come from. Everything lies where the context's
// operations run.
template <typename T>
class BasicNoise {
 public:
  virtual ~BasicNoise() = default;

  // Fills out [group, samples, ...], contiguous, for one iteration with standard normal numbers.
  // keys [group] says which plan of
  // which environment draws, iteration [1] is how many iterations went before.
  virtual void fill(Context& ctx, View<const PlanKey, 1> keys, View<const i32, 1> iteration,
                    View<T, 4> out) = 0;
  // the same with uniform numbers of [0, 1)
  virtual void fill_uniform(Context& ctx, View<const PlanKey, 1> keys, View<const i32, 1> iteration,
                            View<T, 4> out) = 0;

  // whether a fill that was captured gives the right numbers when it is replayed
  virtual bool can_be_captured() const { return true; }
};

// the stream that CounterNoise reads for one environment, plan and iteration. exact
ORRERY_HD inline u64 noise_stream(PlanKey key, i64 iteration) {
  u64 stream = static_cast<u64>(Stream::planner_noise);
  for (const i64 part : {key.environment, key.plan, iteration}) {
    stream = mix(stream, static_cast<u64>(part));
  }
  return stream;
}

// Counter-based: number i of an environment's block out[e] (i counts through the memory) is
//
//   normal(seed, stream(environment, plan, iteration), i), or uniform(...)
//
// so it does not depend on threads, grouping or the number of samples, and every backend draws the
// same. In double the same float numbers are widened. Allocates nothing. steady, as base/random.h
template <typename T>
class BasicCounterNoise final : public BasicNoise<T> {
 public:
  explicit BasicCounterNoise(u64 seed) : seed_(seed) {}
  void fill(Context& ctx, View<const PlanKey, 1> keys, View<const i32, 1> iteration,
            View<T, 4> out) override;
  void fill_uniform(Context& ctx, View<const PlanKey, 1> keys, View<const i32, 1> iteration,
                    View<T, 4> out) override;

 private:
  u64 seed_;
};

// Recorded: hands out given arrays, first in, first out; each must have exactly the shape asked
// for. For repeating a run of another implementation; cannot be captured. exact
template <typename T>
class BasicRecordedNoise final : public BasicNoise<T> {
 public:
  void push(Tensor draws) { queue_.push_back(std::move(draws)); }
  std::size_t left() const { return queue_.size(); }
  void fill(Context& ctx, View<const PlanKey, 1> keys, View<const i32, 1> iteration,
            View<T, 4> out) override;
  void fill_uniform(Context& ctx, View<const PlanKey, 1> keys, View<const i32, 1> iteration,
                    View<T, 4> out) override {
    fill(ctx, keys, iteration, out);
  }

  bool can_be_captured() const override { return false; }

 private:
  std::deque<Tensor> queue_;
  i64 taken_ = 0;
};

using Noise = BasicNoise<float>;
using CounterNoise = BasicCounterNoise<float>;
using RecordedNoise = BasicRecordedNoise<float>;

}  // namespace orrery
