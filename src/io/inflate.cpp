#include "io/inflate.h"

#include <zlib.h>

#include <limits>

namespace orrery {

bool inflate_exactly(std::span<const std::byte> from, DeflateHeader header,
                     std::span<std::byte> out) {
  constexpr std::size_t kMost = std::numeric_limits<uInt>::max();
  if (from.size() > kMost || out.size() > kMost) return false;
  z_stream stream = {};
  // the largest window, and what zlib adds to it for other headers than its own
  constexpr int kWindow = 15, kGzip = 16, kEither = 32;
  const int more = header == DeflateHeader::zlib   ? 0
                   : header == DeflateHeader::gzip ? kGzip
                                                   : kEither;
  if (inflateInit2(&stream, kWindow + more) != Z_OK) return false;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from.data()));
  stream.avail_in = static_cast<uInt>(from.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int code = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  return code == Z_STREAM_END && stream.avail_out == 0;
}

}  // namespace orrery
