#include "data/episode_player.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "data/drawing.h"
#include "data/played_episodes.h"

namespace orrery {

namespace {

template <typename T>
void put(std::vector<std::byte>& out, T value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof(T));
}

// to nearest, halves away from zero
float with_bits(float value, int bits) {
  if (bits >= 24 || !std::isfinite(value)) return value;
  const u32 unit = u32{1} << (24 - bits);
  return std::bit_cast<float>((std::bit_cast<u32>(value) + unit / 2) & ~(unit - 1));
}

void put_number(std::vector<std::byte>& out, DType dtype, double value) {
  if (dtype == DType::int64) return put(out, static_cast<i64>(value));
  ORRERY_ASSERT(dtype == DType::f64);
  put(out, value);
}

// the columns of a recording, in the order that episodes keep their values in
enum FixedColumn : std::size_t {
  kPixels,
  kAction,
  kReward,
  kTerminated,
  kTruncated,
  kStep,
  kEpisode,
  kId,
  kStart,  // of actions alone: the same in every row of an episode
  kEnd,
  kInfo,  // the first of the environment's own
};

const RecordOptions& checked(const RecordOptions& options) {
  constexpr i64 most = std::numeric_limits<i32>::max();  // of ep_idx
  check(options.episodes > 0 && options.episodes <= most, "recording: ", options.episodes,
        " episodes were asked for");
  check(options.first >= 0 && options.first <= most - options.episodes,
        "recording: ", options.episodes, " episodes from number ", options.first,
        " on were asked for");
  check(options.max_steps > 0 && options.max_steps <= 1000000, "recording: episodes of ",
        options.max_steps, " steps were asked for, 1 to 1000000 are possible");
  check(options.image_size > 0 && options.image_size <= 1024, "recording: frames of ",
        options.image_size, " pixels a side were asked for, 1 to 1024 are possible");
  check(options.bits >= 8 && options.bits <= 24, "recording: ", options.bits,
        " significant bits were asked for, 8 to 24 are possible");
  return options;
}

// where an environment's state stands among its own columns
const InfoColumn& state_column(const Environment& environment) {
  for (const char* name : {"state", "proprio"}) {
    for (const InfoColumn& column : environment.info_columns()) {
      if (column.name == name && column.width() == environment.state_dim()) return column;
    }
  }
  fail("recording: ", environment.name(), " has no column of its state to draw pictures from");
}

}  // namespace

EpisodePlayer::EpisodePlayer(const RecordOptions& options)
    : options_(checked(options)),
      environment_(make_environment(options.environment)),
      policy_(make_policy(options.policy, *environment_,
                          {.seed = options.seed,
                           .expert_noise = options.expert_noise,
                           .demonstrations = options.demonstrations,
                           .replay_noise = options.replay_noise,
                           .replay_moves = options.replay_moves})),
      height_(environment_->frame_height()),
      width_(environment_->frame_width()),
      plan_(make_resize_plan(height_, width_, options.image_size, options.image_size)),
      frame_(static_cast<std::size_t>(height_ * width_ * 3)),
      scratch_(plan_.scratch_bytes()),
      info_(static_cast<std::size_t>(environment_->info_width())),
      action_(static_cast<std::size_t>(environment_->action_dim())) {
  const RecordedColumns wanted = options_.columns;
  const std::string state =
      wanted == RecordedColumns::all ? std::string() : state_column(*environment_).name;
  const auto wants = [&](const std::string& name) {
    const bool of_every_row = name == "action" || name == "step_idx" || name == "ep_idx";
    const bool of_actions_alone = name == kStartColumn || name == kEndColumn;
    switch (wanted) {
      case RecordedColumns::all:
        return !of_actions_alone;
      case RecordedColumns::all_but_pixels:
        return !of_actions_alone && name != "pixels";
      case RecordedColumns::least:
        return of_every_row || name == state;
      case RecordedColumns::actions:
        return of_every_row || of_actions_alone;
    }
    return false;
  };
  for (const Column& column : all_columns()) {
    chosen_.push_back(wants(column.name));
    if (chosen_.back()) columns_.push_back(column);
  }
}

std::string EpisodePlayer::drawing() const {
  if (options_.columns == RecordedColumns::all) return {};
  return text_from_drawing({.environment = options_.environment,
                            .seed = options_.seed,
                            .reset = options_.reset,
                            .image_size = options_.image_size,
                            .state = state_column(*environment_).name});
}

std::vector<Column> EpisodePlayer::all_columns() const {
  const i64 image_size = options_.image_size;
  std::vector<Column> columns(kInfo);
  columns[kPixels] = {"pixels", DType::uint8, {image_size, image_size, 3}};
  columns[kAction] = {"action", DType::f32, {environment_->action_dim()}};
  columns[kReward] = {"reward", DType::f64, Shape({})};
  columns[kTerminated] = {"terminated", DType::boolean, Shape({})};
  columns[kTruncated] = {"truncated", DType::boolean, Shape({})};
  columns[kStep] = {"step_idx", DType::int64, Shape({})};
  columns[kEpisode] = {"ep_idx", DType::int32, Shape({})};
  columns[kId] = {"id", DType::int64, Shape({})};
  columns[kStart] = {kStartColumn, DType::f64, {environment_->state_dim()}};
  columns[kEnd] = {kEndColumn, DType::f64, {environment_->state_dim()}};
  for (const InfoColumn& column : environment_->info_columns()) {
    columns.push_back(
        {column.name, recorded_type(column), Shape(std::span<const i64>(column.shape))});
  }
  return columns;
}

WriteOptions EpisodePlayer::write_options() const {
  WriteOptions write = {.layout = options_.layout, .drawing = drawing()};
  // the last level finds patterns in states that the others do not: a sixth less (in actions
  // alone, a hundredth, for ten times the work)
  if (options_.columns == RecordedColumns::least && options_.layout == RecordingLayout::packed) {
    write.blosc =
        BloscSettings{.codec = BloscCodec::zstd, .level = 9, .shuffle = BloscShuffle::byte};
  }
  return write;
}

float EpisodePlayer::kept(float value) const {
  return options_.columns == RecordedColumns::least ? with_bits(value, options_.bits) : value;
}

DType EpisodePlayer::recorded_type(const InfoColumn& column) const {
  const bool single = options_.columns == RecordedColumns::least;
  return single && column.dtype == DType::f64 ? DType::f32 : column.dtype;
}

void EpisodePlayer::play(i64 episode, PlayedEpisode& out) {
  for (auto& column : out.values) column.clear();
  out.values.resize(static_cast<std::size_t>(kInfo) + environment_->info_columns().size());
  out.rows = 0;
  out.reached = false;
  const auto number = static_cast<u64>(episode);
  environment_->reset(mix(options_.seed, number), options_.reset);
  const Policy::Course course = policy_->begin(*environment_, number);
  const i64 steps = std::min(options_.max_steps, course.steps);
  if (!chosen_[kPixels]) check_drawable();
  bool last = false;
  add_row(episode, std::numeric_limits<double>::quiet_NaN(), false, false, out);
  for (i64 t = 0; !last; ++t) {
    policy_->act(*environment_, number, static_cast<u64>(t), action_);
    if (options_.columns == RecordedColumns::actions) {
      for (float& component : action_) component = with_bits(component, options_.bits);
    }
    const Step step = environment_->step(action_);
    for (const float component : action_) put(out.values[kAction], kept(component));
    last = (step.terminated && course.stops_at_goal) || t + 1 == steps;
    add_row(episode, step.reward, step.terminated, last && !step.terminated, out);
    out.reached = step.terminated;
  }
  // no action leaves the last row
  for (std::size_t d = 0; d < action_.size(); ++d) {
    put(out.values[kAction], std::numeric_limits<float>::quiet_NaN());
  }
  if (chosen_[kStart]) add_ends(course.start, out);
  keep_chosen(out);
}

void EpisodePlayer::add_ends(std::span<const double> start, PlayedEpisode& out) const {
  std::vector<double> end(static_cast<std::size_t>(environment_->state_dim()));
  environment_->state(end);
  for (i64 row = 0; row < out.rows; ++row) {
    for (std::size_t i = 0; i < end.size(); ++i) {
      put(out.values[kStart], start.empty() ? std::numeric_limits<double>::quiet_NaN() : start[i]);
      put(out.values[kEnd], end[i]);
    }
  }
}

void EpisodePlayer::check_drawable() {
  std::vector<double> now(static_cast<std::size_t>(environment_->state_dim()));
  environment_->state(now);
  environment_->render_state(now, View<u8, 3>(frame_.data(), {height_, width_, 3}));
}

void EpisodePlayer::keep_chosen(PlayedEpisode& out) const {
  std::size_t kept = 0;
  for (std::size_t c = 0; c < chosen_.size(); ++c) {
    if (chosen_[c]) std::swap(out.values[kept++], out.values[c]);
  }
  out.values.resize(kept);
}

void EpisodePlayer::add_row(i64 episode, double reward, bool terminated, bool truncated,
                            PlayedEpisode& out) {
  if (chosen_[kPixels]) add_frame(out.values[kPixels]);
  put(out.values[kReward], reward);
  put(out.values[kTerminated], static_cast<u8>(terminated));
  put(out.values[kTruncated], static_cast<u8>(truncated));
  put(out.values[kStep], out.rows);
  put(out.values[kEpisode], static_cast<i32>(episode));
  // positive, as an identity should look
  put(out.values[kId],
      static_cast<i64>(mix(mix(options_.seed, 1), static_cast<u64>(episode)) >> 1));
  environment_->info(info_);
  std::size_t at = 0;
  for (std::size_t i = 0; i < environment_->info_columns().size(); ++i) {
    const InfoColumn& column = environment_->info_columns()[i];
    const DType dtype = recorded_type(column);
    for (i64 n = 0; n < column.width(); ++n, ++at) {
      if (dtype == DType::f32) {
        put(out.values[kInfo + i], kept(static_cast<float>(info_[at])));
      } else {
        put_number(out.values[kInfo + i], dtype, info_[at]);
      }
    }
  }
  ++out.rows;
}

void EpisodePlayer::add_frame(std::vector<std::byte>& pixels) {
  const i64 size = options_.image_size;
  const auto frame_bytes = static_cast<std::size_t>(size * size * 3);
  pixels.resize(pixels.size() + frame_bytes);
  const View<u8, 3> target(reinterpret_cast<u8*>(pixels.data() + pixels.size() - frame_bytes),
                           {size, size, 3});
  if (size == height_ && size == width_) return environment_->render(target);
  const View<u8, 3> frame(frame_.data(), {height_, width_, 3});
  environment_->render(frame);
  resize_bilinear_u8(plan_, frame, target, scratch_);
}

}  // namespace orrery
