#include "data/episodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/random.h"
#include "data/loader.h"
#include "data/statistics.h"
#include "data/windows.h"
#include "io/hdf5.h"

namespace orrery {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Episodes of 9, 3 and 12 rows; pixels [2, 2, 3] hold the row number, action (row, -row) with NaN
// in each last row.
const std::vector<i64> kLengths = {9, 3, 12};

TensorMap sample_columns() {
  Tensor pixels(DType::uint8, {24, 2, 2, 3});
  Tensor action(DType::f32, {24, 2});
  Tensor step(DType::int64, {24});
  i64 row = 0;
  for (const i64 length : kLengths) {
    for (i64 t = 0; t < length; ++t, ++row) {
      std::fill_n(pixels.data<u8>() + row * 12, 12, static_cast<u8>(row));
      const bool last = t == length - 1;
      action.data<float>()[2 * row] = last ? kNan : static_cast<float>(row);
      action.data<float>()[2 * row + 1] = last ? kNan : -static_cast<float>(row);
      step.data<i64>()[row] = t;
    }
  }
  TensorMap map;
  map.emplace("pixels", std::move(pixels));
  map.emplace("action", std::move(action));
  map.emplace("step_idx", std::move(step));
  return map;
}

std::unique_ptr<Episodes> sample() {
  return episodes_in_memory("sample", kLengths, sample_columns());
}

struct Damage {
  std::vector<i32> lengths = {9, 3, 12};
  std::vector<i64> offsets = {0, 9, 12};
  bool has_lengths = true;
  i64 pixel_rows = 24;
};

std::filesystem::path test_file() {
  return std::filesystem::path(testing::TempDir()) / text("episodes-", ::getpid(), ".h5");
}

// removes it when the program ends
const struct Cleanup {
  ~Cleanup() {
    std::error_code ignored;
    std::filesystem::remove(test_file(), ignored);
  }
} cleanup;

// the same recording as an HDF5 file, or something near it
std::filesystem::path write_file_with(const Damage& damage) {
  const auto path = test_file();
  const TensorMap columns = sample_columns();
  Hdf5Writer writer(path);
  const auto add = [&](const char* name, DType dtype, const Shape& row, i64 chunk, bool blosc,
                       i64 rows, const void* values) {
    writer.append(
        writer.add_column(name, dtype, row, chunk,
                          blosc ? std::optional<BloscSettings>(BloscSettings{}) : std::nullopt),
        rows, values);
  };
  add("pixels", DType::uint8, {2, 2, 3}, 5, true, damage.pixel_rows, columns.at("pixels").bytes());
  add("action", DType::f32, {2}, 1, false, 24, columns.at("action").bytes());
  add("step_idx", DType::int64, Shape({}), 1000, false, 24, columns.at("step_idx").bytes());
  if (damage.has_lengths) {
    add("ep_len", DType::int32, Shape({}), 1024, false, static_cast<i64>(damage.lengths.size()),
        damage.lengths.data());
  }
  add("ep_offset", DType::int64, Shape({}), 1024, false, static_cast<i64>(damage.offsets.size()),
      damage.offsets.data());
  writer.close();
  return path;
}

TEST(Episodes, FileAndMemoryReadTheSame) {
  const auto memory = sample();
  // a cache that holds one chunk only: every change of chunk decodes
  const auto file = open_episodes(write_file_with({}), {.cache_bytes = 1});
  ASSERT_EQ(file->rows(), 24);
  ASSERT_EQ(file->count(), 3);
  EXPECT_EQ(file->offset(2), 12);
  EXPECT_EQ(file->length(1), 3);
  EXPECT_EQ(file->find_column("ep_len"), -1);
  for (const auto* episodes : {memory.get(), file.get()}) {
    for (const i64 stride : {1, 2, 5, 30}) {
      std::vector<u8> pixels(24 * 12);
      episodes->read(episodes->column_index("pixels"), 3, 22, stride,
                     reinterpret_cast<std::byte*>(pixels.data()));
      std::size_t at = 0;
      for (i64 row = 3; row < 22; row += stride) {
        for (int i = 0; i < 12; ++i) ASSERT_EQ(pixels[at++], row) << "stride " << stride;
      }
      std::vector<float> steps(24);
      episodes->read_f32(episodes->column_index("step_idx"), 9, 24, stride, steps.data());
      EXPECT_EQ(steps[0], 0);
      EXPECT_EQ(steps[1], stride == 1 ? 1 : stride == 2 ? 2 : stride == 5 ? 2 : 0);
    }
    EXPECT_THAT([&] { episodes->column_index("pixel"); },
                ThrowsMessage<Error>(HasSubstr("step_idx")));
    std::byte byte;
    EXPECT_THROW(episodes->read(0, 0, 25, 1, &byte), Error);
    EXPECT_THROW(episodes->read(0, 4, 3, 1, &byte), Error);
    EXPECT_THROW(episodes->read(7, 0, 1, 1, &byte), Error);
  }
}

TEST(Episodes, InconsistentFilesAreRefusedInOneSentence) {
  const auto refuses = [](const Damage& damage, const char* why) {
    EXPECT_THAT([&] { open_episodes(write_file_with(damage)); },
                ThrowsMessage<Error>(HasSubstr(why)));
  };
  refuses({.lengths = {}, .offsets = {}, .has_lengths = false}, "has no ep_len");
  refuses({.lengths = {9, 3, 13}}, "has 24 rows, the episodes have 25");
  refuses({.lengths = {9, 3}}, "3 episode offsets for 2 episodes");
  refuses({.lengths = {9, -3, 18}}, "episode 1 has -3 rows");
  refuses({.offsets = {0, 8, 12}}, "begins at row 8");
  refuses({.lengths = {}, .offsets = {}}, "has no rows");
  refuses({.lengths = {0}, .offsets = {0}}, "has no rows");
  refuses({.pixel_rows = 23}, "column pixels");
}

TEST(Episodes, HeldInMemoryWhenItFits) {
  const auto held = held_if_it_fits(open_episodes(write_file_with({})), {"pixels", "action"});
  EXPECT_EQ(held->columns().size(), 2u);
  std::vector<u8> pixel(12);
  held->read(held->column_index("pixels"), 23, 24, 1, reinterpret_cast<std::byte*>(pixel.data()));
  EXPECT_EQ(pixel[11], 23);
  const auto not_held =
      held_if_it_fits(open_episodes(write_file_with({})), {"pixels"}, 24 * 12 - 1);
  EXPECT_EQ(not_held->columns().size(), 3u);
}

TEST(Statistics, LeaveOutRowsWithNan) {
  const auto episodes = sample();
  const ColumnStatistics got = column_statistics(*episodes, episodes->column_index("action"));
  // rows 8, 11 and 23 are NaN: a plain loop over the others
  double sum = 0, squares = 0;
  for (int row = 0; row < 24; ++row) {
    if (row == 8 || row == 11 || row == 23) continue;
    sum += row;
    squares += row * row;
  }
  EXPECT_EQ(got.rows, 21);
  EXPECT_EQ(got.rows_with_nan, 3);
  EXPECT_NEAR(got.mean[0], sum / 21, 1e-13);
  EXPECT_NEAR(got.mean[1], -sum / 21, 1e-13);
  EXPECT_NEAR(got.deviation[0], std::sqrt(squares / 21 - sum * sum / 21 / 21), 1e-12);
  // the sorted rows are 0..7, 9, 10, 12..22; place 0.3 * 20 = 6
  EXPECT_NEAR(column_percentile(*episodes, episodes->column_index("action"), 30)[0], 6, 1e-12);
  EXPECT_NEAR(column_percentile(*episodes, episodes->column_index("action"), 37.5)[0], 7.5 + 0.5,
              1e-12);
}

TEST(Statistics, ZScoreTurnsNanIntoTheMeanAndSurvivesConstants) {
  const ZScore scale(std::vector<double>{1, 5}, std::vector<double>{2, 0});
  std::vector<float> values = {3, 5, kNan, 6};
  scale.normalise(values);
  EXPECT_EQ(values, (std::vector<float>{1, 0, 0, 1.0f / 1e-8f}));
  scale.restore(values);
  EXPECT_EQ(values, (std::vector<float>{3, 5, 1, 6}));
  EXPECT_THROW(scale.normalise(std::span(values).first(3)), Error);
  TensorMap all_nan;
  all_nan.emplace("action", Tensor::of<float>({2, 1}, std::vector<float>{kNan, kNan}));
  const auto episodes = episodes_in_memory("nan", {2}, std::move(all_nan));
  EXPECT_THROW(column_statistics(*episodes, 0), Error);
  TensorMap infinite;
  infinite.emplace("action", Tensor::of<float>({2, 1}, std::vector<float>{1, 1 / 0.0f}));
  EXPECT_THROW(column_statistics(*episodes_in_memory("infinite", {2}, std::move(infinite)), 0),
               Error);
}

TEST(Windows, AreEnumeratedEpisodeByEpisode) {
  const auto episodes = sample();
  for (const i64 frameskip : {1, 2, 3}) {
    for (const i64 steps : {1, 2, 4}) {
      const Windows windows(*episodes, {frameskip, steps});
      // plain enumeration
      i64 index = 0;
      for (i64 e = 0; e < 3; ++e) {
        for (i64 start = 0; start + frameskip * steps <= kLengths[static_cast<std::size_t>(e)];
             ++start, ++index) {
          ASSERT_LT(index, windows.size());
          const auto place = windows[index];
          ASSERT_EQ(place.episode, e);
          ASSERT_EQ(place.start, start);
          ASSERT_EQ(place.row, episodes->offset(e) + start);
        }
      }
      EXPECT_EQ(windows.size(), index);
      EXPECT_THROW(windows[index], Error);
      EXPECT_THROW(windows[-1], Error);
    }
  }
  EXPECT_EQ(Windows(*episodes, {5, 4}).size(), 0);
  EXPECT_EQ(Windows(*episodes, {1, 1}, {1}).size(), 3);
  EXPECT_EQ(Windows(*episodes, {1, 1}, {2, 1})[12].row, 9);
  EXPECT_THROW(Windows(*episodes, {0, 4}), Error);
  EXPECT_THROW(Windows(*episodes, {i64{1} << 40, i64{1} << 40}), Error);
  EXPECT_THROW(Windows(*episodes, {1, 1}, {3}), Error);
}

TEST(Windows, ObservationsSkipAndActionsDoNot) {
  const auto episodes = sample();
  const Windows windows(*episodes, {3, 2});
  const i64 window = 5;  // the first of the third episode: 4 + 0 come before, then start 1
  ASSERT_EQ(windows[window].row, 13);
  std::vector<u8> pixels(24);
  windows.read_observations(window, episodes->column_index("pixels"),
                            reinterpret_cast<std::byte*>(pixels.data()));
  EXPECT_EQ(pixels[0], 13);
  EXPECT_EQ(pixels[12], 16);
  std::vector<float> action(12);
  windows.read_actions_f32(window, episodes->column_index("action"), action.data());
  EXPECT_EQ(action, (std::vector<float>{13, -13, 14, -14, 15, -15, 16, -16, 17, -17, 18, -18}));
}

TEST(Split, IsByEpisodeAndComplete) {
  for (const i64 count : {1, 2, 10, 501}) {
    const EpisodeSplit split = split_episodes(count, 0.9, 4);
    std::vector<i64> all = split.train;
    all.insert(all.end(), split.validation.begin(), split.validation.end());
    std::sort(all.begin(), all.end());
    std::vector<i64> expected(static_cast<std::size_t>(count));
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(all, expected);
    EXPECT_EQ(split.validation.empty(), count == 1);
    EXPECT_NEAR(static_cast<double>(split.train.size()), 0.9 * static_cast<double>(count), 1);
  }
  EXPECT_NE(split_episodes(100, 0.5, 1).train, split_episodes(100, 0.5, 2).train);
  EXPECT_THROW(split_episodes(10, 0, 1), Error);
}

class Loader : public testing::Test {
 protected:
  std::unique_ptr<Episodes> episodes_ = sample();
  Windows windows_{*episodes_, {2, 2}};  // 6 + 0 + 9 windows
  ZScore scale_{column_statistics(*episodes_, episodes_->column_index("action"))};
};

TEST_F(Loader, EveryEpochIsAnotherOrderOfAllWindows) {
  WindowLoader loader(windows_, scale_, {.batch = 5, .seed = 9});
  ASSERT_EQ(loader.steps_per_epoch(), 3);
  std::vector<std::vector<i64>> epochs;
  for (i64 epoch = 0; epoch < 4; ++epoch) {
    std::vector<i64> seen;
    for (i64 i = 0; i < 3; ++i) {
      const WindowBatch& batch = loader.batch(epoch * 3 + i);
      EXPECT_EQ(batch.step, epoch * 3 + i);
      seen.insert(seen.end(), batch.windows.begin(), batch.windows.end());
    }
    epochs.push_back(seen);
    std::sort(seen.begin(), seen.end());
    std::vector<i64> expected(15);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(seen, expected);
  }
  EXPECT_NE(epochs[0], epochs[1]);
}

TEST_F(Loader, AStepIsTheSameHoweverOneComesToIt) {
  WindowLoader straight(windows_, scale_, {.batch = 4, .seed = 3, .prefetch = 0});
  WindowLoader jumping(windows_, scale_, {.batch = 4, .seed = 3, .prefetch = 3});
  for (const i64 step : {0, 1, 2, 7, 7, 6, 30, 31, 2, 3, 4, 5, 6, 0}) {
    const WindowBatch& a = straight.batch(step);
    const WindowBatch& b = jumping.batch(step);
    ASSERT_EQ(a.windows, b.windows);
    ASSERT_EQ(a.windows, straight.windows_of(step));
    ASSERT_EQ(
        std::memcmp(a.pixels.data(), b.pixels.data(), static_cast<std::size_t>(a.pixels.numel())),
        0);
    ASSERT_EQ(std::memcmp(a.action.data(), b.action.data(),
                          static_cast<std::size_t>(a.action.numel()) * sizeof(float)),
              0);
  }
}

TEST_F(Loader, PartsOfABatchAreReadByDifferentLoaders) {
  WindowLoader whole(windows_, scale_, {.batch = 5, .seed = 3});
  WindowLoader first(windows_, scale_, {.batch = 5, .part = 2, .seed = 3});
  WindowLoader second(windows_, scale_, {.batch = 5, .first = 2, .part = 3, .seed = 3});
  EXPECT_EQ(first.steps_per_epoch(), whole.steps_per_epoch());
  for (const i64 step : {0, 2, 3, 7}) {
    const WindowBatch& all = whole.batch(step);
    std::vector<i64> windows = first.batch(step).windows;
    windows.insert(windows.end(), second.batch(step).windows.begin(),
                   second.batch(step).windows.end());
    EXPECT_EQ(windows, all.windows);
    const auto span_of = [](View<const float, 3> of) {
      return std::span(of.data(), static_cast<std::size_t>(of.numel()));
    };
    const auto numbers = span_of(all.action), a = span_of(first.batch(step).action),
               b = span_of(second.batch(step).action);
    EXPECT_TRUE(std::equal(a.begin(), a.end(), numbers.begin()));
    EXPECT_TRUE(std::equal(b.rbegin(), b.rend(), numbers.rbegin()));
  }
  EXPECT_THROW(WindowLoader(windows_, scale_, {.batch = 5, .first = 3, .part = 3}), Error);
}

TEST_F(Loader, BatchesHoldTheirWindows) {
  WindowLoader loader(windows_, scale_, {.batch = 15, .order = WindowOrder::in_order});
  const WindowBatch& batch = loader.batch(2);
  const View<const u8, 5> pixels = batch.pixels;
  const View<const float, 3> action = batch.action;
  ASSERT_EQ(pixels.shape(), Shape({15, 2, 2, 2, 3}));
  ASSERT_EQ(action.shape(), Shape({15, 2, 4}));
  for (i64 i = 0; i < 15; ++i) {
    const i64 row = windows_[i].row;
    EXPECT_EQ(pixels(i, 0, 0, 0, 0), row);
    EXPECT_EQ(pixels(i, 1, 1, 1, 2), row + 2);
    // block 1, second action
    const bool nan = row + 3 == 8 || row + 3 == 23;
    const float raw = static_cast<float>(row + 3);
    EXPECT_EQ(action(i, 1, 2), nan ? 0 : (raw - scale_.mean()[0]) / scale_.scale()[0]);
    EXPECT_EQ(action(i, 1, 3), nan ? 0 : (-raw - scale_.mean()[1]) / scale_.scale()[1]);
  }
}

// as recorded, of the rows that the pictures are of
TEST_F(Loader, AnotherColumnComesWithThePictures) {
  WindowLoader loader(windows_, scale_,
                      {.batch = 15, .order = WindowOrder::in_order, .observation = "action"});
  const auto seen = loader.batch(2).observation;
  ASSERT_EQ(seen.shape(), Shape({15, 2, 2}));
  for (i64 i = 0; i < 15; ++i) {
    for (i64 t = 0; t < 2; ++t) {
      const i64 row = windows_[i].row + 2 * t;
      if (row == 8 || row == 23) continue;  // not a number
      EXPECT_EQ(seen(i, t, 0), static_cast<float>(row));
      EXPECT_EQ(seen(i, t, 1), static_cast<float>(-row));
    }
  }
  EXPECT_THROW(WindowLoader(windows_, scale_, {.batch = 2, .observation = "elsewhere"}), Error);
}

TEST_F(Loader, RefusesWhatItCannotServe) {
  EXPECT_THAT([&] { WindowLoader(windows_, scale_, {.batch = 16}); },
              ThrowsMessage<Error>(HasSubstr("15 windows")));
  EXPECT_THROW(WindowLoader(windows_, scale_, {.batch = 0}), Error);
  EXPECT_THROW(WindowLoader(windows_, ZScore(std::vector<double>{0}, std::vector<double>{1}), {}),
               Error);
  EXPECT_THAT([&] { WindowLoader(windows_, scale_, {.batch = 2, .pixels = "action"}); },
              ThrowsMessage<Error>(HasSubstr("height, width, channels")));
}

// a recording whose rows fail from some row on
class Broken final : public Episodes {
 public:
  Broken() : Episodes("broken", {20}) {
    columns_ = {{"pixels", DType::uint8, {1, 1, 3}}, {"action", DType::f32, {1}}};
  }

 protected:
  void do_read(i64, i64, i64 end, i64, std::byte*) const override {
    check(end < 10, "row ", end, " is damaged");
  }
};

TEST(LoaderFailure, ComesOutOfBatch) {
  const Broken broken;
  const Windows windows(broken, {1, 1});
  WindowLoader loader(windows, ZScore(std::vector<double>{0}, std::vector<double>{1}),
                      {.batch = 2, .order = WindowOrder::in_order, .prefetch = 0});
  EXPECT_EQ(loader.batch(0).step, 0);
  EXPECT_THAT([&] { loader.batch(6); }, ThrowsMessage<Error>(HasSubstr("is damaged")));
  EXPECT_EQ(loader.batch(1).step, 1);
}

}  // namespace
}  // namespace orrery
