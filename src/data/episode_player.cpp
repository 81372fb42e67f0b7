#include "data/episode_player.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/random.h"

namespace orrery {

namespace {

template <typename T>
void put(std::vector<std::byte>& out, T value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof(T));
}

void put_number(std::vector<std::byte>& out, DType dtype, double value) {
  if (dtype == DType::f32) return put(out, static_cast<float>(value));
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
  return options;
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
      action_(static_cast<std::size_t>(environment_->action_dim())) {}

std::vector<Column> EpisodePlayer::columns() const {
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
  for (const InfoColumn& column : environment_->info_columns()) {
    columns.push_back({column.name, column.dtype, Shape(std::span<const i64>(column.shape))});
  }
  return columns;
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
  bool last = false;
  add_row(episode, std::numeric_limits<double>::quiet_NaN(), false, false, out);
  for (i64 t = 0; !last; ++t) {
    policy_->act(*environment_, number, static_cast<u64>(t), action_);
    const Step step = environment_->step(action_);
    for (const float component : action_) put(out.values[kAction], component);
    last = (step.terminated && course.stops_at_goal) || t + 1 == steps;
    add_row(episode, step.reward, step.terminated, last && !step.terminated, out);
    out.reached = step.terminated;
  }
  // no action leaves the last row
  for (std::size_t d = 0; d < action_.size(); ++d) {
    put(out.values[kAction], std::numeric_limits<float>::quiet_NaN());
  }
}

void EpisodePlayer::add_row(i64 episode, double reward, bool terminated, bool truncated,
                            PlayedEpisode& out) {
  const i64 size = options_.image_size;
  const auto frame_bytes = static_cast<std::size_t>(size * size * 3);
  auto& pixels = out.values[kPixels];
  pixels.resize(pixels.size() + frame_bytes);
  const View<u8, 3> target(reinterpret_cast<u8*>(pixels.data() + pixels.size() - frame_bytes),
                           {size, size, 3});
  if (size == height_ && size == width_) {
    environment_->render(target);
  } else {
    const View<u8, 3> frame(frame_.data(), {height_, width_, 3});
    environment_->render(frame);
    resize_bilinear_u8(plan_, frame, target, scratch_);
  }
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
    for (i64 n = 0; n < column.width(); ++n) {
      put_number(out.values[kInfo + i], column.dtype, info_[at++]);
    }
  }
  ++out.rows;
}

}  // namespace orrery
