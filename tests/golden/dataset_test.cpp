// Recordings in every format against what the official readers return.
#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <cstring>

#include "data/episodes.h"
#include "data/goals.h"
#include "data/joined_episodes.h"
#include "data/statistics.h"
#include "data/windows.h"
#include "io/hdf5.h"
#include "io/json.h"
#include "io/npz.h"
#include "media/video.h"
#include "sha256.h"
#include "shared.h"

namespace orrery {
namespace {

using nlohmann::json;

std::filesystem::path folder() { return shared_folder() / "golden" / "dataset"; }

std::string numpy_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float32";
    case DType::f64:
      return "float64";
    case DType::boolean:
      return "bool";
    default:
      return name_of(dtype);
  }
}

// The official readers return images with the channels first.
std::vector<std::byte> channels_first(const Column& column, std::vector<std::byte> values) {
  if (column.row.rank() != 3 || (column.row[2] != 1 && column.row[2] != 3)) return values;
  const std::size_t pixels = static_cast<std::size_t>(column.row[0] * column.row[1]);
  const auto channels = static_cast<std::size_t>(column.row[2]);
  std::vector<std::byte> turned(values.size());
  for (std::size_t frame = 0; frame < values.size(); frame += pixels * channels) {
    for (std::size_t i = 0; i < pixels; ++i) {
      for (std::size_t c = 0; c < channels; ++c) {
        turned[frame + c * pixels + i] = values[frame + i * channels + c];
      }
    }
  }
  return turned;
}

std::vector<std::byte> rows_of(const Episodes& episodes, i64 column, i64 begin, i64 end,
                               i64 stride) {
  const i64 rows = (end - begin + stride - 1) / stride;
  std::vector<std::byte> values(
      static_cast<std::size_t>(rows * episodes.column(column).row_bytes()));
  episodes.read(column, begin, end, stride, values.data());
  return values;
}

// one array as expected.json tells it
void expect_array(const json& told, const Column& column, const std::vector<std::byte>& values) {
  EXPECT_EQ(told.at("dtype"), numpy_name(column.dtype)) << column.name;
  i64 numbers = 1;
  for (const auto& size : told.at("shape")) numbers *= size.get<i64>();
  ASSERT_EQ(static_cast<i64>(values.size()), numbers * element_bytes(column.dtype)) << column.name;
  EXPECT_EQ(told.at("sha256"), sha256_of(values)) << column.name;
}

// rows [begin, end) of all columns: observations by frameskip, actions all
void expect_rows(const Episodes& episodes, const json& told, i64 begin, i64 end, i64 frameskip) {
  for (const auto& [name, array] : told.items()) {
    const i64 index = episodes.column_index(name);
    const Column& column = episodes.column(index);
    const i64 stride = name == "action" ? 1 : frameskip;
    expect_array(array, column,
                 channels_first(column, rows_of(episodes, index, begin, end, stride)));
  }
}

void expect_recording(const Episodes& episodes, const json& told) {
  if (told.contains("lengths")) {
    std::vector<i64> lengths, offsets;
    for (i64 e = 0; e < episodes.count(); ++e) {
      lengths.push_back(episodes.length(e));
      offsets.push_back(episodes.offset(e));
    }
    EXPECT_EQ(told.at("lengths"), json(lengths));
    EXPECT_EQ(told.at("offsets"), json(offsets));
    EXPECT_EQ(told.at("columns").size(), episodes.columns().size());
  }
  for (const auto& pair : told.at("counts")) {
    const WindowShape shape = {pair.at("frameskip"), pair.at("num_steps")};
    EXPECT_EQ(Windows(episodes, shape).size(), pair.at("windows").get<i64>())
        << shape.frameskip << " " << shape.num_steps;
  }
  for (const auto& group : told.at("windows")) {
    const WindowShape shape = {group.at("frameskip"), group.at("num_steps")};
    const Windows windows(episodes, shape);
    for (const auto& item : group.at("items")) {
      const i64 index = item.at("index");
      SCOPED_TRACE(index);
      const auto place = windows[index];
      EXPECT_EQ(place.episode, item.at("episode").get<i64>());
      EXPECT_EQ(place.start, item.at("start").get<i64>());
      // through the windows themselves
      for (const auto& [name, array] : item.at("columns").items()) {
        const i64 column_index = episodes.column_index(name);
        const Column& column = episodes.column(column_index);
        std::vector<std::byte> values;
        if (name == "action") {
          values.resize(static_cast<std::size_t>(shape.span() * column.width()) * sizeof(float));
          windows.read_actions_f32(index, column_index, reinterpret_cast<float*>(values.data()));
        } else {
          values.resize(static_cast<std::size_t>(shape.num_steps * column.row_bytes()));
          windows.read_observations(index, column_index, values.data());
        }
        expect_array(array, column, channels_first(column, values));
      }
    }
  }
  for (const auto& chunk : told.value("load_chunk", json::array())) {
    if (!chunk.at("result").is_array()) continue;  // what the official reader refuses
    for (std::size_t i = 0; i < chunk.at("result").size(); ++i) {
      const i64 offset = episodes.offset(chunk.at("episodes")[i]);
      SCOPED_TRACE(i);
      expect_rows(episodes, chunk.at("result")[i], offset + chunk.at("start")[i].get<i64>(),
                  offset + chunk.at("end")[i].get<i64>(), chunk.at("frameskip"));
    }
  }
  if (told.contains("load_episode_1")) {
    expect_rows(episodes, told.at("load_episode_1"), episodes.offset(1),
                episodes.offset(1) + episodes.length(1), 1);
  }
  const json dims = told.value("get_dim", json::object());
  for (const auto& [name, dim] : dims.items()) {
    EXPECT_EQ(episodes.column(episodes.column_index(name)).width(), dim.get<i64>()) << name;
  }
  if (told.contains("get_row_data")) {
    const i64 row = 9;  // "single_9"
    for (const auto& [name, array] : told.at("get_row_data").at("single_9").items()) {
      const i64 index = episodes.column_index(name);
      expect_array(array, episodes.column(index), rows_of(episodes, index, row, row + 1, 1));
    }
  }
}

// near: by `relative` of the expected number
void expect_near(const json& told, std::span<const double> got, double relative,
                 const std::string& what) {
  ASSERT_EQ(told.size(), got.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double expected = told[i];
    EXPECT_NEAR(got[i], expected, relative * std::abs(expected)) << what << " " << i;
  }
}

void expect_statistics(const Episodes& episodes, const json& told) {
  for (const auto& [name, expected] : told.items()) {
    const i64 index = episodes.column_index(name);
    const ColumnStatistics got = column_statistics(episodes, index);
    EXPECT_EQ(got.rows + got.rows_with_nan, expected.at("rows").get<i64>());
    EXPECT_EQ(got.rows_with_nan, expected.at("rows_with_nan").get<i64>());
    // README: doubles 1e-12, float32 1e-6 relative
    expect_near(expected.at("mean_f64"), got.mean, 1e-12, name + " mean");
    expect_near(expected.at("std_f64"), got.deviation, 1e-12, name + " deviation");
    expect_near(expected.at("sklearn_mean"), got.mean, 1e-12, name + " scaler mean");
    expect_near(expected.at("sklearn_scale"), got.deviation, 1e-12, name + " scaler deviation");
    expect_near(expected.at("zscore_mean"), got.mean, 1e-6, name + " f32 mean");
    expect_near(expected.at("zscore_std"), got.deviation, 1e-6, name + " f32 deviation");
    expect_near(expected.at("percentile_1"), column_percentile(episodes, index, 1), 1e-6, name);
    expect_near(expected.at("percentile_99"), column_percentile(episodes, index, 99), 1e-6, name);

    const ZScore scale(got);
    for (std::size_t i = 0; i < expected.at("probe").size(); ++i) {
      const json& z = expected.at("probe_zscore")[i];
      auto values = expected.at("probe")[i].get<std::vector<float>>();
      const auto raw = values;
      scale.normalise(values);
      for (std::size_t c = 0; c < values.size(); ++c) {
        // the mean is off by 1e-6 of itself in float32, which the division by the deviation
        // enlarges
        const double slack = 2e-6 * (1 + std::abs(got.mean[c]) / got.deviation[c]);
        EXPECT_NEAR(values[c], z[c].get<double>(), slack + 1e-6 * std::abs(z[c].get<double>()))
            << name << " probe " << i;
      }
      scale.restore(values);
      for (std::size_t c = 0; c < values.size(); ++c) {
        EXPECT_NEAR(values[c], raw[c], 1e-6 * (std::abs(raw[c]) + std::abs(got.mean[c]) + 1));
      }
    }
  }
}

// the tables; pictures are lossy, their hashes hold for one decoder only
json without_pixels(json told) {
  if (told.is_object()) told.erase("pixels");
  if (told.is_structured()) {
    for (auto& entry : told) entry = without_pixels(std::move(entry));
  }
  return told;
}

// the pictures of the first window against those that the official readers decode
void expect_first_pictures(const Episodes& episodes, const Tensor& expected) {
  const Windows windows(episodes, {5, 4});
  const i64 column = episodes.column_index("pixels");
  const Column& about = episodes.column(column);
  std::vector<std::byte> values(static_cast<std::size_t>(4 * about.row_bytes()));
  windows.read_observations(0, column, values.data());
  values = channels_first(about, std::move(values));
  ASSERT_EQ(static_cast<i64>(values.size()), expected.byte_count());
  double sum = 0;
  int most = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int difference =
        std::abs(static_cast<int>(values[i]) - static_cast<int>(expected.bytes()[i]));
    sum += difference;
    most = std::max(most, difference);
  }
  // README: decoders differ by a few levels at colour edges
  EXPECT_LE(sum / static_cast<double>(values.size()), 0.5);
  EXPECT_LE(most, 12);
}

TEST(GoldenDataset, FoldersAndFilmsEqualTheOfficialReaders) {
  ORRERY_NEEDS_SHARED(folder() / "expected.json");
  const json expected = read_json(folder() / "expected.json");
  const TensorMap pictures = read_npz(folder() / "first_window_pixels.npz");
  const auto frames = open_episodes(folder() / "folder");
  json told = without_pixels(expected.at("folder"));
  told.at("columns") = expected.at("folder").at("columns");
  expect_recording(*frames, told);
  expect_first_pictures(*frames, pictures.at("folder"));
  if (!has_video()) GTEST_SKIP() << "films need a build with FFmpeg";
  const auto films = open_episodes(folder() / "video");
  expect_recording(*films, without_pixels(expected.at("video").at("video_keys_pixels")));
  expect_first_pictures(*films, pictures.at("video"));
}

TEST(GoldenDataset, JoinedRecordingsEqualTheOfficialWrappers) {
  ORRERY_NEEDS_SHARED(folder() / "expected.json");
  const json expected = read_json(folder() / "expected.json");
  const auto actions_of = [](const Episodes& episodes, i64 index) {
    std::vector<std::byte> values(4 * 10 * sizeof(float));
    Windows(episodes, {5, 4})
        .read_actions_f32(index, episodes.column_index("action"),
                          reinterpret_cast<float*>(values.data()));
    return values;
  };

  std::vector<std::unique_ptr<Episodes>> parts;
  parts.push_back(open_episodes(folder() / "release.h5"));
  parts.push_back(open_episodes(folder() / "current.h5"));
  const auto both = concatenated(std::move(parts));
  const json& cat = expected.at("concat release + current");
  const i64 length = cat.at("length");
  EXPECT_EQ(Windows(*both, {5, 4}).size(), length);
  for (const auto& item : cat.at("items")) {
    const i64 index = item.at("index");
    EXPECT_EQ(item.at("action").at("sha256"),
              sha256_of(actions_of(*both, index < 0 ? index + length : index)))
        << index;
  }
  for (std::size_t i = 0; i < cat.at("load_chunk").size(); ++i) {
    // episodes 0, 3, 4, 5 from steps 0, 1, 2, 3 on: README and its script
    const i64 episode = std::vector<i64>{0, 3, 4, 5}[i];
    const i64 row = both->offset(episode) + static_cast<i64>(i);
    EXPECT_EQ(cat.at("load_chunk")[i].at("sha256"),
              sha256_of(rows_of(*both, both->column_index("action"), row, row + 10, 1)));
  }

  const json& merge = expected.at("merge action + (action, state, contacts)");
  std::vector<std::unique_ptr<Episodes>> sides;
  sides.push_back(open_episodes(folder() / "release.h5"));
  sides.push_back(open_episodes(folder() / "release.h5"));
  const auto side = beside(std::move(sides));
  EXPECT_EQ(Windows(*side, {5, 4}).size(), merge.at("length").get<i64>());
  EXPECT_EQ(merge.at("item_5").at("action").at("sha256"), sha256_of(actions_of(*side, 5)));

  for (const auto& [name, told] : expected.at("release.h5").at("keys_to_merge").items()) {
    SCOPED_TRACE(name);
    const json& wanted = told.at("keys_to_merge").at("both");
    MergedColumn column = {.name = "both"};
    if (wanted.is_array()) {
      column.sources = wanted.get<std::vector<std::string>>();
    } else {
      column.pattern = wanted;
    }
    // no match is an error there too; what it makes of tables by episode is refused here
    if (told.at("result").contains("error") || name == "pattern_prefix") {
      EXPECT_THROW(with_merged_columns(open_episodes(folder() / "release.h5"), {column}), Error);
      continue;
    }
    const auto merged = with_merged_columns(open_episodes(folder() / "release.h5"), {column});
    const i64 index = merged->column_index("both");
    const json& result = told.at("result");
    EXPECT_EQ(result.at("dim"), merged->column(index).width());
    expect_array(result.at("all"), merged->column(index),
                 rows_of(*merged, index, 0, merged->rows(), 1));
    const i64 row = Windows(*merged, {5, 4})[3].row;
    expect_array(result.at("window_3"), merged->column(index),
                 rows_of(*merged, index, row, row + 20, 5));
  }
}

TEST(GoldenDataset, GoalsAreDrawnAsTheOfficialWrapperDraws) {
  ORRERY_NEEDS_SHARED(folder() / "expected.json");
  const json expected = read_json(folder() / "expected.json");
  const auto episodes = open_episodes(folder() / "release.h5");
  const Windows windows(*episodes, {5, 4});
  const std::vector<std::string> kinds = {"random", "geometric_future", "uniform_future",
                                          "current"};
  int groups = 0;
  for (const auto& group : expected.at("release.h5").at("goal_dataset")) {
    SCOPED_TRACE(groups++);
    GoalOptions options = {.gamma = group.at("gamma"), .seed = group.at("seed")};
    for (std::size_t i = 0; i < 4; ++i) options.probabilities[i] = group.at("probabilities")[i];
    if (!group.at("current_goal_offset").is_null()) {
      options.current_steps = group.at("current_goal_offset").get<i64>();
    }
    GoalDraws draws(windows, options);
    ASSERT_EQ(draws.size(), group.at("length").get<i64>());
    for (std::size_t i = 0; i < group.at("items").size(); ++i) {
      const auto goal = draws.draw(group.at("items")[i]);
      EXPECT_EQ(group.at("kinds")[i], kinds[static_cast<std::size_t>(goal.kind)]) << i;
      EXPECT_EQ(group.at("goals_episode_row")[i], json({goal.episode, goal.step})) << i;
    }
  }
  EXPECT_GE(groups, 4);
}

TEST(GoldenDataset, HumanDemonstrationsInZarrEqualTheirTables) {
  const auto data = shared_folder() / "data" / "pusht-human-demos";
  ORRERY_NEEDS_SHARED(data);
  int stores = 0;
  for (const auto& entry : std::filesystem::directory_iterator(data)) {
    if (entry.path().extension() != ".zarr") continue;
    SCOPED_TRACE(entry.path());
    ++stores;
    const auto episodes = open_episodes(entry.path());
    const TensorMap tables = read_npz(data / (entry.path().stem().string() + "_lowdim.npz"));
    const auto ends = tables.at("episode_ends").span<i64>();
    ASSERT_EQ(episodes->count(), static_cast<i64>(ends.size()));
    for (i64 e = 0; e < episodes->count(); ++e) {
      ASSERT_EQ(episodes->offset(e) + episodes->length(e), ends[static_cast<std::size_t>(e)]);
    }
    for (const char* name : {"action", "state", "keypoint", "n_contacts"}) {
      const Tensor& table = tables.at(name);
      const i64 column = episodes->column_index(name);
      const auto values = rows_of(*episodes, column, 0, episodes->rows(), 1);
      ASSERT_EQ(static_cast<i64>(values.size()), table.byte_count()) << name;
      EXPECT_EQ(0, std::memcmp(values.data(), table.bytes(), values.size())) << name;
    }
    // a frame that crosses no other: from the middle, alone and within a stretch of rows
    const i64 image = episodes->column_index("img");
    const i64 row = episodes->rows() / 2;
    const auto stretch = rows_of(*episodes, image, row - 70, row + 70, 7);
    const auto alone = rows_of(*episodes, image, row, row + 1, 1);
    EXPECT_EQ(0, std::memcmp(stretch.data() + 10 * alone.size(), alone.data(), alone.size()));
  }
  EXPECT_GE(stores, 2);
}

TEST(GoldenDataset, WindowsRowsAndStatisticsEqualTheOfficialReaders) {
  ORRERY_NEEDS_SHARED(folder() / "expected.json");
  const json expected = read_json(folder() / "expected.json");
  int files = 0;
  for (const auto& [name, told] : expected.items()) {
    if (std::filesystem::path(name).extension() != ".h5") continue;
    SCOPED_TRACE(name);
    const auto episodes = open_episodes(folder() / name);
    expect_recording(*episodes, told);
    if (told.contains("statistics")) expect_statistics(*episodes, told.at("statistics"));
    ++files;
  }
  EXPECT_GE(files, 3);
}

void expect_storage(const Hdf5Reader& reader, const json& told) {
  for (const auto& [name, expected] : told.items()) {
    const i64 index = reader.find(name);
    ASSERT_GE(index, 0) << name;
    const Hdf5Column& column = reader.columns()[static_cast<std::size_t>(index)];
    EXPECT_EQ(expected.at("dtype"), numpy_name(column.dtype)) << name;
    std::vector<i64> shape = {column.rows};
    shape.insert(shape.end(), column.row.sizes().begin(), column.row.sizes().end());
    EXPECT_EQ(expected.at("shape"), json(shape)) << name;
    EXPECT_EQ(expected.at("chunks")[0].get<i64>(), column.chunk_rows) << name;
    EXPECT_EQ(!expected.at("filters").empty(), column.blosc()) << name;
    std::vector<std::byte> values(static_cast<std::size_t>(column.rows * column.row_bytes()));
    reader.read(index, 0, column.rows, 1, values.data());
    EXPECT_EQ(expected.at("sha256_of_all"), sha256_of(values)) << name;
  }
}

TEST(GoldenDataset, PublishedStorageIsRead) {
  ORRERY_NEEDS_SHARED(folder() / "release_4mib_pages.h5.gz");
  const json told = read_json(folder() / "expected.json").at("release.h5").at("storage");
  ASSERT_FALSE(told.empty());
  expect_storage(Hdf5Reader(folder() / "release.h5"), told);

  // the published page size; the same content
  const auto packed = folder() / "release_4mib_pages.h5.gz";
  std::vector<std::byte> file;
  gzFile stream = gzopen(packed.c_str(), "rb");
  ASSERT_NE(stream, nullptr);
  std::vector<std::byte> piece(1 << 16);
  for (int count = 0; (count = gzread(stream, piece.data(), 1 << 16)) > 0;) {
    file.insert(file.end(), piece.begin(), piece.begin() + count);
  }
  gzclose(stream);
  expect_storage(Hdf5Reader(file, packed.string()), told);
}

}  // namespace
}  // namespace orrery
