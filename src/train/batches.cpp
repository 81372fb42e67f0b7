#include "train/batches.h"

namespace orrery::train {

WindowBatches::WindowBatches(const Windows& training, const Windows& validation,
                             const ZScore& action_scale, i64 batch, u64 seed, const BatchPart& part,
                             const BatchColumns& columns, const ReadAhead& ahead)
    : training_windows_(training.size()),
      validation_windows_(validation.size()),
      latents_(!columns.latents.empty()),
      locked_(ahead.device != nullptr) {
  check(training_windows_ >= batch, training.episodes().name(), " has ", training_windows_,
        " training windows of ", training.shape().span(), " rows, a batch needs ", batch);
  LoaderOptions options{.batch = batch,
                        .first = part.first,
                        .part = part.count,
                        .seed = seed,
                        .order = ahead.order,
                        .kept = locked_ ? 2 : 1,
                        .threads = ahead.threads,
                        .device = ahead.device};
  options.pixels = latents_ ? "" : columns.pixels;
  options.observation = latents_ ? columns.latents : columns.observations;
  training_.emplace(training, action_scale, options);
  options.prefetch = 1;
  options.order = WindowOrder::shuffled;
  if (validation_windows_ >= batch) validation_.emplace(validation, action_scale, options);
}

Batch WindowBatches::views_of(const WindowBatch& batch) const {
  Batch views;
  views.locked = locked_;
  views.actions = batch.action;
  views.pixels = batch.pixels;
  (latents_ ? views.latents : views.observations) = batch.observation;
  return views;
}

Batch WindowBatches::training_batch(i64 step) { return views_of(training_->batch(step)); }

Batch WindowBatches::validation_batch(i64 index) {
  check(validation_.has_value(), "there are too few held-out windows for a batch");
  return views_of(validation_->batch(index));
}

}  // namespace orrery::train
