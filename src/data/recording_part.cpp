#include "data/recording_part.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "io/blosc.h"

namespace orrery {

namespace {

// what a Blosc call takes: small enough to be packed within the cache's reach, and far from the
// 2 GB that end its frames
constexpr i64 kPieceBytes = i64{4} << 20;

i64 piece_rows(const Column& column) {
  return std::max<i64>(1, kPieceBytes / std::max<i64>(1, column.row_bytes()));
}

// the codec of recordings, at its quickest: frames of simulators are mostly one colour, and what
// more effort saves is packed anew by the writer
constexpr BloscSettings kSettings = {.codec = BloscCodec::lz4, .level = 1};

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

std::string packed_episode(const PlayedEpisode& episode, const std::vector<Column>& columns) {
  std::string out;
  put(out, episode.rows);
  put(out, static_cast<i64>(episode.reached));
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const std::span<const std::byte> values = episode.values[c];
    const i64 row_bytes = columns[c].row_bytes(), piece = piece_rows(columns[c]);
    for (i64 row = 0; row < episode.rows; row += piece) {
      const auto bytes = static_cast<std::size_t>(std::min(piece, episode.rows - row) * row_bytes);
      const std::size_t length_at = out.size();
      const std::size_t begin = length_at + sizeof(u64);
      out.resize(begin + bytes + kBloscOverhead);
      const u64 length =
          blosc_encode(values.subspan(static_cast<std::size_t>(row * row_bytes), bytes),
                       element_bytes(columns[c].dtype), kSettings,
                       {reinterpret_cast<std::byte*>(out.data()) + begin, bytes + kBloscOverhead});
      std::memcpy(out.data() + length_at, &length, sizeof length);
      out.resize(begin + length);
    }
  }
  return out;
}

template <typename T>
T PartReader::number_at(std::size_t& at) const {
  check(bytes_.size() - at >= sizeof(T), name_, " is cut short at byte ", at);
  T value;
  std::memcpy(&value, bytes_.data() + at, sizeof value);
  at += sizeof value;
  return value;
}

PartReader::PartReader(std::span<const std::byte> bytes, std::string name,
                       std::vector<Column> columns, i64 count, i64 max_rows)
    : bytes_(bytes), name_(std::move(name)), columns_(std::move(columns)) {
  check(bytes_.size() >= kPartMagic.size() &&
            std::memcmp(bytes_.data(), kPartMagic.data(), kPartMagic.size()) == 0,
        name_, " is not a part of a recording");
  std::size_t at = kPartMagic.size();
  for (i64 e = 0; e < count; ++e) {
    Entry entry;
    entry.rows = number_at<i64>(at);
    entry.reached = number_at<i64>(at) != 0;
    entry.begin = at;
    check(entry.rows > 0 && entry.rows <= max_rows, name_, ": episode ", e, " of it has ",
          entry.rows, " rows, 1 to ", max_rows, " are possible");
    for (const Column& column : columns_) {
      for (i64 row = 0; row < entry.rows; row += piece_rows(column)) {
        const auto length = number_at<u64>(at);
        check(length <= bytes_.size() - at, name_, " is cut short at byte ", at);
        at += static_cast<std::size_t>(length);
      }
    }
    episodes_.push_back(entry);
  }
  check(at == bytes_.size(), name_, " has ", bytes_.size() - at, " bytes after its ", count,
        " episodes");
}

i64 PartReader::rows() const {
  i64 rows = 0;
  for (const Entry& entry : episodes_) rows += entry.rows;
  return rows;
}

void PartReader::unpack(i64 episode, PlayedEpisode& out) const {
  const Entry& entry = episodes_[static_cast<std::size_t>(episode)];
  out.rows = entry.rows;
  out.reached = entry.reached;
  out.values.resize(columns_.size());
  std::size_t at = entry.begin;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const i64 row_bytes = columns_[c].row_bytes(), piece = piece_rows(columns_[c]);
    out.values[c].resize(static_cast<std::size_t>(entry.rows * row_bytes));
    for (i64 row = 0; row < entry.rows; row += piece) {
      const auto length = static_cast<std::size_t>(number_at<u64>(at));
      const i64 bytes = std::min(piece, entry.rows - row) * row_bytes;
      BloscFrame(bytes_.subspan(at, length), bytes, name_)
          .decode(out.values[c].data() + row * row_bytes);
      at += length;
    }
  }
}

}  // namespace orrery
