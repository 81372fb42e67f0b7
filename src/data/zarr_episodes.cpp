#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "data/chunked_episodes.h"
#include "data/formats.h"
#include "io/zarr.h"

namespace orrery {

namespace {

constexpr std::string_view kData = "data/";
constexpr const char* kEnds = "meta/episode_ends";

// lengths from the rows that episodes end before
std::vector<i64> lengths_in(const ZarrReader& reader) {
  const i64 index = reader.find(kEnds);
  check(index >= 0, reader.name(), " has no ", kEnds, ": it is not a replay buffer in zarr");
  const ZarrArray& array = reader.arrays()[static_cast<std::size_t>(index)];
  const bool integer = array.dtype == DType::int32 || array.dtype == DType::int64;
  check(!array.refusal.empty() || (integer && array.row.numel() == 1), kEnds, " of ", reader.name(),
        " holds ", array.dtype, " of shape ", array.row, ", single integers are needed");
  const std::vector<std::byte> values = reader.read_all(index);
  std::vector<i64> lengths;
  i64 before = 0;
  for (i64 e = 0; e < array.rows; ++e) {
    i64 end = 0;
    if (array.dtype == DType::int32) {
      i32 narrow = 0;
      std::memcpy(&narrow, values.data() + e * 4, 4);
      end = narrow;
    } else {
      std::memcpy(&end, values.data() + e * 8, 8);
    }
    check(end >= before, reader.name(), ": episode ", e, " ends before row ", end,
          ", the one before it before row ", before);
    lengths.push_back(end - before);
    before = end;
  }
  return lengths;
}

class ZarrEpisodes final : public ChunkedEpisodes {
 public:
  ZarrEpisodes(std::unique_ptr<ZarrReader> reader, const OpenOptions& options)
      : ChunkedEpisodes(reader->name(), lengths_in(*reader), options.cache_bytes),
        reader_(std::move(reader)) {
    for (i64 i = 0; i < static_cast<i64>(reader_->arrays().size()); ++i) {
      const ZarrArray& array = reader_->arrays()[static_cast<std::size_t>(i)];
      if (array.path.compare(0, kData.size(), kData) != 0) continue;
      const std::string column = array.path.substr(kData.size());
      if (!array.refusal.empty()) {
        refused_.push_back({column, array.refusal});
        continue;
      }
      // more rows than the episodes need: those of an episode that was not finished
      check(array.rows >= rows(), "column ", column, " of ", name(), " has ", array.rows,
            " rows, the episodes have ", rows());
      columns_.push_back({column, array.dtype, array.row});
      stored_.push_back(i);
    }
    if (columns_.empty() && !refused_.empty()) {
      fail(name(), " has no column that can be read; column ", refused_[0].column, ": ",
           refused_[0].why);
    }
    check(!columns_.empty(), name(), " has no column that can be read");
  }

  i64 chunk_rows(i64 index) const override { return array(index).chunk_rows; }

 protected:
  // a file is opened and decoded as a whole
  Keep keep(i64) const override { return Keep::always; }

  Chunk chunk_at(i64 index, i64 row) const override {
    const i64 length = array(index).chunk_rows;
    return {row / length, row / length * length, (row / length + 1) * length};
  }

  void decode(i64 index, const Chunk& chunk, std::byte* out) const override {
    reader_->read_chunk(stored_[static_cast<std::size_t>(index)], chunk.index, out);
  }

  void decode_rows(i64, const Chunk&, i64, i64, i64, std::byte*) const override {}

 private:
  const ZarrArray& array(i64 index) const {
    return reader_->arrays()[static_cast<std::size_t>(stored_[static_cast<std::size_t>(index)])];
  }

  std::unique_ptr<ZarrReader> reader_;
  std::vector<i64> stored_;  // the reader's index of each column
};

}  // namespace

std::unique_ptr<Episodes> open_zarr(const std::filesystem::path& path, const OpenOptions& options) {
  return std::make_unique<ZarrEpisodes>(std::make_unique<ZarrReader>(path), options);
}

}  // namespace orrery
