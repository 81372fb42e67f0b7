// Every format: what is written is read again, also after a kill.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/random.h"
#include "data/convert.h"
#include "data/preview.h"
#include "data/statistics.h"
#include "data/summary.h"
#include "io/hdf5.h"
#include "media/video.h"

namespace orrery {
namespace {

constexpr i64 kSide = 32;

const std::vector<Column>& sample_columns() {
  static const std::vector<Column> columns = {{"pixels", DType::uint8, {kSide, kSide, 3}},
                                              {"action", DType::f32, {2}},
                                              {"state", DType::f64, {3}},
                                              {"terminated", DType::boolean, Shape({})},
                                              {"step_idx", DType::int64, Shape({})}};
  return columns;
}

// one episode's rows, a pure function of its number
struct Rows {
  i64 rows = 0;
  std::vector<std::vector<std::byte>> values;
  std::vector<const std::byte*> pointers;
};

Rows episode(i64 number) {
  Rows made;
  made.rows = 20 + number * 7 % 41;
  Random random(3, static_cast<u64>(number));
  for (const Column& column : sample_columns()) {
    made.values.emplace_back(static_cast<std::size_t>(made.rows * column.row_bytes()));
  }
  for (i64 t = 0; t < made.rows; ++t) {
    // smooth, so that lossy formats come close: a slope that moves
    auto* pixels = reinterpret_cast<u8*>(made.values[0].data()) + t * kSide * kSide * 3;
    for (i64 i = 0; i < kSide * kSide * 3; ++i) {
      pixels[i] = static_cast<u8>(40 + i / 3 % kSide * 3 + i / 3 / kSide * 2 + t);
    }
    for (i64 d = 0; d < 2; ++d) {
      const bool last = t + 1 == made.rows;
      const float value = last ? std::numeric_limits<float>::quiet_NaN() : random.normal();
      std::memcpy(made.values[1].data() + (t * 2 + d) * 4, &value, 4);
    }
    for (i64 d = 0; d < 3; ++d) {
      const double value = random.uniform_double();
      std::memcpy(made.values[2].data() + (t * 3 + d) * 8, &value, 8);
    }
    made.values[3][static_cast<std::size_t>(t)] = std::byte{t + 1 == made.rows};
    std::memcpy(made.values[4].data() + t * 8, &t, 8);
  }
  for (const auto& column : made.values) made.pointers.push_back(column.data());
  return made;
}

void write_sample(EpisodesWriter& writer, i64 episodes) {
  for (i64 e = 0; e < episodes; ++e) {
    const Rows rows = episode(e);
    writer.append(rows.rows, rows.pointers);
  }
}

// all columns but those named equal the sample, row by row
void expect_sample(const Episodes& episodes, i64 count, bool pictures) {
  ASSERT_EQ(episodes.count(), count);
  ASSERT_EQ(episodes.columns().size(), sample_columns().size());
  for (i64 e = 0; e < count; ++e) {
    const Rows rows = episode(e);
    ASSERT_EQ(episodes.length(e), rows.rows);
    for (std::size_t c = 0; c < sample_columns().size(); ++c) {
      const Column& column = sample_columns()[c];
      const i64 index = episodes.column_index(column.name);
      ASSERT_EQ(episodes.column(index).dtype, column.dtype);
      ASSERT_EQ(episodes.column(index).row, column.row);
      std::vector<std::byte> got(rows.values[c].size());
      episodes.read(index, episodes.offset(e), episodes.offset(e) + rows.rows, 1, got.data());
      if (c == 0 && !pictures) {
        double sum = 0;
        for (std::size_t i = 0; i < got.size(); ++i) {
          sum += std::abs(static_cast<int>(got[i]) - static_cast<int>(rows.values[c][i]));
        }
        // JPEG of quality 75 and H.264 of 23 on a smooth slope: below 1 when measured
        EXPECT_LT(sum / static_cast<double>(got.size()), 3) << e;
        continue;
      }
      ASSERT_EQ(0, std::memcmp(got.data(), rows.values[c].data(), got.size()))
          << column.name << " of episode " << e;
      // alone, by stride, and again from what is kept
      std::vector<std::byte> some(got.size());
      for (int again = 0; again < 3; ++again) {
        episodes.read(index, episodes.offset(e) + 1, episodes.offset(e) + rows.rows, 6,
                      some.data());
        for (i64 row = 1, at = 0; row < rows.rows; row += 6, ++at) {
          ASSERT_EQ(0, std::memcmp(some.data() + at * column.row_bytes(),
                                   got.data() + row * column.row_bytes(),
                                   static_cast<std::size_t>(column.row_bytes())));
        }
      }
    }
  }
}

class Formats : public testing::Test {
 protected:
  Formats() {
    folder_ = std::filesystem::temp_directory_path() / text("orrery-formats-", ::getpid());
    std::filesystem::create_directories(folder_);
  }
  ~Formats() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const WriteOptions& options,
                              i64 episodes = 9) {
    const auto writer = write_episodes(folder_ / name, sample_columns(), options);
    write_sample(*writer, episodes);
    writer->finish();
    return folder_ / name;
  }

  std::filesystem::path folder_;
};

TEST_F(Formats, WhatIsWrittenIsRead) {
  for (const char* name : {"a.h5", "a.zarr", "a.zarr.zip"}) {
    SCOPED_TRACE(name);
    expect_sample(*open_episodes(write(name, {})), 9, true);
  }
  expect_sample(*open_episodes(write("b.h5", {.layout = RecordingLayout::current})), 9, true);
  expect_sample(*open_episodes(write("folder", {})), 9, false);
  if (has_video()) {
    expect_sample(*open_episodes(write("films", {.format = EpisodeFormat::video})), 9, false);
  }
  // nothing temporary is left
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
  }
}

TEST_F(Formats, Hdf5OfEveryCodecAndAge) {
  for (const BloscCodec codec : {BloscCodec::blosclz, BloscCodec::lz4, BloscCodec::lz4hc,
                                 BloscCodec::snappy, BloscCodec::zlib, BloscCodec::zstd}) {
    for (const bool earliest : {false, true}) {
      const auto path = write(text(name_of(codec), earliest, ".h5"),
                              {.earliest = earliest, .blosc = BloscSettings{.codec = codec}});
      SCOPED_TRACE(path);
      expect_sample(*open_episodes(path), 9, true);
      const Hdf5Reader reader(path);
      EXPECT_TRUE(reader.columns()[static_cast<std::size_t>(reader.find("pixels"))].blosc());
    }
  }
}

TEST_F(Formats, SmallCachesGiveTheSame) {
  const auto path = write("a.h5", {}, 30);
  for (const i64 cache : {i64{1}, i64{400000}, i64{1} << 30}) {
    expect_sample(*open_episodes(path, {.cache_bytes = cache}), 30, true);
  }
}

TEST_F(Formats, AKilledWriterLeavesItsEpisodes) {
  for (const char* name : {"killed.h5", "killed.zarr", "killed-folder", "killed-films"}) {
    SCOPED_TRACE(name);
    const bool exact = std::filesystem::path(name).has_extension();
    WriteOptions options;
    if (name == std::string_view("killed-films")) {
      if (!has_video()) continue;
      options.format = EpisodeFormat::video;
    }
    constexpr i64 kEpisodes = 60;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto writer = write_episodes(folder_ / name, sample_columns(), options);
      write_sample(*writer, kEpisodes);
      ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    ASSERT_FALSE(std::filesystem::exists(folder_ / name));
    std::filesystem::path left;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      if (entry.path().filename().string().rfind(name, 0) == 0) left = entry.path();
    }
    ASSERT_FALSE(left.empty());
    const auto episodes = open_episodes(left);
    // the sample has 40 rows an episode on average, and at most a thousand rows wait
    EXPECT_GE(episodes->count(), kEpisodes - 1000 / 35);
    expect_sample(*episodes, episodes->count(), exact);
    // what is left can be made whole
    const auto whole = folder_ / text("whole-", name, exact ? "" : ".h5");
    convert_episodes(*episodes, whole, {}, [](i64, i64) { return true; });
    expect_sample(*open_episodes(whole), episodes->count(), exact);
    std::filesystem::remove_all(left);
  }
}

TEST_F(Formats, AFileIsReadWhileItIsWritten) {
  const auto writer = write_episodes(folder_ / "a.h5", sample_columns());
  write_sample(*writer, 40);
  std::filesystem::path there;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) there = entry.path();
  const auto episodes = open_episodes(there);
  EXPECT_GT(episodes->count(), 20);
  expect_sample(*episodes, episodes->count(), true);
  writer->finish();
  expect_sample(*open_episodes(folder_ / "a.h5"), 40, true);
}

TEST_F(Formats, WhatCannotBeReadIsTold) {
  const auto path = write("a.zarr", {});
  const auto about = path / "data" / "state" / ".zarray";
  std::string words = read_file(about, 1 << 16);
  words.replace(words.find("<f8"), 3, "<U2");
  write_file(about, words);
  const auto episodes = open_episodes(path);
  EXPECT_EQ(episodes->columns().size(), sample_columns().size() - 1);
  ASSERT_EQ(episodes->refused().size(), 1u);
  EXPECT_EQ(episodes->refused()[0].column, "state");
  try {
    episodes->column_index("state");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("<U2"), std::string::npos) << error.what();
  }
}

TEST_F(Formats, GivenUpLeavesNothing) {
  for (const char* name : {"a.h5", "a.zarr", "a.zarr.zip", "folder"}) {
    const auto writer = write_episodes(folder_ / name, sample_columns());
    write_sample(*writer, 30);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(Formats, ColumnsAreChosenNamedAndCast) {
  const auto source = open_episodes(write("a.h5", {}));
  ConvertOptions options = {.columns = {{"step_idx", "time", DType::uint8}, {"state", "", {}}},
                            .first_episode = 2,
                            .episodes = 3};
  const auto progress = [](i64, i64) { return true; };
  convert_episodes(*source, folder_ / "b.h5", options, progress);
  const auto chosen = open_episodes(folder_ / "b.h5");
  ASSERT_EQ(chosen->count(), 3);
  EXPECT_EQ(chosen->columns().size(), 2u);
  EXPECT_EQ(chosen->column(chosen->column_index("time")).dtype, DType::uint8);
  std::vector<double> times(static_cast<std::size_t>(chosen->length(0)));
  chosen->read_f64(chosen->column_index("time"), 0, chosen->length(0), 1, times.data());
  for (std::size_t t = 0; t < times.size(); ++t) EXPECT_EQ(times[t], static_cast<double>(t));

  options.columns = {{"state", "", DType::int32}};  // fractions
  EXPECT_THROW(convert_episodes(*source, folder_ / "c.h5", options, progress), Error);
  options.columns = {{"nothing", "", {}}};
  EXPECT_THROW(convert_episodes(*source, folder_ / "c.h5", options, progress), Error);
  options = {.first_episode = 8, .episodes = 3};
  EXPECT_THROW(convert_episodes(*source, folder_ / "c.h5", options, progress), Error);
  options = {};
  EXPECT_THROW(
      convert_episodes(*source, folder_ / "c.h5", options, [](i64 e, i64) { return e < 3; }),
      Error);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "c.h5"));
}

TEST_F(Formats, RefusesWhatItCannotWrite) {
  const auto refused = [&](const std::string& name, std::vector<Column> columns,
                           const WriteOptions& options = {}) {
    EXPECT_THROW(write_episodes(folder_ / name, columns, options), Error) << name;
  };
  refused("a.h5", {});
  refused("a.h5", {{"x", DType::f32, {1}}, {"x", DType::f32, {1}}});
  refused("a.h5", {{"../x", DType::f32, {1}}});
  refused("a.h5", {{"ep_len", DType::f32, {1}}});
  refused("a.h5", {{"x", DType::bf16, {1}}});
  std::filesystem::create_directory(folder_ / "there.zarr");
  refused("there.zarr", sample_columns());
  EXPECT_THROW(open_episodes(folder_ / "nowhere"), Error);
  EXPECT_THROW(open_episodes(folder_), Error);
}

TEST_F(Formats, SummariesCountEverything) {
  const auto episodes = open_episodes(write("a.h5", {}));
  const ColumnSummary action = summary_of(*episodes, episodes->column_index("action"));
  EXPECT_EQ(action.rows_with_nan, 9);
  EXPECT_EQ(action.rows + action.rows_with_nan, episodes->rows());
  const ColumnSummary state = summary_of(*episodes, episodes->column_index("state"));
  const ColumnStatistics reference = column_statistics(*episodes, episodes->column_index("state"));
  for (std::size_t c = 0; c < 3; ++c) {
    // both are sums of some hundred doubles
    EXPECT_NEAR(state.mean[c], reference.mean[c], 1e-12);
    EXPECT_NEAR(state.deviation[c], reference.deviation[c], 1e-12);
    EXPECT_LE(state.minimum[c], state.mean[c]);
    EXPECT_GE(state.maximum[c], state.mean[c]);
  }
  // pictures, against a plain loop
  const ColumnSummary pixels = summary_of(*episodes, episodes->column_index("pixels"));
  double sum = 0, count = 0;
  for (i64 e = 0; e < 9; ++e) {
    const Rows rows = episode(e);
    for (std::size_t i = 1; i < rows.values[0].size(); i += 3) {
      sum += static_cast<double>(rows.values[0][i]);
      ++count;
    }
  }
  ASSERT_EQ(pixels.mean.size(), 3u);
  EXPECT_NEAR(pixels.mean[1], sum / count, 1e-9);
}

TEST_F(Formats, PreviewsShowTheFrames) {
  const auto episodes = open_episodes(write("a.h5", {}));
  const Image sheet = contact_sheet(*episodes, {.episodes = {0, 3}, .frames = 4});
  EXPECT_EQ(sheet.height, 2 * (kSide + 2) + 2);
  EXPECT_EQ(sheet.width, 4 * (kSide + 2) + 2);
  // the last frame of episode 3 is at the right end of the second row
  const Rows rows = episode(3);
  const auto* frame = rows.values[0].data() + (rows.rows - 1) * kSide * kSide * 3;
  for (i64 y = 0; y < kSide; ++y) {
    EXPECT_EQ(0, std::memcmp(sheet.rgb.data() +
                                 ((2 + kSide + 2 + y) * sheet.width + 2 + 3 * (kSide + 2)) * 3,
                             frame + y * kSide * 3, kSide * 3));
  }
  write_preview_page(*episodes, folder_ / "page.html", {});
  EXPECT_GT(std::filesystem::file_size(folder_ / "page.html"), 5000u);
  if (has_video()) {
    write_preview_film(*episodes, folder_ / "film.mp4", {});
    // as long as the longest, episode 5
    EXPECT_EQ(VideoReader(folder_ / "film.mp4").frames(), 55);
    write_preview_film(*episodes, folder_ / "film.gif", {});
    EXPECT_EQ(VideoReader(folder_ / "film.gif").frames(), 55);
  }
  EXPECT_THROW(contact_sheet(*episodes, {.episodes = {9}}), Error);
  EXPECT_THROW(contact_sheet(*episodes, {.column = "action"}), Error);
}

}  // namespace
}  // namespace orrery
