#pragma once

#include <condition_variable>
#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "base/function_ref.h"
#include "base/types.h"

namespace orrery {

// Decoded chunks, the least recently used dropped first. What is handed out stays alive while it is
// held, so memory is max_bytes and what readers hold at the moment. Any number of threads.
class ChunkCache {
 public:
  struct Block {
    std::unique_ptr<std::byte[]> values;
    i64 bytes = 0;
  };
  using Chunk = std::shared_ptr<Block>;
  using Key = std::pair<i64, i64>;  // column, chunk

  explicit ChunkCache(i64 max_bytes) : max_bytes_(max_bytes) {}

  // The chunk, decoded by `fill` when it is not there; a second thread that wants it waits for the
  // first.
  Chunk get(Key key, i64 bytes, FunctionRef<void(std::byte*)> fill);
  // The same, but nothing at the first touch of a chunk: who reads here and there decodes only the
  // rows it needs, who comes back soon finds the whole chunk.
  Chunk get_when_touched_again(Key key, i64 bytes, FunctionRef<void(std::byte*)> fill);
  // The chunk if it is there.
  Chunk find(Key key);

 private:
  struct Entry {
    Chunk chunk;  // none: being decoded
    std::list<Key>::iterator place;
  };

  Chunk get(Key key, i64 bytes, FunctionRef<void(std::byte*)> fill, bool first_touch_decodes);
  bool touched_before(Key key, i64 bytes);
  Chunk take_block(i64 bytes);
  void drop_old();

  std::mutex mutex_;
  std::condition_variable decoded_;
  std::map<Key, Entry> entries_;
  std::list<Key> order_;  // most recently used first
  std::set<Key> touched_;
  std::list<Key> touched_order_;
  std::vector<Chunk> spare_;  // dropped blocks that nobody holds: their pages are there already
  i64 bytes_ = 0;
  i64 max_bytes_;
};

}  // namespace orrery
