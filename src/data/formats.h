#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/episodes.h"
#include "data/episodes_writer.h"

namespace orrery {

// What open_episodes() and write_episodes() choose from; nobody else needs it.

// stable-worldmodel's HDF5. How pictures are drawn is the text `orrery` of the file: an attribute,
// which other readers do not look for.
inline constexpr const char* kDrawingText = "orrery";
std::unique_ptr<Episodes> open_hdf5(const std::filesystem::path& path, const OpenOptions& options);
std::unique_ptr<Episodes> open_hdf5(std::span<const std::byte> file, const std::string& name,
                                    const OpenOptions& options);
std::unique_ptr<EpisodesWriter> write_hdf5(const std::filesystem::path& path,
                                           const std::vector<Column>& columns,
                                           const WriteOptions& options);

// Diffusion Policy's replay buffer: a folder of zarr, or a zip file of one
std::unique_ptr<Episodes> open_zarr(const std::filesystem::path& path, const OpenOptions& options);
std::unique_ptr<EpisodesWriter> write_zarr(const std::filesystem::path& path,
                                           const std::vector<Column>& columns,
                                           const WriteOptions& options, bool zip);

// stable-worldmodel's folders: tables in npz, and a JPEG for each frame or a film for each episode.
// npz cannot grow: until a folder is finished its tables are kept in zarr beside the pictures,
// under this name and an ending, which is also where a reader of an unfinished folder finds them.
inline constexpr const char* kUnfinishedTables = ".tables";
// that folder, when there is one; empty otherwise
std::filesystem::path unfinished_tables(const std::filesystem::path& path);
std::unique_ptr<Episodes> open_folder(const std::filesystem::path& path,
                                      const OpenOptions& options);
std::unique_ptr<EpisodesWriter> write_folder(const std::filesystem::path& path,
                                             const std::vector<Column>& columns,
                                             const WriteOptions& options, bool video);

// LeRobot, versions 2.0, 2.1 and 3.0: tables in Parquet, films
std::unique_ptr<Episodes> open_lerobot(const std::filesystem::path& path,
                                       const OpenOptions& options);

}  // namespace orrery
