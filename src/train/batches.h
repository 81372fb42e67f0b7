#pragma once

#include <optional>

#include "data/loader.h"
#include "train/ranks.h"
#include "train/step.h"

namespace orrery::train {

// Where batches come from. What a batch holds is a pure function of the source and the index, so a
// run that was interrupted sees the same batches as one that was not. Views are valid until the
// next call; those of a training batch in locked memory until the one after, when batches are asked
// for one after the other.
class BatchSource {
 public:
  virtual ~BatchSource() = default;

  // windows to learn from, and held out (whole episodes, never seen in training)
  virtual i64 training_windows() const = 0;
  virtual i64 validation_windows() const = 0;

  // Statistics of the column that batches hold observations of; null without one.
  virtual const ColumnStatistics* observation_scale() const { return nullptr; }

  // Of each batch the part that this process has.
  virtual Batch training_batch(i64 step) = 0;
  virtual Batch validation_batch(i64 index) = 0;
};

// What batches hold beside actions, as columns of a recording; empty: nothing.
struct BatchColumns {
  std::string pixels = "pixels";
  std::string observations;
  std::string latents;  // in place of the two
};

// How training batches are made while a step runs.
struct ReadAhead {
  int threads = 1;
  const Context* device = nullptr;  // to which they go, out of page-locked memory; none: to nowhere
  WindowOrder order = WindowOrder::shuffled;
};

// Batches of recorded windows, read ahead by threads. Orders are the seed's; what is held out is
// shuffled.
class WindowBatches : public BatchSource {
 public:
  // The windows must outlive the batches; fewer held-out windows than a batch means no validation.
  WindowBatches(const Windows& training, const Windows& validation, const ZScore& action_scale,
                i64 batch, u64 seed, const BatchPart& part = {}, const BatchColumns& columns = {},
                const ReadAhead& ahead = {});

  i64 training_windows() const override { return training_windows_; }
  i64 validation_windows() const override { return validation_windows_; }
  Batch training_batch(i64 step) override;
  Batch validation_batch(i64 index) override;

 private:
  Batch views_of(const WindowBatch& batch) const;

  i64 training_windows_, validation_windows_;
  bool latents_, locked_;
  std::optional<WindowLoader> training_, validation_;
};

}  // namespace orrery::train
