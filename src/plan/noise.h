#pragma once

#include <deque>
#include <span>

#include "plan/planner.h"
#include "tensor/tensor.h"

namespace orrery {

// Where a planner's standard normal numbers come from.
template <typename T>
class BasicNoise {
 public:
  virtual ~BasicNoise() = default;

  // Fills out [group, samples, horizon, action_dim], contiguous, for one iteration; keys has one
  // entry per environment of the group.
  virtual void fill(Context& ctx, std::span<const PlanKey> keys, i64 iteration, View<T, 4> out) = 0;
};

// Counter-based: number i of a candidate block is
//
//   normal(seed, stream(environment, plan, iteration), i),   i = (sample * horizon + t) *
//   action_dim + d
//
// so it does not depend on threads, grouping or the number of samples, and every backend draws the
// same. In double the same float numbers are widened. Allocates nothing. steady, as base/random.h
template <typename T>
class BasicCounterNoise final : public BasicNoise<T> {
 public:
  explicit BasicCounterNoise(u64 seed) : seed_(seed) {}
  void fill(Context& ctx, std::span<const PlanKey> keys, i64 iteration, View<T, 4> out) override;

 private:
  u64 seed_;
};

// the stream that CounterNoise reads for one environment, plan and iteration. exact
u64 noise_stream(PlanKey key, i64 iteration);

// Recorded: hands out given arrays, first in, first out; each must have exactly the shape asked
// for. For repeating a run of another implementation. exact
template <typename T>
class BasicRecordedNoise final : public BasicNoise<T> {
 public:
  void push(Tensor draws) { queue_.push_back(std::move(draws)); }
  std::size_t left() const { return queue_.size(); }
  void fill(Context& ctx, std::span<const PlanKey> keys, i64 iteration, View<T, 4> out) override;

 private:
  std::deque<Tensor> queue_;
};

using Noise = BasicNoise<float>;
using CounterNoise = BasicCounterNoise<float>;
using RecordedNoise = BasicRecordedNoise<float>;

}  // namespace orrery
