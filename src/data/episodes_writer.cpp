#include "data/episodes_writer.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/error.h"
#include "data/formats.h"

namespace orrery {

namespace {

constexpr std::array<const char*, 5> kNames = {"hdf5", "zarr", "zarr-zip", "folder", "video"};

bool ends_with(const std::string& name, std::string_view end) {
  return name.size() > end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

const char* name_of(EpisodeFormat format) { return kNames[static_cast<std::size_t>(format)]; }

std::optional<EpisodeFormat> episode_format_from(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) return static_cast<EpisodeFormat>(i);
  }
  return std::nullopt;
}

std::optional<RecordingLayout> recording_layout_from(std::string_view name) {
  if (name == "release") return RecordingLayout::release;
  if (name == "current") return RecordingLayout::current;
  if (name == "packed") return RecordingLayout::packed;
  return std::nullopt;
}

EpisodeFormat episode_format_of(const std::filesystem::path& path) {
  const std::string name = (path.has_filename() ? path : path.parent_path()).filename().string();
  if (ends_with(name, ".h5") || ends_with(name, ".hdf5")) return EpisodeFormat::hdf5;
  if (ends_with(name, ".zarr")) return EpisodeFormat::zarr;
  if (ends_with(name, ".zarr.zip")) return EpisodeFormat::zarr_zip;
  return EpisodeFormat::folder;
}

std::unique_ptr<EpisodesWriter> write_episodes(const std::filesystem::path& path,
                                               const std::vector<Column>& columns,
                                               const WriteOptions& options) {
  check(!columns.empty(), "cannot write ", path.string(), ": there are no columns");
  for (std::size_t i = 0; i < columns.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) {
      check(columns[i].name != columns[k].name, "cannot write ", path.string(), ": column ",
            columns[i].name, " is there twice");
    }
    const std::string& name = columns[i].name;
    // names become those of files and data sets
    check(!name.empty() && name[0] != '.' && name.find('/') == std::string::npos, "cannot write ",
          path.string(), ": '", name, "' is no name for a column");
  }
  const EpisodeFormat format = options.format.value_or(episode_format_of(path));
  check(options.drawing.empty() || format == EpisodeFormat::hdf5, "cannot write ", path.string(),
        ": only HDF5 (.h5) can say how pictures are drawn that it does not hold");
  switch (format) {
    case EpisodeFormat::hdf5:
      return write_hdf5(path, columns, options);
    case EpisodeFormat::zarr:
      return write_zarr(path, columns, options, false);
    case EpisodeFormat::zarr_zip:
      return write_zarr(path, columns, options, true);
    case EpisodeFormat::folder:
      return write_folder(path, columns, options, false);
    case EpisodeFormat::video:
      return write_folder(path, columns, options, true);
  }
  fail("cannot write ", path.string(), ": its format is unknown");
}

i64 stored_bytes(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) {
    return static_cast<i64>(std::filesystem::file_size(path));
  }
  i64 bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) bytes += static_cast<i64>(entry.file_size());
  }
  return bytes;
}

}  // namespace orrery
