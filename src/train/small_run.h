#pragma once

#include <cmath>

#include "base/philox.h"
#include "base/random.h"
#include "train/batches.h"
#include "train/settings.h"

namespace orrery::train {

// A model, settings and data so small that tests train in milliseconds.

inline lewm::Config small_config() {
  lewm::Config config;
  config.encoder = {.image_size = 8, .patch = 4, .hidden = 8, .layers = 2, .heads = 2, .mlp = 12};
  config.predictor = {.window = 3,
                      .input = 6,
                      .hidden = 6,
                      .output = 6,
                      .depth = 1,
                      .heads = 2,
                      .head_dim = 4,
                      .mlp = 10,
                      .dropout = 0.1f};
  config.action = {.input = 4, .smoothed = 3, .output = 6, .mlp_scale = 2};
  config.projector = {.input = 8, .hidden = 10, .output = 6};
  config.pred_proj = {.input = 6, .hidden = 10, .output = 6};
  return config;
}

// pictures and actions drawn by their index
class Drawn : public BatchSource {
 public:
  explicit Drawn(i64 batch)
      : pixels_(DType::uint8, {batch, 4, 8, 8, 3}),
        actions_(DType::f32, {batch, 4, 4}),
        latents_(DType::f32, {batch, 4, 6}) {}

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

 private:
  void fill(u64 key) {
    for (i64 i = 0; i < pixels_.numel(); ++i) {
      pixels_.data<u8>()[i] =
          constant ? u8{128} : static_cast<u8>(philox(11, key, static_cast<u64>(i))[0]);
    }
    fill_normal(12, key, 0, actions_.numel(), actions_.data<float>());
    fill_normal(13, key, 0, latents_.numel(), latents_.data<float>());
  }
  Batch views() const {
    Batch batch{.actions = actions_.view<float, 3>()};
    if (encoded) {
      batch.latents = latents_.view<float, 3>();
    } else {
      batch.pixels = pixels_.view<u8, 5>();
    }
    return batch;
  }

  Tensor pixels_, actions_, latents_;
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
