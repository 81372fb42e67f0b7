#include "data/recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <cmath>
#include <chrono>
#include <csignal>
#include <limits>
#include <thread>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/random.h"
#include "data/episodes.h"
#include "env/policy.h"
#include "media/resize.h"

// what libhdf5 forgets of a file that is given up is not ours
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace orrery {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class Recorder : public testing::Test {
 protected:
  Recorder() {
    folder_ = std::filesystem::temp_directory_path() / text("orrery-record-", ::getpid());
    std::filesystem::create_directories(folder_);
  }
  ~Recorder() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path file(const std::string& name) const { return folder_ / name; }

  static RecordSummary record_to(const std::filesystem::path& path, const RecordOptions& options,
                                 int threads = 2) {
    Context ctx({.threads = threads});
    return record(ctx, options, path, [](i64, i64) { return true; });
  }

  std::filesystem::path folder_;
};

std::vector<double> numbers(const Episodes& episodes, const char* column, i64 begin, i64 end) {
  const i64 index = episodes.column_index(column);
  std::vector<double> out(static_cast<std::size_t>((end - begin) * episodes.column(index).width()));
  episodes.read_f64(index, begin, end, 1, out.data());
  return out;
}

TEST_F(Recorder, RowsAreThePlayAgain) {
  const RecordOptions options = {
      .policy = "mixed", .episodes = 7, .seed = 12, .max_steps = 30, .image_size = 64};
  const RecordSummary summary = record_to(file("a.h5"), options);
  const auto episodes = open_episodes(file("a.h5"));
  ASSERT_EQ(episodes->count(), 7);
  EXPECT_EQ(summary.rows, episodes->rows());
  EXPECT_EQ(summary.bytes, static_cast<i64>(std::filesystem::file_size(file("a.h5"))));

  // one environment, one thread, row after row
  const auto room = make_environment("tworoom");
  const auto policy = make_policy("mixed", *room, {.seed = 12, .expert_noise = 2});
  std::vector<u8> frame(224 * 224 * 3);
  std::vector<u8> recorded(64 * 64 * 3);
  i64 reached = 0;
  for (i64 e = 0; e < 7; ++e) {
    const i64 begin = episodes->offset(e);
    const i64 end = begin + episodes->length(e);
    const auto action = numbers(*episodes, "action", begin, end);
    const auto proprio = numbers(*episodes, "proprio", begin, end);
    const auto distance = numbers(*episodes, "distance_to_target", begin, end);
    const auto reward = numbers(*episodes, "reward", begin, end);
    const auto terminated = numbers(*episodes, "terminated", begin, end);
    const auto truncated = numbers(*episodes, "truncated", begin, end);
    const auto step_idx = numbers(*episodes, "step_idx", begin, end);
    const auto ep_idx = numbers(*episodes, "ep_idx", begin, end);
    room->reset(mix(12, static_cast<u64>(e)));
    Step step = room->measure();
    const i64 length = end - begin;
    for (i64 t = 0; t < length; ++t) {
      const auto at = static_cast<std::size_t>(t);
      std::array<double, 2> state;
      room->state(state);
      ASSERT_EQ(proprio[2 * at], state[0]);
      ASSERT_EQ(proprio[2 * at + 1], state[1]);
      ASSERT_EQ(distance[at], step.distance);
      ASSERT_EQ(step_idx[at], t);
      ASSERT_EQ(ep_idx[at], e);
      const bool last = t == length - 1;
      ASSERT_EQ(std::isnan(reward[at]), t == 0);
      ASSERT_EQ(terminated[at], t > 0 && step.terminated);
      ASSERT_EQ(truncated[at], last && !step.terminated);
      ASSERT_EQ(std::isnan(action[2 * at]), last);
      room->render(View<u8, 3>(frame.data(), {224, 224, 3}));
      const auto small = resize_bilinear_u8(View<const u8, 3>(frame.data(), {224, 224, 3}), 64, 64);
      const i64 row = begin + t;
      episodes->read(episodes->column_index("pixels"), row, row + 1, 1,
                     reinterpret_cast<std::byte*>(recorded.data()));
      ASSERT_EQ(small, recorded);
      if (last) break;
      std::array<float, 2> chosen;
      policy->act(*room, static_cast<u64>(e), static_cast<u64>(t), chosen);
      ASSERT_EQ(action[2 * at], chosen[0]);
      ASSERT_EQ(action[2 * at + 1], chosen[1]);
      step = room->step(chosen);
    }
    ASSERT_TRUE(step.terminated || length == 31);
    reached += step.terminated;
  }
  EXPECT_EQ(reached, summary.reached);
}

TEST_F(Recorder, BytesDoNotDependOnThreads) {
  const RecordOptions options = {.episodes = 5, .seed = 2, .max_steps = 20, .image_size = 32};
  record_to(file("one.h5"), options, 1);
  // a second later, should a time be written anywhere
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  record_to(file("three.h5"), options, 3);
  EXPECT_EQ(read_file(file("one.h5"), 1 << 24), read_file(file("three.h5"), 1 << 24));
  RecordOptions other = options;
  other.seed = 3;
  record_to(file("other.h5"), other, 1);
  EXPECT_NE(read_file(file("one.h5"), 1 << 24), read_file(file("other.h5"), 1 << 24));
}

TEST_F(Recorder, LayoutsHoldTheSame) {
  RecordOptions options = {.policy = "random", .episodes = 3, .max_steps = 10, .image_size = 16};
  record_to(file("release.h5"), options);
  options.layout = RecordingLayout::current;
  record_to(file("current.h5"), options);
  const auto a = open_episodes(file("release.h5"));
  const auto b = open_episodes(file("current.h5"));
  ASSERT_EQ(a->rows(), b->rows());
  EXPECT_EQ(numbers(*a, "pixels", 0, a->rows()), numbers(*b, "pixels", 0, b->rows()));
  EXPECT_EQ(numbers(*a, "observation", 0, a->rows()), numbers(*b, "observation", 0, b->rows()));
}

TEST_F(Recorder, FactorsOfVariationAreUsed) {
  RecordOptions options = {.policy = "random", .episodes = 1, .max_steps = 2, .image_size = 224};
  options.reset.values = {{"background.color", {10, 20, 30}}};
  record_to(file("a.h5"), options);
  const auto episodes = open_episodes(file("a.h5"));
  EXPECT_EQ(numbers(*episodes, "pixels", 0, 1)[0], 10);
  options.reset.values = {{"background.colour", {10, 20, 30}}};
  EXPECT_THAT([&] { record_to(file("b.h5"), options); },
              ThrowsMessage<Error>(HasSubstr("background.colour")));
  EXPECT_FALSE(std::filesystem::exists(file("b.h5")));
}

TEST_F(Recorder, StoppedOrFailedLeavesNothing) {
  write_file(file("kept.h5"), "what was here before");
  Context ctx({.threads = 1});
  RecordOptions options = {.episodes = 200, .max_steps = 5, .image_size = 16};
  EXPECT_THAT(
      [&] { record(ctx, options, file("kept.h5"), [](i64 done, i64) { return done < 100; }); },
      ThrowsMessage<Error>(HasSubstr("stopped after 128 of 200")));
  EXPECT_EQ(read_file(file("kept.h5"), 100), "what was here before");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
  EXPECT_THROW(record_to(file("no/such/folder.h5"), options), Error);
  options.episodes = 0;
  EXPECT_THROW(record_to(file("a.h5"), options), Error);
  options = {.policy = "clever"};
  EXPECT_THROW(record_to(file("a.h5"), options), Error);
}

TEST_F(Recorder, FullDiskIsOneErrorAndLeavesNothing) {
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old = {};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small = {50000, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_THAT(
      [&] { record_to(file("a.h5"), {.episodes = 100, .max_steps = 20, .image_size = 64}); },
      ThrowsMessage<Error>(HasSubstr("cannot write")));
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, before);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

}  // namespace
}  // namespace orrery
