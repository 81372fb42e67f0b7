#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "data/chunked_episodes.h"
#include "media/image.h"

namespace orrery {

// A recording of tables, which are held in memory, and of pictures, which are decoded from files
// beside them: stable-worldmodel's folders, LeRobot.
class TableEpisodes : public ChunkedEpisodes {
 public:
  i64 chunk_rows(i64 index) const override;

 protected:
  TableEpisodes(std::string name, std::vector<i64> lengths, const OpenOptions& options)
      : ChunkedEpisodes(std::move(name), std::move(lengths), options.cache_bytes) {}

  // values [rows, row]
  void add_table(const std::string& name, Tensor values);
  // pictures of which `together` neighbours within an episode are decoded as one
  void add_pictures(const std::string& name, i64 height, i64 width, i64 together);

  // Pictures [first, first + count) of an episode, u8 [count, height, width, 3].
  virtual void decode_pictures(i64 column, i64 episode, i64 first, i64 count,
                               std::byte* out) const = 0;
  // for it: the picture of a step, checked against the column's shape, to where it belongs
  void put_picture(i64 column, i64 episode, i64 step, View<const u8, 3> rgb, std::byte* out) const;

 private:
  struct Source {
    Tensor values;     // a table
    i64 together = 0;  // 0: a table; else pictures
  };

  Keep keep(i64 index) const override;
  Chunk chunk_at(i64 index, i64 row) const override;
  void decode(i64 index, const Chunk& chunk, std::byte* out) const override;
  void decode_rows(i64 index, const Chunk& chunk, i64 begin, i64 end, i64 stride,
                   std::byte* out) const override;
  const Source& source(i64 index) const { return sources_[static_cast<std::size_t>(index)]; }

  std::vector<Source> sources_;  // by column
};

// All rows of a column: [rows, row].
Tensor whole_column(const Episodes& episodes, i64 column);

}  // namespace orrery
