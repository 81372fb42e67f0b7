#include <array>
#include <fstream>
#include <vector>

#include "base/error.h"
#include "data/episodes.h"
#include "data/formats.h"

namespace orrery {

std::unique_ptr<Episodes> open_episodes(const std::filesystem::path& path,
                                        const OpenOptions& options) {
  check(std::filesystem::exists(path), "cannot read ", path.string(), ": it does not exist");
  if (!std::filesystem::is_directory(path)) {
    // a zip file: two bytes tell it from HDF5
    std::array<char, 2> begin = {};
    std::ifstream(path, std::ios::binary).read(begin.data(), begin.size());
    const bool zip = begin[0] == 'P' && begin[1] == 'K';
    return zip ? open_zarr(path, options) : open_hdf5(path, options);
  }
  if (std::filesystem::exists(path / "meta" / "info.json")) return open_lerobot(path, options);
  if (std::filesystem::exists(path / "ep_len.npz") || !unfinished_tables(path).empty()) {
    return open_folder(path, options);
  }
  for (const char* entry : {".zgroup", "zarr.json", "meta"}) {
    if (std::filesystem::exists(path / entry)) return open_zarr(path, options);
  }
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

std::unique_ptr<Episodes> open_episodes(std::span<const std::byte> file, const std::string& name,
                                        const OpenOptions& options) {
  return open_hdf5(file, name, options);
}

}  // namespace orrery
