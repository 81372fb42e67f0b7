#pragma once

#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "ops/precision.h"
#include "train/groups.h"
#include "train/losses.h"
#include "train/readout.h"

namespace orrery::train {

// The `training` part of a configuration file; the defaults are LeWM's published ones.
struct TrainingSettings {
  i64 steps = 0;  // 0: as many as `epochs` passes over the training windows have
  i64 epochs = 10;
  i64 batch = 128;
  i64 accumulate = 1;   // batches whose mean gradient makes a step
  i64 num_steps = 0;    // frames of a window; 0: as many as history and prediction need
  i64 history = 0;      // frames that the predictor sees; 0: the model's num_frames
  lewm::Unroll unroll;  // prediction_steps, prediction_context
  i64 frameskip = 5;    // recorded rows between them
  // of training: shuffled, or by_chunk for recordings larger than memory (data/window_order.h)
  std::string window_order = "shuffled";
  double lr = 5e-5;
  double weight_decay = 1e-3;
  double warmup_fraction = 0.01;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double clip = 1.0;
  // of products: f32, or bf16 with f32 weights, gradients, norms and losses
  Precision precision = Precision::f32;
  std::vector<ParameterGroup> groups;  // parameters with rates or decay of their own
  // A moving average of the weights, d = min(ema_decay, (1 + t) / (10 + t)) after step t; 0: none.
  // Where there is one it is what is validated, examined and kept as the best.
  double ema_decay = 0.0;
  // Training batches that the weights, at rest, are shown before they are judged or written, so
  // that BatchNorm's running statistics are theirs. 0, as published: those of the last steps, which
  // lag behind while weights move fast.
  i64 settle_batches = 0;
  // lewm or pldm: where the weights of the terms begin, and whether inverse dynamics is learned
  std::string objective = "lewm";
  LossSettings losses;
  i64 inverse_dynamics_hidden = 0;  // width of its head (published 512); 0: none
  double inverse_dynamics_lr = 5e-5;
  double inverse_dynamics_weight = 0;  // of its gradient by the latents
  ReadoutSettings readout;             // of recorded state from latents
  // what learns: all, or dynamics: the encoder and its projector stay as they begin, every frame is
  // encoded once, and the predictor, its projector and the action encoder learn from latents
  std::string learn = "all";
  u64 seed = 3072;
  std::string initialization = "published";  // or "scaled", for narrow encoders
  double validation_fraction = 0.1;          // of the episodes
  i64 validation_every = 500;                // steps; 0: never
  i64 validation_batches = 4;
  i64 checkpoint_every = 500;
  i64 keep_last = 2;                   // checkpoints
  std::string best_by = "prediction";  // weights_best.safetensors are best by this measure
  i64 log_every = 10;
  // A latent this poor has collapsed and stops the run: participation ratio of its covariance
  // (1: a line), mean standard deviation of its numbers (0: a point). SIGReg aims at D and 1.
  double min_effective_rank = 1.1;
  double min_latent_std = 0.02;
  // Examinations of eval/examiners.h: held-out frames that latents are studied on with every
  // validation, 0 for none; goals that are tried every so many steps, with a planner that searches
  // about a tenth of what the published protocol does.
  i64 probe_frames = 1000;
  i64 success_every = 0;  // steps; 0: never
  i64 success_episodes = 20;
  i64 success_samples = 100;
  i64 success_iterations = 10;
  std::string success_env;   // empty: by the columns of the recording
  std::string success_data;  // recording with starts and goals; empty: the held-out episodes
};

// Unknown keys and values out of range are errors that name the key; `where` names the file.
// Weights of loss terms are `<term>_weight`, as sigreg_weight or temporal_alignment_weight.
TrainingSettings settings_from_json(const nlohmann::json& node, const std::string& where);
nlohmann::json json_from_settings(const TrainingSettings& settings);

bool learns_dynamics(const TrainingSettings& settings);

// "training.log_every" and others that a resumed run may change: they do not reach the weights.
// Beside settings: the name of the recording's environment.
std::set<std::string> settings_free_to_change();

// AdamW of a step with this learning rate.
AdamW adamw_of(const TrainingSettings& settings, double lr);

// What an objective starts from; other settings stay. Error: a name other than lewm and pldm.
//
//   lewm   prediction 1, SIGReg 0.09
//   pldm   prediction 1, std 18, cov 12, temporal_alignment 0.2, std_time 0.7 (Sobal et al. as
//          stable-worldmodel publishes it), and an inverse dynamics head of 512 that reads only
void choose_objective(TrainingSettings& settings, const std::string& name);

// Makes both whole: the model's predictor sees `history` frames, windows have the frames that it
// and its prediction steps need, and where dynamics alone learn, nothing is asked of latents. Doing
// so twice changes nothing.
void settle(TrainingSettings& settings, lewm::Config& model);

// The losses that the settings ask for and that learn something themselves join the added ones:
// inverse dynamics and the read-out, of a column with these statistics. The model must have its
// sizes. Doing so twice changes nothing.
void add_learned_losses(TrainingSettings& settings, const lewm::Config& model,
                        const ColumnStatistics& observed = {});

}  // namespace orrery::train
