#include <algorithm>
#include <cstring>
#include <list>
#include <map>
#include <mutex>

#include "base/error.h"
#include "data/episodes.h"
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

// Decoded chunks, the least recently used dropped first. What is handed out stays alive while it is
// held.
class ChunkCache {
 public:
  using Chunk = std::shared_ptr<const std::vector<std::byte>>;
  using Key = std::pair<i64, i64>;  // column, chunk

  explicit ChunkCache(i64 max_bytes) : max_bytes_(max_bytes) {}

  Chunk find(Key key) {
    const std::lock_guard guard(mutex_);
    const auto found = chunks_.find(key);
    if (found == chunks_.end()) return nullptr;
    order_.splice(order_.begin(), order_, found->second.place);
    return found->second.chunk;
  }

  void keep(Key key, Chunk chunk) {
    const std::lock_guard guard(mutex_);
    if (chunks_.count(key) != 0) return;  // another thread was faster
    bytes_ += static_cast<i64>(chunk->size());
    order_.push_front(key);
    chunks_.emplace(key, Entry{std::move(chunk), order_.begin()});
    while (bytes_ > max_bytes_ && order_.size() > 1) {
      const auto last = chunks_.find(order_.back());
      bytes_ -= static_cast<i64>(last->second.chunk->size());
      chunks_.erase(last);
      order_.pop_back();
    }
  }

 private:
  struct Entry {
    Chunk chunk;
    std::list<Key>::iterator place;
  };

  std::mutex mutex_;
  std::map<Key, Entry> chunks_;
  std::list<Key> order_;  // most recently used first
  i64 bytes_ = 0;
  i64 max_bytes_;
};

class Hdf5Episodes final : public Episodes {
 public:
  Hdf5Episodes(std::unique_ptr<Hdf5Reader> reader, const OpenOptions& options)
      : Episodes(reader->name(), index_column(*reader, kLengths)),
        reader_(std::move(reader)),
        cache_(options.cache_bytes) {
    const std::vector<i64> offsets = index_column(*reader_, kOffsets);
    check(static_cast<i64>(offsets.size()) == count(), name(), " has ", offsets.size(),
          " episode offsets for ", count(), " episodes");
    for (i64 e = 0; e < count(); ++e) {
      check(offsets[static_cast<std::size_t>(e)] == offset(e), name(), ": episode ", e,
            " begins at row ", offsets[static_cast<std::size_t>(e)],
            ", the lengths before it add up to ", offset(e));
    }
    for (i64 i = 0; i < static_cast<i64>(reader_->columns().size()); ++i) {
      const Hdf5Column& column = reader_->columns()[static_cast<std::size_t>(i)];
      if (column.name == kLengths || column.name == kOffsets) continue;
      // a column of text, say, is none of ours; pixels and actions that cannot be read are worth a
      // sentence
      if (!column.refusal.empty()) {
        refused_.push_back(text("column ", column.name, ": ", column.refusal));
        continue;
      }
      check(column.rows == rows(), "column ", column.name, " of ", name(), " has ", column.rows,
            " rows, the episodes have ", rows());
      columns_.push_back({column.name, column.dtype, column.row});
      stored_.push_back(i);
    }
    check(!columns_.empty(), name(), " has no column that can be read",
          refused_.empty() ? "" : "; ", refused_.empty() ? "" : refused_.front());
  }

 protected:
  void do_read(i64 index, i64 begin, i64 end, i64 stride, std::byte* out) const override {
    const i64 stored = stored_[static_cast<std::size_t>(index)];
    const Hdf5Column& column = reader_->columns()[static_cast<std::size_t>(stored)];
    // chunks of several rows are kept, for the next window needs them again
    if (column.chunk_rows <= 1) {
      reader_->read(stored, begin, end, stride, out);
      return;
    }
    const i64 bytes = column.row_bytes();
    ChunkCache::Chunk chunk;
    i64 held = -1;
    for (i64 row = begin; row < end; row += stride, out += bytes) {
      if (row / column.chunk_rows != held) {
        held = row / column.chunk_rows;
        chunk = chunk_of(stored, held);
      }
      std::memcpy(out, chunk->data() + row % column.chunk_rows * bytes,
                  static_cast<std::size_t>(bytes));
    }
  }

 private:
  ChunkCache::Chunk chunk_of(i64 stored, i64 chunk) const {
    ChunkCache::Chunk found = cache_.find({stored, chunk});
    if (found) return found;
    const Hdf5Column& column = reader_->columns()[static_cast<std::size_t>(stored)];
    auto decoded = std::make_shared<std::vector<std::byte>>(
        static_cast<std::size_t>(column.chunk_rows * column.row_bytes()));
    reader_->read_chunk(stored, chunk, decoded->data());
    found = std::move(decoded);
    cache_.keep({stored, chunk}, found);
    return found;
  }

  std::unique_ptr<Hdf5Reader> reader_;
  std::vector<i64> stored_;  // the reader's index of each column
  std::vector<std::string> refused_;
  mutable ChunkCache cache_;
};

}  // namespace

std::unique_ptr<Episodes> open_episodes(const std::filesystem::path& path,
                                        const OpenOptions& options) {
  return std::make_unique<Hdf5Episodes>(std::make_unique<Hdf5Reader>(path), options);
}

std::unique_ptr<Episodes> open_episodes(std::span<const std::byte> file, const std::string& name,
                                        const OpenOptions& options) {
  return std::make_unique<Hdf5Episodes>(std::make_unique<Hdf5Reader>(file, name), options);
}

}  // namespace orrery
