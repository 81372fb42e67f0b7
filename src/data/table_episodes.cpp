#include "data/table_episodes.h"

#include <algorithm>
#include <cstring>

namespace orrery {

i64 TableEpisodes::chunk_rows(i64 index) const { return std::max<i64>(1, source(index).together); }

void TableEpisodes::add_table(const std::string& column, Tensor values) {
  check(values.rank() >= 1 && values.size(0) == rows(), "column ", column, " of ", name(),
        " has shape ", values.shape(), ", the episodes have ", rows(), " rows");
  columns_.push_back({column, values.dtype(), Shape(values.shape().sizes().subspan(1))});
  check(columns_.back().width() > 0, "column ", column, " of ", name(), " has empty rows");
  sources_.push_back({std::move(values), 0});
}

void TableEpisodes::add_pictures(const std::string& column, i64 height, i64 width, i64 together) {
  columns_.push_back({column, DType::uint8, {height, width, 3}});
  sources_.push_back({Tensor(), together});
}

void TableEpisodes::put_picture(i64 index, i64 episode, i64 step, View<const u8, 3> rgb,
                                std::byte* out) const {
  const Column& about = column(index);
  check(rgb.size(0) == about.row[0] && rgb.size(1) == about.row[1], "cannot read ", name(),
        ": step ", step, " of episode ", episode, " of ", about.name, " is ", rgb.size(1), " x ",
        rgb.size(0), ", the column is ", about.row[1], " x ", about.row[0]);
  std::memcpy(out, rgb.data(), static_cast<std::size_t>(about.row_bytes()));
}

TableEpisodes::Keep TableEpisodes::keep(i64 index) const {
  return source(index).together == 0 ? Keep::never : Keep::always;
}

TableEpisodes::Chunk TableEpisodes::chunk_at(i64 index, i64 row) const {
  const i64 together = source(index).together;
  if (together == 0) return {0, 0, rows()};
  const i64 episode = episode_of(row);
  const i64 begin = offset(episode) + (row - offset(episode)) / together * together;
  return {begin, begin, std::min(begin + together, offset(episode) + length(episode))};
}

void TableEpisodes::decode(i64 index, const Chunk& chunk, std::byte* out) const {
  const i64 episode = episode_of(chunk.begin);
  decode_pictures(index, episode, chunk.begin - offset(episode), chunk.end - chunk.begin, out);
}

void TableEpisodes::decode_rows(i64 index, const Chunk&, i64 begin, i64 end, i64 stride,
                                std::byte* out) const {
  const i64 bytes = column(index).row_bytes();
  const std::byte* values = source(index).values.bytes();
  for (i64 row = begin; row < end; row += stride, out += bytes) {
    std::memcpy(out, values + row * bytes, static_cast<std::size_t>(bytes));
  }
}

Tensor whole_column(const Episodes& episodes, i64 index) {
  const Column& column = episodes.column(index);
  std::vector<i64> sizes = {episodes.rows()};
  for (const i64 size : column.row.sizes()) sizes.push_back(size);
  Tensor values(column.dtype, Shape(std::span<const i64>(sizes)));
  episodes.read(index, 0, episodes.rows(), 1, values.bytes());
  return values;
}

}  // namespace orrery
