#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace orrery {

// What a chunk of an HDF5 file goes through when it is written, and back; exact.
//
// - shuffle     byte k of every element, then byte k + 1 of every element, ...
// - deflate     zlib's stream; what h5py calls gzip
// - lzf         h5py's own: runs of literals, and references up to 8 KiB back
// - fletcher32  Fletcher's checksum over big-endian numbers of 16 bits, in four bytes behind
// - blosc       a frame (io/blosc.h)
enum class Hdf5Filter { shuffle, deflate, lzf, fletcher32, blosc };

struct Hdf5Step {
  Hdf5Filter filter;
  i64 element_bytes = 1;  // of shuffle

  bool packs() const {
    return filter == Hdf5Filter::deflate || filter == Hdf5Filter::lzf ||
           filter == Hdf5Filter::blosc;
  }
};

// The filter of a number that the format, or its registry, gives: 1 is deflate, ...
std::optional<Hdf5Filter> hdf5_filter_of(int number);

// The values of a stored chunk, which went through `steps`, first to last; of these one at most
// packs. Bit i of `skipped`: step i was left out. `where` begins the sentence of an error.
//
// Errors: other than out.size() bytes inside, damaged, another checksum.
void decode_hdf5_chunk(std::span<const std::byte> stored, std::span<const Hdf5Step> steps,
                       u32 skipped, std::span<std::byte> out, std::string_view where);

u32 fletcher32(std::span<const std::byte> bytes);

}  // namespace orrery
