#include <algorithm>

#include "base/error.h"
#include "data/chunked_episodes.h"
#include "data/formats.h"
#include "data/robomimic_episodes.h"
#include "io/hdf5.h"

namespace orrery {

namespace {

constexpr const char* kLengths = "ep_len";
constexpr const char* kOffsets = "ep_offset";

// an integer column of one number a row
std::vector<i64> index_column(const Hdf5Reader& reader, const char* name) {
  const i64 index = reader.find(name);
  check(index >= 0, reader.name(), " has no ", name,
        ": it is not a stable-worldmodel recording, or was not finished");
  const Hdf5Column& column = reader.columns()[static_cast<std::size_t>(index)];
  check(column.refusal.empty(), "cannot read column ", name, " of ", reader.name(), ": ",
        column.refusal);
  const bool integer = column.dtype == DType::int32 || column.dtype == DType::int64;
  check(integer && column.row.numel() == 1, "column ", name, " of ", reader.name(), " holds ",
        column.dtype, " of shape ", column.row, ", single integers are needed");
  Tensor values(column.dtype, {column.rows});
  reader.read(index, 0, column.rows, 1, values.bytes());
  std::vector<i64> result(static_cast<std::size_t>(column.rows));
  for (std::size_t i = 0; i < result.size(); ++i) {
    result[i] = column.dtype == DType::int32 ? values.data<i32>()[i] : values.data<i64>()[i];
  }
  return result;
}

// The lengths of the episodes that are there. Where a writer was killed between lengths and
// offsets, the shorter of the two lists counts.
std::vector<i64> lengths_in(const Hdf5Reader& reader) {
  std::vector<i64> lengths = index_column(reader, kLengths);
  if (reader.unfinished()) {
    lengths.resize(std::min(lengths.size(), index_column(reader, kOffsets).size()));
    check(!lengths.empty(), reader.name(), " has no finished episode");
  }
  return lengths;
}

class Hdf5Episodes final : public ChunkedEpisodes {
 public:
  Hdf5Episodes(std::unique_ptr<Hdf5Reader> reader, const OpenOptions& options)
      : ChunkedEpisodes(reader->name(), lengths_in(*reader), options.cache_bytes),
        reader_(std::move(reader)) {
    std::vector<i64> offsets = index_column(*reader_, kOffsets);
    if (reader_->unfinished()) offsets.resize(static_cast<std::size_t>(count()));
    check(static_cast<i64>(offsets.size()) == count(), name(), " has ", offsets.size(),
          " episode offsets for ", count(), " episodes");
    for (i64 e = 0; e < count(); ++e) {
      check(offsets[static_cast<std::size_t>(e)] == offset(e), name(), ": episode ", e,
            " begins at row ", offsets[static_cast<std::size_t>(e)],
            ", the lengths before it add up to ", offset(e));
    }
    for (i64 i = 0; i < static_cast<i64>(reader_->columns().size()); ++i) {
      const Hdf5Column& stored = stored_column(i);
      if (stored.name == kLengths || stored.name == kOffsets) continue;
      if (stored.name.find('/') != std::string::npos) continue;  // in a group
      // a column of text, say, is none of ours; pixels and actions that cannot be read are worth a
      // sentence
      if (!stored.refusal.empty()) {
        refused_.push_back({stored.name, stored.refusal});
        continue;
      }
      // more rows than the episodes need: those of an episode that was not finished
      const bool enough = reader_->unfinished() ? stored.rows >= rows() : stored.rows == rows();
      check(enough, "column ", stored.name, " of ", name(), " has ", stored.rows,
            " rows, the episodes have ", rows());
      columns_.push_back({stored.name, stored.dtype, stored.row});
      stored_.push_back(i);
    }
    if (columns_.empty() && !refused_.empty()) {
      fail(name(), " has no column that can be read; column ", refused_[0].column, ": ",
           refused_[0].why);
    }
    check(!columns_.empty(), name(), " has no column that can be read");
    if (find_column("pixels") < 0) read_drawing();
  }

  i64 chunk_rows(i64 index) const override {
    return std::max<i64>(1, stored_column(stored_[static_cast<std::size_t>(index)]).chunk_rows);
  }

 protected:
  Keep keep(i64 index) const override {
    const Hdf5Column& stored = stored_column(stored_[static_cast<std::size_t>(index)]);
    if (stored.plain()) return Keep::never;
    if (!stored.blosc()) return Keep::always;
    return stored.chunk_rows > 1 ? Keep::second_touch : Keep::never;
  }

  Chunk chunk_at(i64 index, i64 row) const override {
    const i64 length = stored_column(stored_[static_cast<std::size_t>(index)]).chunk_rows;
    if (length == 0) return {0, 0, rows()};
    return {row / length, row / length * length, (row / length + 1) * length};
  }

  void decode(i64 index, const Chunk& chunk, std::byte* out) const override {
    reader_->read_chunk(stored_[static_cast<std::size_t>(index)], chunk.index, out);
  }

  void decode_rows(i64 index, const Chunk&, i64 begin, i64 end, i64 stride,
                   std::byte* out) const override {
    reader_->read(stored_[static_cast<std::size_t>(index)], begin, end, stride, out);
  }

 private:
  void read_drawing() {
    try {
      drawing_ = reader_->text_of(kDrawingText).value_or("");
    } catch (const Error& error) {
      refused_.push_back({"pixels", error.what()});
    }
  }

  const Hdf5Column& stored_column(i64 stored) const {
    return reader_->columns()[static_cast<std::size_t>(stored)];
  }

  std::unique_ptr<Hdf5Reader> reader_;
  std::vector<i64> stored_;  // the reader's index of each column
};

}  // namespace

namespace {

std::unique_ptr<Episodes> episodes_of(std::unique_ptr<Hdf5Reader> reader,
                                      const OpenOptions& options) {
  if (is_robomimic(*reader)) return robomimic_episodes(std::move(reader), options);
  return std::make_unique<Hdf5Episodes>(std::move(reader), options);
}

}  // namespace

std::unique_ptr<Episodes> open_hdf5(const std::filesystem::path& path, const OpenOptions& options) {
  return episodes_of(std::make_unique<Hdf5Reader>(path), options);
}

std::unique_ptr<Episodes> open_hdf5(std::span<const std::byte> file, const std::string& name,
                                    const OpenOptions& options) {
  return episodes_of(std::make_unique<Hdf5Reader>(file, name), options);
}

}  // namespace orrery
