#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/episodes.h"
#include "io/blosc.h"

namespace orrery {

enum class EpisodeFormat {
  hdf5,      // stable-worldmodel's, one file
  zarr,      // Diffusion Policy's replay buffer, a folder
  zarr_zip,  // the same in one file
  folder,    // stable-worldmodel's: tables in npz, a JPEG a frame
  video,     // stable-worldmodel's: tables in npz, a film (H.264 in MP4) an episode
};

const char* name_of(EpisodeFormat format);
// by its name: "hdf5"
std::optional<EpisodeFormat> episode_format_from(std::string_view name);
// by how a path ends: .h5 .hdf5 .zarr .zarr.zip; anything else is a folder
EpisodeFormat episode_format_of(const std::filesystem::path& path);

enum class RecordingLayout {
  release,  // HDF5: frames in Blosc chunks of 100 rows, the rest in plain chunks of 1000: the
            // published files; small
  current,  // HDF5: every row a plain chunk: what stable-worldmodel writes today
  packed,   // HDF5: everything in Blosc chunks, frames of 100 rows, the rest of 4096: the smallest
};

// by its name: "release"
std::optional<RecordingLayout> recording_layout_from(std::string_view name);

struct WriteOptions {
  std::optional<EpisodeFormat> format;  // none: by the path
  RecordingLayout layout = RecordingLayout::release;
  bool earliest = false;  // HDF5 that libraries from before 1.10 read
  // of frames in HDF5 and of everything in zarr and packed HDF5; none: LZ4, level 5, bytes
  // shuffled, as published HDF5 has it, and zstd, level 5, bits shuffled, as published zarr has it;
  // packed: zstd, level 7, bytes shuffled
  std::optional<BloscSettings> blosc;
  std::string drawing;    // Episodes::drawing() of what is read again; HDF5 alone can keep it
  int jpeg_quality = 75;  // Pillow's, in the official folders
  int frames_per_second = 25;
};

// The other side of the seam: takes episodes one after the other, in any format.
//
// What is written lies under a temporary name in the same folder until finish(). All but HDF5 with
// `earliest` and zip files can be read there at any moment, also after the process was killed: all
// episodes but the last few are in it. On failure nothing is left. steady: the same episodes give
// the same bytes.
class EpisodesWriter {
 public:
  virtual ~EpisodesWriter() = default;
  EpisodesWriter(const EpisodesWriter&) = delete;
  EpisodesWriter& operator=(const EpisodesWriter&) = delete;

  // One episode; values[c] holds its rows of column c.
  virtual void append(i64 rows, std::span<const std::byte* const> values) = 0;
  // All is there, under its own name.
  virtual void finish() = 0;

 protected:
  EpisodesWriter() = default;
};

// Errors: a column twice, or of a type or shape that the format does not have; a folder or zarr
// that exists already.
std::unique_ptr<EpisodesWriter> write_episodes(const std::filesystem::path& path,
                                               const std::vector<Column>& columns,
                                               const WriteOptions& options = {});

// Bytes of a file, or of all files in a folder.
i64 stored_bytes(const std::filesystem::path& path);

}  // namespace orrery
