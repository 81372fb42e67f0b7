#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/episodes.h"
#include "data/episode_player.h"

namespace orrery {

// Episodes of a recording on their way from the rank that played them to the one that writes them:
// small, lossless, and quick to pack, by any thread, episode by episode.
//
//   "OrrPart1"
//   for every episode: rows i64, reached i64,
//     for every column: its rows in pieces of about 4 MB, each a length u64 and a Blosc frame
//
// Numbers are little-endian. Which columns there are is known to both sides. Not for keeping: the
// format may change with any version.

inline constexpr std::string_view kPartMagic = "OrrPart1";

// An episode, packed.
std::string packed_episode(const PlayedEpisode& episode, const std::vector<Column>& columns);

// Reads a part: the magic and `count` packed episodes after it. The bytes must outlive it; `name`
// says in errors where they came from.
//
// Errors, of the constructor: not a part, cut short, other than `count` episodes, an episode of no
// rows or of more than max_rows; of unpack: damaged frames.
class PartReader {
 public:
  PartReader(std::span<const std::byte> bytes, std::string name, std::vector<Column> columns,
             i64 count, i64 max_rows);

  i64 count() const { return static_cast<i64>(episodes_.size()); }
  i64 rows() const;  // of all episodes
  // out's memory is used again
  void unpack(i64 episode, PlayedEpisode& out) const;

 private:
  struct Entry {
    i64 rows = 0;
    bool reached = false;
    std::size_t begin = 0;  // of the pieces
  };

  template <typename T>
  T number_at(std::size_t& at) const;

  std::span<const std::byte> bytes_;
  std::string name_;
  std::vector<Column> columns_;
  std::vector<Entry> episodes_;
};

}  // namespace orrery
