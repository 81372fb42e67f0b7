#include "data/played_episodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "base/error.h"
#include "data/convert.h"
#include "data/recorder.h"
#include "io/hdf5.h"

namespace orrery {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr auto kGoingOn = [](i64, i64) { return true; };

class PlayedEpisodes : public testing::Test {
 protected:
  PlayedEpisodes() {
    folder_ = std::filesystem::temp_directory_path() / text("orrery-played-", ::getpid());
    std::filesystem::create_directories(folder_);
  }
  ~PlayedEpisodes() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path file(const std::string& name) const { return folder_ / name; }

  std::unique_ptr<Episodes> recorded(const std::string& name, RecordOptions options,
                                     RecordedColumns columns, i64 image_size = 0) const {
    Context ctx({.threads = 2});
    options.columns = columns;
    options.layout = RecordingLayout::packed;
    record(ctx, options, file(name), kGoingOn);
    return open_episodes(file(name), {.image_size = image_size});
  }

  std::filesystem::path folder_;
};

std::vector<std::byte> values(const Episodes& episodes, const char* column) {
  const i64 index = episodes.column_index(column);
  std::vector<std::byte> out(
      static_cast<std::size_t>(episodes.rows() * episodes.column(index).row_bytes()));
  episodes.read(index, 0, episodes.rows(), 1, out.data());
  return out;
}

// pushes that turn a block, and where its pieces stood
std::shared_ptr<const std::vector<Demonstration>> demonstrations() {
  Demonstration shown;
  for (int t = 0; t < 40; ++t) {
    shown.states.push_back({150.0 + 3 * t, 200, 250, 230, 0.4});
    shown.targets.push_back({160.0 + 4 * t, 205.0 + t});
  }
  return std::make_shared<const std::vector<Demonstration>>(1, shown);
}

RecordOptions replayed() {
  return {.environment = "pusht",
          .policy = "replay",
          .episodes = 5,
          .seed = 11,
          .max_steps = 1000,
          .image_size = 64,
          .demonstrations = demonstrations()};
}

TEST_F(PlayedEpisodes, AreTheStatesAndPicturesOfTheRecording) {
  const RecordOptions cases[] = {
      replayed(),
      {.environment = "pusht", .policy = "weak", .episodes = 3, .seed = 2, .max_steps = 60},
      {.environment = "pusht-absolute", .policy = "weak", .episodes = 2, .max_steps = 20},
      {.environment = "tworoom", .policy = "mixed", .episodes = 4, .seed = 5, .max_steps = 30},
      {.environment = "tworoom",
       .policy = "random",
       .episodes = 3,
       .max_steps = 10,
       .reset = {.variation = {"all"}}},
  };
  for (RecordOptions options : cases) {
    options.image_size = 64;
    const auto whole = recorded("whole.h5", options, RecordedColumns::all_but_pixels);
    const auto actions = recorded("actions.h5", options, RecordedColumns::actions);
    const char* state = options.environment == "tworoom" ? "proprio" : "state";
    for (const char* column : {"action", "ep_idx", "step_idx", state, "pixels"}) {
      EXPECT_EQ(values(*actions, column), values(*whole, column))
          << options.environment << " " << options.policy << " " << column;
    }
    EXPECT_EQ(actions->find_column("reward"), -1);
  }
}

TEST_F(PlayedEpisodes, RoundedActionsAreThoseThatWerePlayed) {
  RecordOptions options = replayed();
  options.bits = 12;
  const auto actions = recorded("actions.h5", options, RecordedColumns::actions);
  std::vector<std::string> names;
  for (const Column& column : actions->columns()) names.push_back(column.name);
  EXPECT_THAT(names,
              ElementsAre("action", "end", "ep_idx", "start", "step_idx", "state", "pixels"));
  const auto bytes = values(*actions, "action");
  const std::span<const u32> bits(reinterpret_cast<const u32*>(bytes.data()), bytes.size() / 4);
  i64 seen = 0;
  for (const u32 value : bits) {
    if (std::isnan(std::bit_cast<float>(value))) continue;
    EXPECT_EQ(value & 0xfffu, 0u);
    seen += value != 0;
  }
  EXPECT_GT(seen, 300);
  // the states are of these actions, or reading them would fail
  const auto states = values(*actions, "state");
  const std::span<const double> numbers(reinterpret_cast<const double*>(states.data()),
                                        states.size() / 8);
  EXPECT_NE(numbers[0], numbers[7 * 30]);

  options.bits = 24;
  const auto exact = recorded("exact.h5", options, RecordedColumns::actions);
  EXPECT_NE(values(*exact, "state"), states);
  EXPECT_LT(stored_bytes(file("actions.h5")), stored_bytes(file("exact.h5")));
}

TEST_F(PlayedEpisodes, AnyNumberOfThreadsReadsTheSame) {
  const auto options = replayed();
  const auto all = values(*recorded("a.h5", options, RecordedColumns::actions), "state");
  const auto fresh = open_episodes(file("a.h5"));
  const i64 column = fresh->column_index("state");
  const i64 bytes = fresh->column(column).row_bytes();
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (i64 t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::byte> row(static_cast<std::size_t>(bytes));
      for (i64 i = 0; i < 60; ++i) {
        const i64 at = (i * 37 + t * 7) % fresh->rows();
        fresh->read(column, at, at + 1, 1, row.data());
        wrong += !std::equal(row.begin(), row.end(), all.begin() + at * bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(PlayedEpisodes, CopiesHaveTheirStates) {
  const auto actions = recorded("a.h5", replayed(), RecordedColumns::actions);
  convert_episodes(*actions, file("copy.h5"),
                   {.columns = {{.from = "action"}, {.from = "state"}, {.from = "ep_idx"}}},
                   kGoingOn);
  const auto copy = open_episodes(file("copy.h5"));
  EXPECT_EQ(copy->find_column("start"), -1);
  EXPECT_EQ(values(*copy, "state"), values(*actions, "state"));
  EXPECT_EQ(values(*copy, "pixels"), values(*actions, "pixels"));
}

// a recording of two rows whose columns may be changed
struct Made {
  std::array<float, 4> action = {0.1f, 0.2f, NAN, NAN};
  std::array<double, 14> start = {100, 100, 300, 300, 0, 0, 0, 100, 100, 300, 300, 0, 0, 0};
  std::array<double, 14> end = {};
  std::array<i32, 2> number = {};
  i64 start_width = 7;
  bool has_end = true;

  std::unique_ptr<Episodes> written(const std::filesystem::path& path,
                                    const std::string& drawing) const {
    Hdf5Writer writer(path);
    const auto put = [&](const char* name, DType dtype, const Shape& row, i64 rows,
                         const void* from) {
      writer.append(writer.add_column(name, dtype, row, 4, std::nullopt), rows, from);
    };
    const i32 length = 2;
    const i64 offset = 0;
    put("action", DType::f32, {2}, 2, action.data());
    put("start", DType::f64, {start_width}, 2, start.data());
    if (has_end) put("end", DType::f64, {7}, 2, end.data());
    put("ep_idx", DType::int32, Shape({}), 2, number.data());
    put("ep_len", DType::int32, Shape({}), 1, &length);
    put("ep_offset", DType::int64, Shape({}), 1, &offset);
    writer.set_text("orrery", drawing);
    writer.close();
    return open_episodes(path);
  }
};

TEST_F(PlayedEpisodes, WhatCannotBePlayedIsSaid) {
  const std::string drawing = recorded("a.h5", replayed(), RecordedColumns::actions)->drawing();
  const auto path = file("made.h5");
  const auto refusal = [&](const Made& made, const char* why) {
    const auto episodes = made.written(path, drawing);
    EXPECT_THAT([&] { values(*episodes, "state"); }, ThrowsMessage<Error>(HasSubstr(why)));
    // actions are there all the same
    EXPECT_EQ(values(*episodes, "action").size(), 16u);
  };
  refusal({}, "another build of the simulator moves otherwise");
  refusal({.action = {INFINITY, 0, NAN, NAN}}, "action 0 is inf");
  refusal({.number = {-1, -1}}, "ep_idx of row 0 is -1");
  refusal({.start = {1e9, 0, 0, 0, 0, 0, 0}}, "cannot play episode 0 of");
  refusal({.start_width = 3}, "its column start holds");
  refusal({.has_end = false}, "no column 'end'");
}

}  // namespace
}  // namespace orrery
