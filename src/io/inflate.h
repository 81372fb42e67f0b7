#pragma once

#include <cstddef>
#include <span>

namespace orrery {

// Deflate's streams, by zlib.

enum class DeflateHeader { zlib, gzip, either };

// Decodes a stream into memory of exactly its length; exact. False when it is damaged, cut short or
// holds another number of bytes.
bool inflate_exactly(std::span<const std::byte> stream, DeflateHeader header,
                     std::span<std::byte> out);

}  // namespace orrery
