#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <sstream>

#include "base/atomic_file.h"
#include "base/error.h"
#include "data/film_cache.h"
#include "data/formats.h"
#include "data/table_episodes.h"
#include "io/json.h"
#include "io/parquet.h"

namespace orrery {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// as in folders of films; key frames come every second frame
constexpr i64 kFilmRows = 48;
// pictures in Parquet: what is unpacked together is a page, about a megabyte
constexpr i64 kEmbeddedRows = 16;
constexpr std::size_t kMaxLinesBytes = std::size_t{256} << 20;
constexpr i64 kMaxEpisodes = i64{1} << 24;

// Where an episode's rows and films lie.
struct Place {
  i64 length = 0;
  struct Film {
    i64 chunk = 0;
    i64 file = 0;
    double from_s = 0;  // time of its first frame
  };
  std::map<std::string, Film> films;  // by camera; version 3 only
};

struct Layout {
  std::string name;
  bool third = false;  // version 3: files hold many episodes
  double frames_per_second = 0;
  i64 chunk_episodes = 1000;
  std::string data_path, video_path;
  std::vector<std::string> cameras;                  // films
  std::vector<std::string> embedded;                 // cameras whose pictures lie in the tables
  std::map<std::string, std::pair<i64, i64>> sides;  // of both: height, width
  std::vector<Place> episodes;
};

// "data/chunk-{chunk_index:03d}/..." with numbers and words put in, as Python's format does
std::string filled_in(const std::string& pattern, const std::map<std::string, i64>& numbers,
                      const std::string& camera, const std::string& name) {
  std::string out;
  for (std::size_t at = 0; at < pattern.size();) {
    if (pattern[at] != '{') {
      out += pattern[at++];
      continue;
    }
    const std::size_t end = pattern.find('}', at);
    check(end != std::string::npos, name, " has the path '", pattern, "', which does not end");
    const std::string field = pattern.substr(at + 1, end - at - 1);
    const std::size_t colon = field.find(':');
    const std::string key = field.substr(0, colon);
    at = end + 1;
    if (key == "video_key") {
      out += camera;
      continue;
    }
    const auto number = numbers.find(key);
    check(number != numbers.end(), name, " has the path '", pattern, "' with an unknown '", key,
          "'");
    std::string digits = std::to_string(number->second);
    // ":03d": zeros before, to three digits
    if (colon != std::string::npos) {
      const std::string how = field.substr(colon + 1);
      const bool known =
          how.size() == 3 && how[0] == '0' && how[2] == 'd' && how[1] > '0' && how[1] <= '9';
      check(known, name, " has the path '", pattern, "' with an unknown '", how, "'");
      const auto width = static_cast<std::size_t>(how[1] - '0');
      if (digits.size() < width) digits.insert(0, width - digits.size(), '0');
    }
    out += digits;
  }
  // what lies outside the folder is none of ours
  const fs::path path(out);
  const bool inside = path.is_relative() && std::find(path.begin(), path.end(), "..") == path.end();
  check(inside, name, " names the file '", out, "', which lies outside its folder");
  return out;
}

template <typename T>
T entry(const json& object, const char* key, const std::string& where) {
  try {
    return object.at(key).get<T>();
  } catch (const json::exception&) {
    fail(where, " has no ", key, " of the right kind");
  }
}

// files in a folder that end so, in the order of their paths
std::vector<fs::path> files_below(const fs::path& folder, const char* extension) {
  std::vector<fs::path> files;
  if (!fs::is_directory(folder)) return files;
  for (const auto& found : fs::recursive_directory_iterator(folder)) {
    if (found.path().extension() == extension) files.push_back(found.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

double number_at(const Tensor& values, i64 row) {
  switch (values.dtype()) {
    case DType::int32:
      return values.data<i32>()[row];
    case DType::int64:
      return static_cast<double>(values.data<i64>()[row]);
    case DType::f32:
      return static_cast<double>(values.data<float>()[row]);
    case DType::f64:
      return values.data<double>()[row];
    default:
      fail("a table holds ", values.dtype(), " where numbers are needed");
  }
}

// an integer, within what files and episodes are counted in
i64 index_at(const Tensor& values, i64 row, const std::string& where) {
  const double value = number_at(values, row);
  check(value >= 0 && value <= 1e15 && value == std::trunc(value), where, " holds ", value,
        " where a count is needed");
  return static_cast<i64>(value);
}

// meta/episodes.jsonl: a line an episode
void read_lines(const fs::path& path, Layout& layout) {
  std::istringstream lines(read_file(path, kMaxLinesBytes));
  std::string line;
  while (std::getline(lines, line)) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const json told = parse_json(line, path.string());
    const i64 index = entry<i64>(told, "episode_index", path.string());
    check(index == static_cast<i64>(layout.episodes.size()), path.string(), " has episode ", index,
          " where episode ", layout.episodes.size(), " was due");
    layout.episodes.push_back({.length = entry<i64>(told, "length", path.string())});
  }
}

// meta/episodes/chunk-000/file-000.parquet ...: a row an episode
void read_tables(const fs::path& folder, Layout& layout) {
  for (const fs::path& path : files_below(folder, ".parquet")) {
    const ParquetReader reader(path);
    const auto column = [&](const std::string& name) {
      const i64 index = reader.find(name);
      check(index >= 0, path.string(), " has no column ", name);
      Tensor values = reader.read(index);
      check(values.rank() == 1, path.string(), ": ", name, " is a list");
      return values;
    };
    const Tensor indices = column("episode_index"), lengths = column("length");
    std::vector<std::array<Tensor, 3>> films;
    for (const std::string& camera : layout.cameras) {
      const std::string before = text("videos/", camera, "/");
      films.push_back({column(before + "chunk_index"), column(before + "file_index"),
                       column(before + "from_timestamp")});
    }
    for (i64 row = 0; row < reader.rows(); ++row) {
      const i64 index = index_at(indices, row, path.string());
      check(index == static_cast<i64>(layout.episodes.size()), path.string(), " has episode ",
            index, " where episode ", layout.episodes.size(), " was due");
      Place place = {.length = index_at(lengths, row, path.string())};
      for (std::size_t c = 0; c < films.size(); ++c) {
        place.films[layout.cameras[c]] = {.chunk = index_at(films[c][0], row, path.string()),
                                          .file = index_at(films[c][1], row, path.string()),
                                          .from_s = number_at(films[c][2], row)};
      }
      layout.episodes.push_back(std::move(place));
    }
  }
}

Layout layout_of(const fs::path& path) {
  Layout layout;
  layout.name = path.string();
  const fs::path info = path / "meta" / "info.json";
  const json told = read_json(info);
  const std::string where = info.string();
  const auto version = entry<std::string>(told, "codebase_version", where);
  layout.third = version.rfind("v3.", 0) == 0;
  check(layout.third || version == "v2.0" || version == "v2.1", where, " is of LeRobot ", version,
        ", v2.0, v2.1 and v3.0 are read");
  layout.frames_per_second = entry<double>(told, "fps", where);
  check(layout.frames_per_second > 0, where, " has ", layout.frames_per_second, " frames a second");
  if (told.contains("chunks_size")) {
    layout.chunk_episodes = entry<i64>(told, "chunks_size", where);
    check(layout.chunk_episodes > 0, where, " has chunks of ", layout.chunk_episodes, " episodes");
  }
  layout.data_path = entry<std::string>(told, "data_path", where);
  const json features = entry<json>(told, "features", where);
  for (const auto& [name, feature] : features.items()) {
    const auto kind = entry<std::string>(feature, "dtype", where);
    if (kind != "video" && kind != "image") continue;
    const auto shape = entry<std::vector<i64>>(feature, "shape", where);
    check(shape.size() == 3 && shape[0] > 0 && shape[1] > 0, where, ": camera ", name,
          " has no height and width");
    (kind == "video" ? layout.cameras : layout.embedded).push_back(name);
    // (height, width, 3), or (3, height, width) from older writers
    const bool first = shape[0] == 3 && shape[2] != 3;
    layout.sides[name] = first ? std::pair(shape[1], shape[2]) : std::pair(shape[0], shape[1]);
  }
  if (!layout.cameras.empty()) layout.video_path = entry<std::string>(told, "video_path", where);
  if (layout.third) {
    read_tables(path / "meta" / "episodes", layout);
  } else {
    read_lines(path / "meta" / "episodes.jsonl", layout);
  }
  check(static_cast<i64>(layout.episodes.size()) <= kMaxEpisodes, where, " has too many episodes");
  return layout;
}

std::vector<i64> lengths_in(const Layout& layout) {
  std::vector<i64> lengths;
  for (const Place& place : layout.episodes) lengths.push_back(place.length);
  return lengths;
}

// The names that stable-worldmodel gives: its windows, and ours, want pixels and actions.
std::string alias(const std::string& name, const Layout& layout) {
  if (name == "observation.state") return "proprio";
  const auto is_the_camera = [&](const std::vector<std::string>& some,
                                 const std::vector<std::string>& others) {
    return some.size() == 1 && others.empty() && name == some.front();
  };
  if (is_the_camera(layout.cameras, layout.embedded)) return "pixels";
  if (is_the_camera(layout.embedded, layout.cameras)) return "pixels";
  return name;
}

class LeRobotEpisodes final : public TableEpisodes {
 public:
  LeRobotEpisodes(const fs::path& path, Layout layout, const OpenOptions& options)
      : TableEpisodes(layout.name, lengths_in(layout), options),
        path_(path),
        layout_(std::move(layout)) {
    add_tables();
    for (const std::string& camera : layout_.cameras) {
      cameras_[alias(camera, layout_)] = camera;
      const auto [height, width] = layout_.sides[camera];
      add_pictures(alias(camera, layout_), height, width, kFilmRows);
    }
    for (const std::string& camera : layout_.embedded) {
      cameras_[alias(camera, layout_)] = camera;
      const auto [height, width] = layout_.sides[camera];
      add_pictures(alias(camera, layout_), height, width, kEmbeddedRows);
    }
    // what the official adapter adds
    Tensor episode_index(DType::int64, {rows()}), step_index(DType::int64, {rows()});
    for (i64 e = 0; e < count(); ++e) {
      for (i64 t = 0; t < length(e); ++t) {
        episode_index.data<i64>()[offset(e) + t] = e;
        step_index.data<i64>()[offset(e) + t] = t;
      }
    }
    if (find_column("ep_idx") < 0) add_table("ep_idx", std::move(episode_index));
    if (find_column("step_idx") < 0) add_table("step_idx", std::move(step_index));
  }

 private:
  std::vector<fs::path> data_files() const {
    if (layout_.third) return files_below(path_ / "data", ".parquet");
    std::vector<fs::path> files;
    for (i64 e = 0; e < count(); ++e) {
      files.push_back(
          path_ / filled_in(layout_.data_path,
                            {{"episode_index", e}, {"episode_chunk", e / layout_.chunk_episodes}},
                            "", name()));
    }
    return files;
  }

  // all files one after the other, column by column
  void add_tables() {
    std::map<std::string, Tensor> whole;
    std::set<std::string> left_out;
    i64 row = 0;
    for (const fs::path& file : data_files()) {
      const ParquetReader reader(file);
      files_.push_back({row, file});
      check(reader.rows() <= rows() - row, name(), " has more rows in its data than its ", count(),
            " episodes: ", rows());
      for (i64 c = 0; c < static_cast<i64>(reader.columns().size()); ++c) {
        const ParquetColumn& about = reader.columns()[static_cast<std::size_t>(c)];
        const bool camera = std::count(layout_.embedded.begin(), layout_.embedded.end(),
                                       about.name) != 0;  // a record of bytes and a path
        if (!about.refusal.empty() && !camera && left_out.count(about.name) == 0) {
          refused_.push_back({alias(about.name, layout_), about.refusal});
        }
        if (!about.refusal.empty() || camera) {
          left_out.insert(about.name);
          continue;
        }
        Tensor values = reader.read(c);
        Tensor& all = whole[about.name];
        if (row == 0) {
          std::vector<i64> sizes(values.shape().sizes().begin(), values.shape().sizes().end());
          sizes[0] = rows();
          all = Tensor(values.dtype(), Shape(std::span<const i64>(sizes)));
        }
        const bool same = all.rank() == values.rank() && all.dtype() == values.dtype() &&
                          (all.rank() == 1 || all.size(1) == values.size(1));
        check(same, "column ", about.name, " of ", file.string(), " is ", values.dtype(), " of ",
              values.shape(), ", unlike in the files before");
        if (values.byte_count() == 0) continue;
        const i64 row_bytes = values.byte_count() / reader.rows();
        std::memcpy(all.bytes() + row * row_bytes, values.bytes(),
                    static_cast<std::size_t>(values.byte_count()));
      }
      row += reader.rows();
    }
    check(row == rows(), name(), " has ", row, " rows in its data, its episodes have ", rows());
    // rows must lie as the episodes say
    if (const auto found = whole.find("episode_index"); found != whole.end()) {
      for (i64 e = 0; e < count(); ++e) {
        if (length(e) == 0) continue;
        for (const i64 at : {offset(e), offset(e) + length(e) - 1}) {
          check(index_at(found->second, at, name()) == e, name(), ": row ", at,
                " is not of episode ", e);
        }
      }
    }
    for (auto& [column, values] : whole) {
      // a column that some file has not was left as it was made
      if (left_out.count(column) == 0) add_table(alias(column, layout_), std::move(values));
    }
  }

  void decode_pictures(i64 index, i64 episode, i64 first, i64 count,
                       std::byte* out) const override {
    const Column& about = column(index);
    const std::string& camera = cameras_.at(about.name);
    if (std::count(layout_.embedded.begin(), layout_.embedded.end(), camera) != 0) {
      return decode_embedded(index, camera, episode, first, count, out);
    }
    const Place& place = layout_.episodes[static_cast<std::size_t>(episode)];
    std::map<std::string, i64> numbers = {{"episode_index", episode},
                                          {"episode_chunk", episode / layout_.chunk_episodes}};
    i64 before = 0;
    if (layout_.third) {
      const Place::Film& film = place.films.at(camera);
      numbers = {{"chunk_index", film.chunk}, {"file_index", film.file}};
      const double frame = film.from_s * layout_.frames_per_second;
      check(frame >= 0 && frame < 1e12, name(), ": episode ", episode, " begins ", film.from_s,
            " s into its film");
      before = std::llround(frame);
    }
    films_.with(
        path_ / filled_in(layout_.video_path, numbers, camera, name()), [&](VideoReader& film) {
          film.read(before + first, before + first + count, [&](i64 frame, View<const u8, 3> rgb) {
            const i64 step = frame - before;
            put_picture(index, episode, step, rgb, out + (step - first) * about.row_bytes());
          });
        });
  }

  // Pictures in the column `bytes` of a record, files of PNG or JPEG. The rows of an episode lie in
  // one file, but a chunk need not ask whether they do.
  void decode_embedded(i64 index, const std::string& camera, i64 episode, i64 first, i64 count,
                       std::byte* out) const {
    i64 row = offset(episode) + first;
    const i64 end = row + count;
    while (row < end) {
      const auto after =
          std::upper_bound(files_.begin(), files_.end(), row,
                           [](i64 at, const DataFile& file) { return at < file.begin; });
      const DataFile& file = *(after - 1);
      const ParquetReader reader(file.path);
      const i64 column = reader.find(camera, "bytes");
      check(column >= 0, file.path.string(), " has no pictures of ", camera);
      const i64 stop = std::min(end, file.begin + reader.rows());
      check(stop > row, file.path.string(), " has fewer rows than before");
      reader.read_blobs(
          column, row - file.begin, stop - file.begin,
          [&](i64 at, std::span<const std::byte> picture) {
            const i64 step = file.begin + at - offset(episode);
            check(!picture.empty(), name(), ": step ", step, " of episode ", episode, " of ",
                  camera, " is not in the table, but in a file beside it, which is not read");
            const Image image = parse_image(picture, text(file.path.string(), ", row ", at));
            put_picture(index, episode, step, image.view(),
                        out + (step - first) * this->column(index).row_bytes());
          });
      row = stop;
    }
  }

  struct DataFile {
    i64 begin = 0;  // its first row
    fs::path path;
  };

  fs::path path_;
  Layout layout_;
  std::vector<DataFile> files_;
  std::map<std::string, std::string> cameras_;  // by column
  mutable FilmCache films_;
};

}  // namespace

std::unique_ptr<Episodes> open_lerobot(const fs::path& path, const OpenOptions& options) {
  return std::make_unique<LeRobotEpisodes>(path, layout_of(path), options);
}

}  // namespace orrery
