#include <set>

#include "base/error.h"
#include "data/film_cache.h"
#include "data/formats.h"
#include "data/table_episodes.h"
#include "io/npz.h"
#include "media/image.h"

namespace orrery {

namespace {

constexpr const char* kArray = "arr_0";
// Frames of a film that are decoded as one: a few of a writer's groups between key frames.
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

std::vector<i64> lengths_of(const Episodes& episodes) {
  std::vector<i64> lengths;
  for (i64 e = 0; e < episodes.count(); ++e) lengths.push_back(episodes.length(e));
  return lengths;
}

class FolderEpisodes final : public TableEpisodes {
 public:
  // `tables`: of an unfinished folder; none: they are in npz
  FolderEpisodes(const std::filesystem::path& path, const Episodes* tables,
                 const OpenOptions& options)
      : TableEpisodes(path.string(),
                      tables != nullptr ? lengths_of(*tables) : index_table(path / "ep_len.npz"),
                      options),
        path_(path) {
    if (tables != nullptr) {
      for (i64 c = 0; c < static_cast<i64>(tables->columns().size()); ++c) {
        add_table(tables->column(c).name, whole_column(*tables, c));
      }
    } else {
      check_offsets();
    }
    std::set<std::filesystem::path> entries;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      entries.insert(entry.path());
    }
    for (const auto& entry : entries) {
      const std::string stem = entry.stem().string();
      if (std::filesystem::is_directory(entry)) {
        add_folder(entry.filename().string());
      } else if (tables == nullptr && entry.extension() == ".npz" && stem != "ep_len" &&
                 stem != "ep_offset") {
        add_table(stem, table(entry));
      }
    }
    check(!columns_.empty(), name(), " has no column that can be read");
  }

 private:
  void check_offsets() const {
    const std::vector<i64> offsets = index_table(path_ / "ep_offset.npz");
    check(static_cast<i64>(offsets.size()) == count(), name(), " has ", offsets.size(),
          " episode offsets for ", count(), " episodes");
    for (i64 e = 0; e < count(); ++e) {
      check(offsets[static_cast<std::size_t>(e)] == offset(e), name(), ": episode ", e,
            " begins at row ", offsets[static_cast<std::size_t>(e)],
            ", the lengths before it add up to ", offset(e));
    }
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

  // the first picture tells their size
  void add_folder(const std::string& name) {
    const i64 episode = episode_of(0);
    if (std::filesystem::exists(film_path(name, episode))) {
      films_.with(film_path(name, episode), [&](VideoReader& film) {
        add_pictures(name, film.height(), film.width(), kFilmRows);
      });
    } else if (const auto path = picture_path(name, episode, 0); std::filesystem::exists(path)) {
      const Image image = read_image(path);
      add_pictures(name, image.height, image.width, 1);
    }
    // else a folder of something else
  }

  void decode_pictures(i64 index, i64 episode, i64 first, i64 count,
                       std::byte* out) const override {
    const Column& about = column(index);
    if (chunk_rows(index) == 1) {
      const Image image = read_image(picture_path(about.name, episode, first));
      return put_picture(index, episode, first, image.view(), out);
    }
    films_.with(film_path(about.name, episode), [&](VideoReader& film) {
      film.read(first, first + count, [&](i64 step, View<const u8, 3> rgb) {
        put_picture(index, episode, step, rgb, out + (step - first) * about.row_bytes());
      });
    });
  }

  std::filesystem::path path_;
  mutable FilmCache films_;
};

}  // namespace

std::unique_ptr<Episodes> open_folder(const std::filesystem::path& path,
                                      const OpenOptions& options) {
  const auto unfinished = unfinished_tables(path);
  const auto tables = unfinished.empty() ? nullptr : open_zarr(unfinished, options);
  return std::make_unique<FolderEpisodes>(path, tables.get(), options);
}

std::filesystem::path unfinished_tables(const std::filesystem::path& path) {
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (entry.path().filename().string().rfind(kUnfinishedTables, 0) == 0) return entry.path();
  }
  return {};
}

}  // namespace orrery
