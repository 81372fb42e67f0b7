#include "data/recorder.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <future>
#include <limits>
#include <memory>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "env/policy.h"
#include "media/resize.h"

namespace orrery {

namespace {

// both rounds together hold about this much, but at least one episode for every thread
constexpr i64 kRoundBytes = i64{96} << 20;
constexpr i64 kMostEpisodesARound = 64;

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

std::vector<Column> columns_of(const Environment& environment, i64 image_size) {
  std::vector<Column> columns(kInfo);
  columns[kPixels] = {"pixels", DType::uint8, {image_size, image_size, 3}};
  columns[kAction] = {"action", DType::f32, {environment.action_dim()}};
  columns[kReward] = {"reward", DType::f64, Shape({})};
  columns[kTerminated] = {"terminated", DType::boolean, Shape({})};
  columns[kTruncated] = {"truncated", DType::boolean, Shape({})};
  columns[kStep] = {"step_idx", DType::int64, Shape({})};
  columns[kEpisode] = {"ep_idx", DType::int32, Shape({})};
  columns[kId] = {"id", DType::int64, Shape({})};
  for (const InfoColumn& column : environment.info_columns()) {
    columns.push_back({column.name, column.dtype, Shape(std::span<const i64>(column.shape))});
  }
  return columns;
}

struct PlayedEpisode {
  std::vector<std::vector<std::byte>> values;  // by column
  i64 rows = 0;
  bool reached = false;
  std::exception_ptr failure;
};

// Plays one episode after the other; everything it needs is made once.
class Player {
 public:
  explicit Player(const RecordOptions& options)
      : options_(options),
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

  const Environment& environment() const { return *environment_; }

  void play(i64 episode, PlayedEpisode& out) {
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

 private:
  void add_row(i64 episode, double reward, bool terminated, bool truncated, PlayedEpisode& out) {
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

  const RecordOptions& options_;
  std::unique_ptr<Environment> environment_;
  std::unique_ptr<Policy> policy_;
  i64 height_;
  i64 width_;
  ResizePlan plan_;
  std::vector<u8> frame_;
  std::vector<std::byte> scratch_;
  std::vector<double> info_;
  std::vector<float> action_;
};

}  // namespace

RecordSummary record(Context& ctx, const RecordOptions& options, const std::filesystem::path& path,
                     RecordProgress progress) {
  check(options.episodes > 0 && options.episodes <= std::numeric_limits<i32>::max(),
        "recording: ", options.episodes, " episodes were asked for");
  check(options.max_steps > 0 && options.max_steps <= 1000000, "recording: episodes of ",
        options.max_steps, " steps were asked for, 1 to 1000000 are possible");
  check(options.image_size > 0 && options.image_size <= 1024, "recording: frames of ",
        options.image_size, " pixels a side were asked for, 1 to 1024 are possible");

  // a player for each thread, for they are what costs memory beside the episodes
  std::vector<std::unique_ptr<Player>> players;
  for (int i = 0; i < ctx.threads(); ++i) players.push_back(std::make_unique<Player>(options));
  const i64 episode_bytes = options.image_size * options.image_size * 3 * (options.max_steps + 1);
  const i64 round_size = std::min({options.episodes, kMostEpisodesARound,
                                   std::max<i64>(ctx.threads(), kRoundBytes / episode_bytes)});

  const auto writer = write_episodes(
      path, columns_of(players[0]->environment(), options.image_size), {.layout = options.layout});
  RecordSummary summary;
  std::vector<PlayedEpisode> playing(static_cast<std::size_t>(round_size));
  std::vector<PlayedEpisode> written(static_cast<std::size_t>(round_size));
  std::future<void> writing;  // declared last: waits, on any way out, before what it uses goes
  for (i64 first = 0; first < options.episodes; first += round_size) {
    const i64 count = std::min(round_size, options.episodes - first);
    ctx.parallel(count, [&](i64 i, int worker) {
      PlayedEpisode& episode = playing[static_cast<std::size_t>(i)];
      try {
        players[static_cast<std::size_t>(worker)]->play(first + i, episode);
      } catch (...) {
        episode.failure = std::current_exception();
      }
    });
    for (i64 i = 0; i < count; ++i) {
      const PlayedEpisode& episode = playing[static_cast<std::size_t>(i)];
      if (episode.failure) std::rethrow_exception(episode.failure);
      ++summary.episodes;
      summary.rows += episode.rows;
      summary.reached += episode.reached;
    }
    if (writing.valid()) writing.get();
    std::swap(playing, written);
    writing = std::async(std::launch::async, [&writer, &written, count] {
      std::vector<const std::byte*> values;
      for (i64 i = 0; i < count; ++i) {
        const PlayedEpisode& episode = written[static_cast<std::size_t>(i)];
        values.clear();
        for (const auto& column : episode.values) values.push_back(column.data());
        writer->append(episode.rows, values);
      }
    });
    check(progress(summary.episodes, summary.rows), "recording stopped after ", summary.episodes,
          " of ", options.episodes, " episodes; nothing was kept");
  }
  writing.get();
  writer->finish();
  summary.bytes = stored_bytes(path);
  return summary;
}

}  // namespace orrery
