#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "io/hdf5.h"
#include "io/hdf5_handle.h"
#include "io/hdf5_source.h"

namespace orrery {

// For hdf5.cpp (what a file holds) and hdf5_chunks.cpp (its values) only.
struct Hdf5Reader::Handles {
  explicit Handles(const std::filesystem::path& path) : source(path) {}
  explicit Handles(std::span<const std::byte> bytes) : source(bytes) {}

  // where chunks lie, kPageChunks neighbours (pieces of rows, last dimension fastest) to a page; a
  // page is made when one of them is asked for
  static constexpr i64 kPageChunks = 256;
  struct ChunkPlace {
    u64 offset = 0;
    u32 bytes = 0;    // chunks of HDF5 have less than 4 GiB; 0: never written
    u32 skipped = 0;  // bit i: step i was left out
    bool known = false;
  };
  using Page = std::array<ChunkPlace, kPageChunks>;

  struct Dataset {
    Hdf5Handle id;
    Hdf5Handle memory_type;
    bool plain_edges = false;  // chunks that reach over an edge go through no filter
    bool filled = false;       // what was never written stands for other values than zeros
    std::unordered_map<i64, std::unique_ptr<Page>> pages;
  };

  // the source is destroyed last
  Hdf5Source source;
  Hdf5Handle file;
  std::vector<Dataset> datasets;
  std::mutex places;  // guards the pages
};

}  // namespace orrery
