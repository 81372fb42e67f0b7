#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "models/lewm/statistics.h"
#include "train/batches.h"
#include "train/latents.h"
#include "train/settings.h"

namespace orrery::train {

// A recording opened for training: its episodes split, its actions' statistics, its batches.
class Recorded : public BatchSource {
 public:
  // Columns `pixels` [rows, H, H, 3] of bytes and `action` [rows, A] are needed.
  // Batches are those of the ranks that share the run. `image_size`: a side of pictures that are
  // drawn, 0 as recorded. `observation`: the column of numbers that a model of vectors sees; then
  // no pixels are needed or read, and the size of images is 0. `ahead`: its context outlives the
  // recording, its order is the settings'.
  Recorded(const std::filesystem::path& path, const TrainingSettings& settings,
           const Ranks& ranks = {}, i64 image_size = 0, const std::string& observation = "",
           const ReadAhead& ahead = {});

  // Frames give way to their latents by this model, once and for all: what dynamics learn from.
  // `told` hears how many rows of how many are done.
  void encode(Context& ctx, const lewm::Model& model, const std::function<void(i64, i64)>& told);

  i64 image_size() const { return image_size_; }
  i64 action_width() const { return action_width_; }
  // of the column that the read-out asks for or the model sees; nothing where there is none
  const ColumnStatistics& observed() const { return observed_; }
  // what a model must know of this recording
  lewm::Statistics model_statistics() const;
  // statistics.json: action and pixel mean and std, frameskip, action_dim
  nlohmann::json statistics() const;

  const ColumnStatistics* observation_scale() const override {
    return observed_.mean.empty() ? nullptr : &observed_;
  }
  i64 training_windows() const override { return batches_->training_windows(); }
  i64 validation_windows() const override { return batches_->validation_windows(); }
  Batch training_batch(i64 step) override { return batches_->training_batch(step); }
  Batch validation_batch(i64 index) override { return batches_->validation_batch(index); }

 private:
  void cut(const BatchColumns& columns);

  TrainingSettings settings_;
  BatchPart part_;
  ReadAhead ahead_;
  std::unique_ptr<Episodes> episodes_;
  i64 image_size_ = 0, action_width_ = 0, frameskip_ = 0;
  ColumnStatistics action_, observed_;
  std::unique_ptr<Windows> training_, validation_;
  std::unique_ptr<WindowBatches> batches_;
};

}  // namespace orrery::train
