#include "train/recorded.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

namespace orrery::train {

namespace {

// A recording is kept in memory, decoded, when it takes no more than half of what is free: else
// every shuffled window decodes a chunk of a hundred frames. Ranks may share the machine.
i64 bytes_to_hold(i64 ranks) {
  constexpr i64 kUnknown = i64{4} << 30;
  std::ifstream memory("/proc/meminfo");
  std::string name;
  i64 kilobytes = 0;
  while (memory >> name >> kilobytes) {
    if (name == "MemAvailable:") return kilobytes * 1024 / 2 / ranks;
    memory.ignore(64, '\n');
  }
  return kUnknown / ranks;
}

std::unique_ptr<Episodes> held(std::unique_ptr<Episodes> episodes, i64 ranks, bool pixels,
                               const std::string& observation) {
  i64 bytes = bytes_to_hold(ranks);
  // Drawing a picture costs little more than copying it, so no more of them are drawn beforehand
  // than a second or two makes.
  constexpr i64 kMostDrawn = i64{1} << 30;
  if (pixels && !episodes->drawing().empty()) bytes = std::min(bytes, kMostDrawn);
  std::vector<std::string> columns = {"action"};
  if (pixels) columns.push_back("pixels");
  if (!observation.empty()) columns.push_back(observation);
  return held_if_it_fits(std::move(episodes), columns, bytes);
}

std::vector<i64> all_of(i64 count) {
  std::vector<i64> indices(static_cast<std::size_t>(count));
  for (i64 i = 0; i < count; ++i) indices[static_cast<std::size_t>(i)] = i;
  return indices;
}

}  // namespace

Recorded::Recorded(const std::filesystem::path& path, const TrainingSettings& settings,
                   const Ranks& ranks, i64 image_size, const std::string& observation,
                   const ReadAhead& ahead)
    : settings_(settings),
      part_(ranks.part_of(settings.batch)),
      ahead_(ahead),
      episodes_(open_episodes(path, {.image_size = image_size})),
      frameskip_(settings.frameskip) {
  const std::string& readout = settings.readout.column;
  const bool sees = observation.empty();  // pictures
  check(sees || readout.empty() || readout == observation, "training.readout.column is ", readout,
        ", a model that sees ", observation, " has no other observations");
  check(sees || !learns_dynamics(settings),
        "training.learn is dynamics, of models that see pictures; this one sees ", observation);
  const std::string& observed = sees ? readout : observation;
  // In the order of chunks each is decoded about once an epoch, and the order hangs on the chunks;
  // to be encoded, frames are read once, one after the other.
  const bool by_chunk = settings.window_order == "by_chunk";
  if (by_chunk && !learns_dynamics(settings)) ahead_.order = WindowOrder::by_chunk;
  if (!by_chunk && !learns_dynamics(settings)) {
    episodes_ = held(std::move(episodes_), ranks.size(), sees, observed);
  }
  if (sees) {
    const Column& pixels = episodes_->column(episodes_->column_index("pixels"));
    check(pixels.dtype == DType::uint8 && pixels.row.rank() == 3 &&
              pixels.row[0] == pixels.row[1] && pixels.row[2] == 3,
          path.string(), ": pixels are ", pixels.dtype, " ", pixels.row,
          ", square RGB frames of bytes were needed");
    image_size_ = pixels.row[0];
  }
  const i64 action = episodes_->column_index("action");
  action_width_ = episodes_->column(action).width();
  action_ = column_statistics(*episodes_, action);
  if (!observed.empty()) {
    observed_ = column_statistics(*episodes_, episodes_->column_index(observed));
  }

  cut({.pixels = sees ? "pixels" : "", .observations = observed});
}

// episodes into those to learn from and those held out, and both into windows
void Recorded::cut(const BatchColumns& columns) {
  EpisodeSplit split{all_of(episodes_->count()), {}};
  if (settings_.validation_fraction > 0) {
    split = split_episodes(episodes_->count(), 1.0 - settings_.validation_fraction, settings_.seed);
  }
  const WindowShape shape{settings_.frameskip, settings_.num_steps};
  training_ = std::make_unique<Windows>(*episodes_, shape, split.train);
  validation_ = std::make_unique<Windows>(*episodes_, shape, split.validation);
  batches_ =
      std::make_unique<WindowBatches>(*training_, *validation_, ZScore(action_), settings_.batch,
                                      settings_.seed, part_, columns, ahead_);
}

void Recorded::encode(Context& ctx, const lewm::Model& model,
                      const std::function<void(i64, i64)>& told) {
  const i64 rows = episodes_->rows();
  auto encoded = with_latents(ctx, model, *episodes_, [&](i64 done) { told(done, rows); });
  batches_.reset();
  episodes_ = std::move(encoded);
  cut({.latents = "latents"});
}

lewm::Statistics Recorded::model_statistics() const {
  lewm::Statistics statistics;
  statistics.action_mean = action_.mean;
  statistics.action_std = action_.deviation;
  // the decimals of the published constants, not the floats nearest to them
  statistics.pixel_mean = {0.485, 0.456, 0.406};
  statistics.pixel_std = {0.229, 0.224, 0.225};
  statistics.frameskip = frameskip_;
  return statistics;
}

nlohmann::json Recorded::statistics() const {
  return lewm::json_from_statistics(model_statistics());
}

}  // namespace orrery::train
