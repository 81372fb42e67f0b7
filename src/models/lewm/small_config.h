#pragma once

#include "models/lewm/config.h"

namespace orrery::lewm {

// For tests: a model that trains in milliseconds, on frames of two by two patches and blocks of
// four numbers.
inline Config small_config(i64 image_size = 8) {
  Config config;
  config.encoder = {.image_size = image_size,
                    .patch = image_size / 2,
                    .hidden = 8,
                    .layers = 2,
                    .heads = 2,
                    .mlp = 12};
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

}  // namespace orrery::lewm
