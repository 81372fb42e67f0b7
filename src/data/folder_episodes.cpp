#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.h"
#include "data/chunked_episodes.h"
#include "data/film_cache.h"
#include "data/formats.h"
#include "io/npz.h"
#include "media/image.h"

namespace orrery {

namespace {

constexpr const char* kArray = "arr_0";
// pictures of one column that are decoded as one; a row that is read soon again is still there
constexpr i64 kFilmRows = 48;

// the one array that stable-worldmodel keeps in a table
Tensor table(const std::filesystem::path& path) {
  TensorMap arrays = read_npz(path, [](const std::string& name) { return name == kArray; });
  const auto found = arrays.find(kArray);
  check(found != arrays.end(), path.string(), " has no array ", kArray);
  check(found->second.rank() >= 1, path.string(), " holds a single number, a row a step is needed");
  return std::move(found->second);
}

std::vector<i64> index_table(const std::filesystem::path& path) {
  const Tensor values = table(path);
  const bool integer = values.dtype() == DType::int32 || values.dtype() == DType::int64;
  check(integer && values.rank() == 1, path.string(), " holds ", values.dtype(), " of shape ",
        values.shape(), ", a list of integers is needed");
  std::vector<i64> result(static_cast<std::size_t>(values.numel()));
  for (std::size_t i = 0; i < result.size(); ++i) {
    result[i] = values.dtype() == DType::int32 ? values.data<i32>()[i] : values.data<i64>()[i];
  }
  return result;
}

class FolderEpisodes final : public ChunkedEpisodes {
 public:
  FolderEpisodes(const std::filesystem::path& path, const OpenOptions& options)
      : ChunkedEpisodes(path.string(), index_table(path / "ep_len.npz"), options.cache_bytes),
        path_(path) {
    const std::vector<i64> offsets = index_table(path / "ep_offset.npz");
    check(static_cast<i64>(offsets.size()) == count(), name(), " has ", offsets.size(),
          " episode offsets for ", count(), " episodes");
    for (i64 e = 0; e < count(); ++e) {
      check(offsets[static_cast<std::size_t>(e)] == offset(e), name(), ": episode ", e,
            " begins at row ", offsets[static_cast<std::size_t>(e)],
            ", the lengths before it add up to ", offset(e));
    }
    std::set<std::filesystem::path> entries;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      entries.insert(entry.path());
    }
    for (const auto& entry : entries) {
      const std::string stem = entry.stem().string();
      if (std::filesystem::is_directory(entry)) {
        add_pictures(entry.filename().string());
      } else if (entry.extension() == ".npz" && stem != "ep_len" && stem != "ep_offset") {
        add_table(stem, table(entry));
      }
    }
    check(!columns_.empty(), name(), " has no column that can be read");
  }

  i64 chunk_rows(i64 index) const override {
    return sources_[static_cast<std::size_t>(index)].film ? kFilmRows : 1;
  }

 protected:
  Keep keep(i64 index) const override {
    const Source& source = sources_[static_cast<std::size_t>(index)];
    return source.values.numel() > 0 ? Keep::never : Keep::always;
  }

  // pictures one by one; films in pieces of kFilmRows rows of an episode
  Chunk chunk_at(i64 index, i64 row) const override {
    const Source& source = sources_[static_cast<std::size_t>(index)];
    if (source.values.numel() > 0) return {0, 0, rows()};
    if (!source.film) return {row, row, row + 1};
    const i64 episode = episode_of(row);
    const i64 begin = offset(episode) + (row - offset(episode)) / kFilmRows * kFilmRows;
    return {begin, begin, std::min(begin + kFilmRows, offset(episode) + length(episode))};
  }

  void decode(i64 index, const Chunk& chunk, std::byte* out) const override {
    const Source& source = sources_[static_cast<std::size_t>(index)];
    const Column& about = column(index);
    const i64 episode = episode_of(chunk.begin);
    const i64 first = chunk.begin - offset(episode);
    const auto take = [&](i64 step, View<const u8, 3> rgb) {
      check(rgb.size(0) == about.row[0] && rgb.size(1) == about.row[1], "cannot read ", name(),
            ": step ", step, " of episode ", episode, " of ", about.name, " is ", rgb.size(1),
            " x ", rgb.size(0), ", the first is ", about.row[1], " x ", about.row[0]);
      std::memcpy(out + (step - first) * about.row_bytes(), rgb.data(),
                  static_cast<std::size_t>(about.row_bytes()));
    };
    if (source.film) {
      films_.with(film_path(about.name, episode), [&](VideoReader& film) {
        film.read(first, first + chunk.end - chunk.begin, take);
      });
    } else {
      take(first, read_image(picture_path(about.name, episode, first)).view());
    }
  }

  void decode_rows(i64 index, const Chunk&, i64 begin, i64 end, i64 stride,
                   std::byte* out) const override {
    const i64 bytes = column(index).row_bytes();
    const std::byte* values = sources_[static_cast<std::size_t>(index)].values.bytes();
    for (i64 row = begin; row < end; row += stride, out += bytes) {
      std::memcpy(out, values + row * bytes, static_cast<std::size_t>(bytes));
    }
  }

 private:
  struct Source {
    Tensor values;      // a table; empty: pictures
    bool film = false;  // an episode is a film
  };

  i64 episode_of(i64 row) const {
    // the last that begins at or before the row; those before it that begin there too are empty
    i64 low = 0, high = count();
    while (high - low > 1) {
      const i64 middle = (low + high) / 2;
      (offset(middle) <= row ? low : high) = middle;
    }
    return low;
  }

  std::filesystem::path film_path(const std::string& name, i64 episode) const {
    return path_ / name / text("ep_", episode, ".mp4");
  }

  std::filesystem::path picture_path(const std::string& name, i64 episode, i64 step) const {
    const std::string stem = text("ep_", episode, "_step_", step);
    auto path = path_ / name / (stem + ".jpeg");
    // other writers' names for the same
    if (!std::filesystem::exists(path)) path = path_ / name / (stem + ".jpg");
    return path;
  }

  void add_table(const std::string& name, Tensor values) {
    check(values.size(0) == rows(), "column ", name, " of ", this->name(), " has ", values.size(0),
          " rows, the episodes have ", rows());
    columns_.push_back({name, values.dtype(), Shape(values.shape().sizes().subspan(1))});
    check(columns_.back().width() > 0, "column ", name, " of ", this->name(), " has empty rows");
    sources_.push_back({std::move(values), false});
  }

  // the first picture tells their size
  void add_pictures(const std::string& name) {
    const i64 episode = episode_of(0);
    i64 height = 0, width = 0;
    const bool film = std::filesystem::exists(film_path(name, episode));
    if (film) {
      films_.with(film_path(name, episode), [&](VideoReader& reader) {
        height = reader.height();
        width = reader.width();
      });
    } else {
      const auto path = picture_path(name, episode, 0);
      // a folder of something else
      if (!std::filesystem::exists(path)) return;
      const Image image = read_image(path);
      height = image.height;
      width = image.width;
    }
    columns_.push_back({name, DType::uint8, {height, width, 3}});
    sources_.push_back({Tensor(), film});
  }

  std::filesystem::path path_;
  std::vector<Source> sources_;  // by column
  mutable FilmCache films_;
};

}  // namespace

std::unique_ptr<Episodes> open_folder(const std::filesystem::path& path,
                                      const OpenOptions& options) {
  return std::make_unique<FolderEpisodes>(path, options);
}

}  // namespace orrery
