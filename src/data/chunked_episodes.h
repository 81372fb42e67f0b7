#pragma once

#include <string>
#include <vector>

#include "data/chunk_cache.h"
#include "data/episodes.h"

namespace orrery {

// A recording that is stored in chunks of rows which are decoded as one: Blosc frames of HDF5 and
// zarr, the films of episodes. Chunks that are read again soon are kept decoded.
class ChunkedEpisodes : public Episodes {
 protected:
  struct Chunk {
    i64 index = 0;
    i64 begin = 0;  // rows of the recording; the last chunk may end behind it
    i64 end = 0;
  };
  enum class Keep {
    never,         // rows are read as cheaply as from memory
    second_touch,  // some rows cost about their share of the chunk
    always,        // some rows cost as much as all
  };

  ChunkedEpisodes(std::string name, std::vector<i64> lengths, i64 cache_bytes)
      : Episodes(std::move(name), std::move(lengths)), cache_(cache_bytes) {}

  virtual Keep keep(i64 column) const = 0;
  virtual Chunk chunk_at(i64 column, i64 row) const = 0;
  // all rows of a chunk; not called where keep() is never
  virtual void decode(i64 column, const Chunk& chunk, std::byte* out) const = 0;
  // rows begin, begin + stride, ... before end, which lie in the chunk; not called where keep() is
  // always
  virtual void decode_rows(i64 column, const Chunk& chunk, i64 begin, i64 end, i64 stride,
                           std::byte* out) const = 0;

  void do_read(i64 column, i64 begin, i64 end, i64 stride, std::byte* out) const final;

 private:
  mutable ChunkCache cache_;
};

}  // namespace orrery
