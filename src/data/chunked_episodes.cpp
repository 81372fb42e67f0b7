#include "data/chunked_episodes.h"

#include <algorithm>
#include <cstring>

namespace orrery {

void ChunkedEpisodes::do_read(i64 index, i64 begin, i64 end, i64 stride, std::byte* out) const {
  const i64 row_bytes = column(index).row_bytes();
  const Keep how = keep(index);
  while (begin < end) {
    const Chunk chunk = chunk_at(index, begin);
    const i64 last = std::min(end, chunk.end);
    const i64 count = (last - begin + stride - 1) / stride;
    const ChunkCache::Key key = {index, chunk.index};
    const i64 bytes = (chunk.end - chunk.begin) * row_bytes;
    const auto fill = [&](std::byte* values) { decode(index, chunk, values); };

    ChunkCache::Chunk held;
    bool done = false;
    if (how == Keep::never) {
      decode_rows(index, chunk, begin, last, stride, out);
      done = true;
    } else if (stride == 1 && begin == chunk.begin && last == chunk.end) {
      // a whole chunk goes where it is wanted: a pass over everything does not wash out the cache
      held = cache_.find(key);
      if (!held) fill(out);
      done = !held;
    } else if (how == Keep::always) {
      held = cache_.get(key, bytes, fill);
    } else {
      held = cache_.get_when_touched_again(key, bytes, fill);
      if (!held) decode_rows(index, chunk, begin, last, stride, out);
      done = !held;
    }
    if (!done) {
      const std::byte* from = held->values.get() + (begin - chunk.begin) * row_bytes;
      if (stride == 1) {
        std::memcpy(out, from, static_cast<std::size_t>(count * row_bytes));
      } else {
        for (i64 i = 0; i < count; ++i) {
          std::memcpy(out + i * row_bytes, from + i * stride * row_bytes,
                      static_cast<std::size_t>(row_bytes));
        }
      }
    }
    begin += count * stride;
    out += count * row_bytes;
  }
}

}  // namespace orrery
