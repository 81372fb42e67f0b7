#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "train/batches.h"
#include "train/settings.h"
#include "train/step.h"
#include "train/validation.h"

namespace orrery::train {

// What a run tells while it works; the library itself prints nothing.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void began(i64 /*parameters*/, i64 /*first_step*/, i64 /*steps*/) {}
  virtual void stepped(i64 /*step*/, double /*lr*/, const StepReport&) {}
  virtual void validated(i64 /*step*/, const ValidationReport&) {}
  virtual void saved(i64 /*step*/) {}
  // asked after every step; a run that stops leaves a checkpoint
  virtual bool wants_to_stop() { return false; }
};

struct Run {
  lewm::Config model;
  TrainingSettings settings;  // steps resolved: not 0
  i64 image_size = 0;         // height and width of the frames that the source gives
  nlohmann::json statistics;  // written as statistics.json, and part of the fingerprint
  std::filesystem::path output;
  bool resume = false;
};

struct Outcome {
  enum class Kind { finished, stopped, not_finite, collapsed };
  Kind kind = Kind::finished;
  i64 steps = 0;       // taken
  std::string reason;  // one sentence when not finished
};

// Trains and leaves in `output`: config.json, weights.safetensors and statistics.json (the model),
// training.json (the settings), metrics.jsonl (one object a line), checkpoint.safetensors.
//
// Resuming goes on from the checkpoint, if there is one, to the same bits as a run without a break:
// batches, directions and masks are functions of (seed, step), and metrics.jsonl is cut back to the
// checkpoint's step. A loss that is not finite, or a collapsed latent, ends the run with the last
// checkpoint kept.
Outcome train(Context& ctx, const Run& run, BatchSource& source, Observer& observer);

}  // namespace orrery::train
