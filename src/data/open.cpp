#include <algorithm>
#include <array>
#include <fstream>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"
#include "data/drawn_episodes.h"
#include "data/episodes.h"
#include "data/formats.h"
#include "data/played_episodes.h"
#include "io/npz.h"
#include "io/zip.h"

namespace orrery {

namespace {

constexpr const char* kEnds = "episode_ends";

bool is_npz_of_episodes(const std::filesystem::path& path) {
  const MappedFile file(path);
  return ZipReader(file.bytes(), path.string()).find(text(kEnds, ".npy")) >= 0;
}

// Arrays of numbers and where their episodes end.
std::unique_ptr<Episodes> open_npz(const std::filesystem::path& path) {
  TensorMap arrays = read_npz(path);
  const Tensor ends = arrays.at(kEnds).converted(DType::int64);
  arrays.erase(kEnds);
  i64 rows = 0;
  for (const auto& [name, values] : arrays) {
    rows = std::max(rows, values.rank() == 0 ? 0 : values.size(0));
  }
  std::vector<i64> lengths;
  i64 begin = 0;
  for (const i64 end : ends.span<i64>()) {
    check(end > begin && end <= rows, path.string(), ": episode ", lengths.size(), " ends at row ",
          end, ", after ", begin, " and up to ", rows, " is possible");
    lengths.push_back(end - begin);
    begin = end;
  }
  check(begin == rows && rows > 0, path.string(), ": episodes end at row ", begin,
        ", the arrays at ", rows);
  return episodes_in_memory(path.string(), std::move(lengths), std::move(arrays));
}

// as it is stored
std::unique_ptr<Episodes> open_stored(const std::filesystem::path& path,
                                      const OpenOptions& options) {
  check(std::filesystem::exists(path), "cannot read ", path.string(), ": it does not exist");
  if (!std::filesystem::is_directory(path)) {
    // a zip file: two bytes tell it from HDF5
    std::array<char, 2> begin = {};
    std::ifstream(path, std::ios::binary).read(begin.data(), begin.size());
    const bool zip = begin[0] == 'P' && begin[1] == 'K';
    if (!zip) return open_hdf5(path, options);
    return is_npz_of_episodes(path) ? open_npz(path) : open_zarr(path, options);
  }
  if (std::filesystem::exists(path / "meta" / "info.json")) return open_lerobot(path, options);
  if (std::filesystem::exists(path / "ep_len.npz") || !unfinished_tables(path).empty()) {
    return open_folder(path, options);
  }
  for (const char* entry : {".zgroup", "zarr.json", "meta"}) {
    if (std::filesystem::exists(path / entry)) return open_zarr(path, options);
  }
  check(!std::filesystem::exists(path / "_versions"), "cannot read ", path.string(),
        ": it is a Lance table, which tools/lance_to_hdf5.py makes HDF5 of");
  // a folder around one HDF5 file, as the official reader takes it
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    const auto extension = entry.path().extension();
    if (extension == ".h5" || extension == ".hdf5") files.push_back(entry.path());
  }
  check(files.size() == 1, "cannot read ", path.string(),
        ": it is no zarr, LeRobot or "
        "stable-worldmodel folder and holds ",
        files.size(), " HDF5 files");
  return open_hdf5(files.front(), options);
}

// with the states and pictures that it only tells how to make
std::unique_ptr<Episodes> with_pictures(std::unique_ptr<Episodes> stored,
                                        const OpenOptions& options) {
  if (stored->drawing().empty()) return stored;
  return drawn(played(std::move(stored)), options.image_size);
}

}  // namespace

std::unique_ptr<Episodes> open_episodes(const std::filesystem::path& path,
                                        const OpenOptions& options) {
  return with_pictures(open_stored(path, options), options);
}

std::unique_ptr<Episodes> open_episodes(std::span<const std::byte> file, const std::string& name,
                                        const OpenOptions& options) {
  return with_pictures(open_hdf5(file, name, options), options);
}

}  // namespace orrery
