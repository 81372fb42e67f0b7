#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "train/examine.h"
#include "train/learner.h"
#include "train/metrics.h"

namespace orrery::train {

// What a run tells while it works; the library itself prints nothing.
class Observer {
 public:
  virtual ~Observer() = default;
  // memory that a pass needs for activations and scratch: one block, before the first step; and on
  // a device all that training takes there, but for scratch of single operations
  virtual void planned(std::size_t /*activation_bytes*/, std::size_t /*device_bytes*/) {}
  virtual void began(i64 /*parameters*/, i64 /*first_step*/, i64 /*steps*/) {}
  virtual void stepped(i64 /*step*/, double /*lr*/, const StepReport&) {}
  // beside a line of metrics.jsonl
  virtual void logged(i64 /*step*/, const LatentSpread&, const Pace&) {}
  // of validation, or of an examiner
  virtual void measured(i64 /*step*/, const std::vector<Measure>&) {}
  virtual void saved(i64 /*step*/) {}
  // a sentence about what is unusual but no error
  virtual void noticed(const std::string&) {}
  // asked after every step; a run that stops leaves a checkpoint
  virtual bool wants_to_stop() { return false; }
};

struct Run {
  lewm::Config model;
  TrainingSettings settings;  // settled, and steps resolved: not 0
  i64 image_size = 0;         // height and width of the frames that the source gives
  nlohmann::json statistics;  // written as statistics.json, and part of what a checkpoint is for
  std::filesystem::path output;
  bool resume = false;
  // Weights to begin with instead of drawn ones: a file of named tensors (io/tensors.h). With
  // init_optimiser it must be a Lightning checkpoint, whose moments and steps are taken too.
  std::filesystem::path init;
  bool init_optimiser = false;
  // Or a model (folder or file) of which the encoder and its projector are taken, the rest drawn.
  std::filesystem::path init_encoder;
  // Fingerprint of the encoder whose latents the source gives, where dynamics alone learn: a run is
  // only resumed with the same.
  std::string encoder;
  std::vector<Examiner*> examiners;
  // how devices of several ranks add up
  dist::SumsBy sums = dist::SumsBy::automatic;
};

struct Outcome {
  enum class Kind { finished, stopped, not_finite, collapsed };
  Kind kind = Kind::finished;
  i64 steps = 0;       // taken
  std::string reason;  // one sentence when not finished
};

// Trains and leaves in `output`: config.json, weights.safetensors and statistics.json (the model),
// weights_best.safetensors (as it was when best_by was best), weights_ema.safetensors where
// ema_decay asks for a moving average, training.json (the settings),
// metrics.jsonl (one object a line), checkpoint_<step>.safetensors, the last keep_last of them.
//
// Resuming goes on from the newest checkpoint, if there is one, to the same bits as a run without a
// break: batches, directions and masks are functions of (seed, step), and metrics.jsonl is cut back
// to the checkpoint's step. A checkpoint of another model, of other settings that reach the
// weights, or of other data is an Error that names the difference. A loss that is not finite, or a
// collapsed latent, ends the run with the last checkpoint kept.
//
// With ranks (dist/lockstep.h) all of them run the same `run`, each with a source that gives its
// part of every batch; the steps are those of one process with whole batches, to rounding. Rank 0
// alone writes, examines, and tells its observer; the others' are asked only whether they want to
// stop. What rank 0 begins with, be it a checkpoint of any number of ranks, the others get from it.
// An Error when runs or data differ, or when weights have come to differ (compared every 100 steps
// and at checkpoints), as between processors of unlike kinds they might.
Outcome train(Context& ctx, const Run& run, BatchSource& source, Observer& observer,
              dist::Lockstep* ranks = nullptr);

}  // namespace orrery::train
