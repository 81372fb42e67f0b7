#pragma once

#include "models/lewm/config.h"

namespace orrery::bench {

// The least that a piece of work must do, by formula.
//
//   flops   f32 multiplications and additions of its matrix products; 0 for work that has none
//   bytes   read once and written once: inputs, weights, results. What is made on the way is taken
//           to stay in the caches
struct Work {
  double flops = 0;
  double bytes = 0;

  Work& operator+=(const Work& other) {
    flops += other.flops;
    bytes += other.bytes;
    return *this;
  }
  friend Work operator+(Work a, const Work& b) { return a += b; }
  friend Work operator*(double times, const Work& work) {
    return {times * work.flops, times * work.bytes};
  }
};

// y [rows, outputs] = x [rows, inputs] W^T
Work linear_work(i64 rows, i64 inputs, i64 outputs);

// scores and weighted sum of values; a causal query t sees t + 1 + keys - queries keys
Work attention_work(i64 batch, i64 queries, i64 keys, i64 heads, i64 dim, bool causal);

// One byte frame of the model's own size to its latent, `frames` times with the weights read once.
// After the last block's keys and values only the CLS tokens are needed.
Work encode_work(const lewm::Config& config, i64 frames);

// Action encoder, predictor and head for all `time` frames of `batch` windows.
Work predict_work(const lewm::Config& config, i64 batch, i64 time);

// The same over `blocks` predictions from one context frame: while the window grows only its newest
// frame is new, afterwards all of it is; of the last block only the newest frame is needed after
// keys and values.
Work rollout_work(const lewm::Config& config, i64 samples, i64 blocks);

// Encode frame and goal, then `iterations` of rollouts.
Work plan_work(const lewm::Config& config, i64 samples, i64 iterations, i64 blocks);

// Forward as above with every frame of a window predicted, and backward at twice that (gradients of
// inputs and of weights; the patch embedding needs no gradient of its input); SIGReg's projections
// there and back; AdamW reads and writes parameters and two moments.
Work training_work(const lewm::Config& config, i64 windows, i64 frames, i64 projections);

}  // namespace orrery::bench
