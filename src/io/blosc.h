#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace orrery {

// Blosc 1 frames, which HDF5 chunks (filter 32001) and zarr chunks are stored as.

enum class BloscCodec { blosclz, lz4, lz4hc, snappy, zlib, zstd };
enum class BloscShuffle { none, byte, bit };

struct BloscSettings {
  BloscCodec codec = BloscCodec::lz4;
  int level = 5;  // 0 (stored) to 9
  BloscShuffle shuffle = BloscShuffle::byte;
};

const char* name_of(BloscCodec codec);  // "lz4", as Blosc, zarr and hdf5plugin write it
std::optional<BloscCodec> blosc_codec_from(std::string_view name);
// Whether this machine's library has it: Debian's has all six.
bool blosc_has(BloscCodec codec);

// The frame of some values, whose elements have element_bytes each. Error when the codec is not
// there.
std::vector<std::byte> blosc_frame_of(std::span<const std::byte> values, i64 element_bytes,
                                      const BloscSettings& settings);
// The same into memory of the caller; returns the bytes used. `out` has values.size() +
// kBloscOverhead bytes or more.
inline constexpr std::size_t kBloscOverhead = 16;
std::size_t blosc_encode(std::span<const std::byte> values, i64 element_bytes,
                         const BloscSettings& settings, std::span<std::byte> out);

// A frame whose header agrees with its length; what it points to must outlive it. `where` begins
// the sentence of an error.
//
// Errors: not a whole frame, other than `bytes` inside, damaged.
class BloscFrame {
 public:
  BloscFrame(std::span<const std::byte> frame, i64 bytes, std::string_view where);

  // Everything.
  void decode(std::byte* out) const;
  // Bytes [begin, begin + count): only the blocks that they lie in are decoded. These are about
  // 128 KiB in the published recordings, whose chunks have 15 MB.
  void decode_range(i64 begin, i64 count, std::byte* out) const;

 private:
  std::span<const std::byte> frame_;
  std::string_view where_;
  i64 bytes_ = 0;
  i64 element_ = 1;
};

}  // namespace orrery
