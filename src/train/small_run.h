#pragma once

#include <cmath>

#include "base/philox.h"
#include "base/random.h"
#include "models/lewm/small_config.h"
#include "train/batches.h"
#include "train/settings.h"

namespace orrery::train {

// A model, settings and data so small that tests train in milliseconds.

using lewm::small_config;

// Windows of pictures and actions, drawn by the batch's index and their place in it; a part of each
// batch is made.
class Drawn : public BatchSource {
 public:
  explicit Drawn(i64 batch) : Drawn(BatchPart{0, batch}) {}
  explicit Drawn(const BatchPart& part, i64 steps = 4)
      : part_(part),
        pixels_(DType::uint8, {part.count, steps, 8, 8, 3}),
        actions_(DType::f32, {part.count, steps, 4}),
        latents_(DType::f32, {part.count, steps, 6}),
        observations_(DType::f32, {part.count, steps, kObserved}) {}

  static constexpr i64 kObserved = 3;  // numbers of an observation

  i64 training_windows() const override { return 100; }
  i64 validation_windows() const override { return 20; }
  Batch training_batch(i64 step) override {
    fill(static_cast<u64>(step));
    if (step == poisoned_step) actions_.data<float>()[0] = INFINITY;
    return views();
  }
  Batch validation_batch(i64 index) override {
    fill(static_cast<u64>(index) + 1000000);
    return views();
  }

  i64 poisoned_step = -1;
  bool constant = false;  // every frame the same: nothing to tell apart
  bool encoded = false;   // latents in place of pixels
  bool observed = false;  // numbers beside pixels

 private:
  void fill(u64 key) {
    const i64 pixels = pixels_.numel() / part_.count, actions = actions_.numel() / part_.count;
    const i64 latents = latents_.numel() / part_.count;
    const i64 seen = observations_.numel() / part_.count;
    for (i64 w = 0; w < part_.count; ++w) {
      const u64 window = mix(key, static_cast<u64>(part_.first + w));
      for (i64 i = 0; i < pixels; ++i) {
        pixels_.data<u8>()[w * pixels + i] =
            constant ? u8{128} : static_cast<u8>(philox(11, window, static_cast<u64>(i))[0]);
      }
      fill_normal(12, window, 0, actions, actions_.data<float>() + w * actions);
      fill_normal(13, window, 0, latents, latents_.data<float>() + w * latents);
      fill_normal(14, window, 0, seen, observations_.data<float>() + w * seen);
    }
  }
  Batch views() const {
    Batch batch{.actions = actions_.view<float, 3>()};
    if (encoded) {
      batch.latents = latents_.view<float, 3>();
    } else {
      batch.pixels = pixels_.view<u8, 5>();
    }
    if (observed) batch.observations = observations_.view<float, 3>();
    return batch;
  }

  BatchPart part_;
  Tensor pixels_, actions_, latents_, observations_;
};

inline TrainingSettings small_settings() {
  TrainingSettings settings;
  settings.steps = 12;
  settings.batch = 5;
  settings.lr = 1e-3;
  settings.losses.projections = 16;
  settings.validation_every = 4;
  settings.validation_batches = 2;
  settings.checkpoint_every = 5;
  settings.log_every = 1;
  lewm::Config model = small_config();
  settle(settings, model);
  return settings;
}

}  // namespace orrery::train
