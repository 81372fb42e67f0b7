#include "data/shared_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <mutex>
#include <thread>

#include "base/atomic_file.h"
#include "base/error.h"
#include "data/episodes.h"

namespace orrery {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

struct Outcome {
  std::optional<RecordSummary> summary;  // of rank 0
  std::string error;                     // of rank 0
  std::vector<std::string> told;
  std::vector<std::string> others;  // errors of the other ranks
};

class SharedRecorder : public testing::Test {
 protected:
  SharedRecorder() {
    folder_ = std::filesystem::temp_directory_path() / text("orrery-shared-record-", ::getpid());
    std::filesystem::create_directories(folder_);
  }
  ~SharedRecorder() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path file(const std::string& name) const { return folder_ / name; }
  std::string bytes(const std::string& name) const { return read_file(file(name), 1 << 28); }
  bool has_parts(const std::string& name) const {
    return std::filesystem::exists(parts_of_recording(file(name)));
  }

  void record_alone(const std::string& name, const RecordOptions& options) const {
    Context ctx({.threads = 2});
    record(ctx, options, file(name), [](i64, i64) { return true; });
  }

  // ranks are threads
  Outcome record_with(
      int ranks, const std::string& name, const RecordOptions& options,
      const std::function<bool(i64 episodes)>& goes_on = [](i64) { return true; }) const {
    Outcome outcome;
    std::mutex mutex;
    auto worlds = dist::worlds_of_threads(ranks);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks; ++rank) {
      threads.emplace_back([&, rank] {
        SharedRecordOptions shared = {.recording = options, .threads = 1};
        shared.tell = [&](const std::string& sentence) { outcome.told.push_back(sentence); };
        try {
          auto summary = record_shared(*worlds[static_cast<std::size_t>(rank)], shared, file(name),
                                       [&](i64 episodes, i64) { return goes_on(episodes); });
          EXPECT_EQ(summary.has_value(), rank == 0);
          if (rank == 0) outcome.summary = summary;
        } catch (const Error& error) {
          const std::lock_guard lock(mutex);
          if (rank == 0) {
            outcome.error = error.what();
          } else {
            outcome.others.push_back(error.what());
          }
        }
      });
    }
    for (auto& thread : threads) thread.join();
    return outcome;
  }

  std::filesystem::path folder_;
};

const RecordOptions kSmall = {
    .policy = "mixed", .episodes = 23, .seed = 5, .max_steps = 12, .image_size = 32};

TEST_F(SharedRecorder, AnyNumberOfRanksWritesTheSameBytes) {
  for (const RecordingLayout layout : {RecordingLayout::release, RecordingLayout::current}) {
    RecordOptions options = kSmall;
    options.layout = layout;
    record_alone("alone.h5", options);
    for (const int ranks : {1, 2, 3}) {
      SCOPED_TRACE(text(ranks, " ranks"));
      const Outcome outcome = record_with(ranks, "shared.h5", options);
      EXPECT_EQ(outcome.error, "");
      EXPECT_THAT(outcome.told, IsEmpty());
      ASSERT_TRUE(outcome.summary.has_value());
      EXPECT_EQ(outcome.summary->episodes, 23);
      EXPECT_TRUE(bytes("shared.h5") == bytes("alone.h5"));
      EXPECT_FALSE(has_parts("shared.h5"));
    }
  }
}

TEST_F(SharedRecorder, TheSummaryIsThatOfTheRecording) {
  const RecordOptions options = {.episodes = 9, .seed = 3, .image_size = 32};
  Context ctx({.threads = 1});
  const RecordSummary alone = record(ctx, options, file("alone.h5"), [](i64, i64) { return true; });
  ASSERT_GT(alone.reached, 0);
  const Outcome outcome = record_with(2, "shared.h5", options);
  ASSERT_TRUE(outcome.summary.has_value()) << outcome.error;
  EXPECT_EQ(outcome.summary->rows, alone.rows);
  EXPECT_EQ(outcome.summary->reached, alone.reached);
  EXPECT_EQ(outcome.summary->bytes, alone.bytes);
}

TEST_F(SharedRecorder, OtherFormatsAndPartsOfASeries) {
  // episodes 10 to 19 of a seed are what they are in the series from 0
  RecordOptions options = kSmall;
  options.first = 10;
  options.episodes = 10;
  const Outcome outcome = record_with(2, "some.zarr", options);
  ASSERT_EQ(outcome.error, "");
  record_alone("all.h5", kSmall);
  const auto some = open_episodes(file("some.zarr"));
  const auto all = open_episodes(file("all.h5"));
  ASSERT_EQ(some->count(), 10);
  for (i64 e = 0; e < 10; ++e) ASSERT_EQ(some->length(e), all->length(10 + e));
  std::vector<std::byte> a(static_cast<std::size_t>(some->rows() * 32 * 32 * 3)), b = a;
  some->read(some->column_index("pixels"), 0, some->rows(), 1, a.data());
  all->read(all->column_index("pixels"), all->offset(10), all->offset(10) + some->rows(), 1,
            b.data());
  EXPECT_TRUE(a == b);
}

TEST_F(SharedRecorder, GoesOnWhereItWasStopped) {
  record_alone("alone.h5", kSmall);
  const Outcome stopped =
      record_with(2, "shared.h5", kSmall, [](i64 episodes) { return episodes < 5; });
  EXPECT_FALSE(stopped.summary.has_value());
  EXPECT_THAT(stopped.error, HasSubstr("recording stopped; "));
  EXPECT_THAT(stopped.error, HasSubstr("of 23 episodes are kept in "));
  EXPECT_FALSE(std::filesystem::exists(file("shared.h5")));
  ASSERT_TRUE(has_parts("shared.h5"));

  // blocks of 3 ranks are of another size
  i64 already = -1;
  const Outcome outcome = record_with(3, "shared.h5", kSmall, [&](i64 episodes) {
    if (already < 0 && episodes > 0) already = episodes;
    return true;
  });
  ASSERT_TRUE(outcome.summary.has_value()) << outcome.error;
  EXPECT_GE(already, 5);
  EXPECT_THAT(outcome.told, ElementsAre(HasSubstr("episodes are there already")));
  EXPECT_TRUE(bytes("shared.h5") == bytes("alone.h5"));
  EXPECT_FALSE(has_parts("shared.h5"));
}

TEST_F(SharedRecorder, APartThatIsDamagedIsRecordedAgain) {
  record_alone("alone.h5", kSmall);
  record_with(2, "shared.h5", kSmall, [](i64 episodes) { return episodes < 5; });
  int damaged = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(parts_of_recording(file("shared.h5")))) {
    if (entry.path().extension() != ".part") continue;
    if (damaged++ == 0) std::filesystem::resize_file(entry.path(), 1000);
  }
  ASSERT_GT(damaged, 1);
  // and one that is of no block
  write_file(parts_of_recording(file("shared.h5")) / "22-9.part", "beyond the last episode");
  const Outcome outcome = record_with(2, "shared.h5", kSmall);
  ASSERT_TRUE(outcome.summary.has_value()) << outcome.error;
  EXPECT_THAT(outcome.told, ElementsAre(HasSubstr("will be recorded again"),
                                        HasSubstr("episodes are there already")));
  EXPECT_TRUE(bytes("shared.h5") == bytes("alone.h5"));
}

TEST_F(SharedRecorder, PartsOfAnotherRecordingAreNotTouched) {
  record_with(1, "shared.h5", kSmall, [](i64 episodes) { return episodes < 2; });
  ASSERT_TRUE(has_parts("shared.h5"));
  RecordOptions other = kSmall;
  other.seed = 6;
  const Outcome outcome = record_with(2, "shared.h5", other);
  EXPECT_THAT(outcome.error, HasSubstr("parts of a recording with other options"));
  EXPECT_THAT(outcome.others, IsEmpty());
  EXPECT_TRUE(has_parts("shared.h5"));
}

TEST_F(SharedRecorder, TwoRunsDoNotShareTheirParts) {
  Outcome second;
  const Outcome first = record_with(1, "shared.h5", kSmall, [&](i64 episodes) {
    if (episodes > 0 && second.error.empty()) second = record_with(1, "shared.h5", kSmall);
    return true;
  });
  EXPECT_TRUE(first.summary.has_value()) << first.error;
  EXPECT_THAT(second.error, HasSubstr("is in use"));
}

TEST_F(SharedRecorder, WhatCannotBeRecordedIsSaidOnceAndLeavesNothing) {
  RecordOptions options = kSmall;
  options.policy = "lucky";
  Outcome outcome = record_with(3, "shared.h5", options);
  EXPECT_THAT(outcome.error, HasSubstr("lucky"));
  EXPECT_THAT(outcome.told, IsEmpty());
  EXPECT_FALSE(has_parts("shared.h5"));

  // the folder is not there
  outcome = record_with(2, "nowhere/shared.h5", kSmall);
  EXPECT_NE(outcome.error, "");
  EXPECT_THAT(outcome.others, IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(file("nowhere")));
}

}  // namespace
}  // namespace orrery
