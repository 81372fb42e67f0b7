#include "data/chunk_cache.h"

#include <algorithm>

namespace orrery {

namespace {

constexpr std::size_t kMostSpare = 4;
constexpr i64 kFewestRemembered = 16;

}  // namespace

ChunkCache::Chunk ChunkCache::get(Key key, i64 bytes, FunctionRef<void(std::byte*)> fill) {
  return get(key, bytes, fill, true);
}

ChunkCache::Chunk ChunkCache::get_when_touched_again(Key key, i64 bytes,
                                                     FunctionRef<void(std::byte*)> fill) {
  return get(key, bytes, fill, false);
}

ChunkCache::Chunk ChunkCache::find(Key key) {
  const std::lock_guard guard(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end() || !found->second.chunk) return nullptr;
  order_.splice(order_.begin(), order_, found->second.place);
  return found->second.chunk;
}

ChunkCache::Chunk ChunkCache::get(Key key, i64 bytes, FunctionRef<void(std::byte*)> fill,
                                  bool first_touch_decodes) {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto found = entries_.find(key);
    if (found == entries_.end()) break;
    if (found->second.chunk) {
      order_.splice(order_.begin(), order_, found->second.place);
      return found->second.chunk;
    }
    decoded_.wait(lock);
  }
  if (!first_touch_decodes && !touched_before(key, bytes)) return nullptr;
  order_.push_front(key);
  entries_.emplace(key, Entry{nullptr, order_.begin()});
  bytes_ += bytes;
  drop_old();
  Chunk chunk = take_block(bytes);
  lock.unlock();
  try {
    fill(chunk->values.get());
  } catch (...) {
    lock.lock();
    const auto entry = entries_.find(key);
    order_.erase(entry->second.place);
    entries_.erase(entry);
    bytes_ -= bytes;
    decoded_.notify_all();
    throw;
  }
  lock.lock();
  entries_.find(key)->second.chunk = chunk;
  decoded_.notify_all();
  return chunk;
}

bool ChunkCache::touched_before(Key key, i64 bytes) {
  // as many as would fit: a chunk that comes back later than that would have been dropped anyway
  const i64 most = std::max(kFewestRemembered, max_bytes_ / std::max<i64>(1, bytes));
  if (touched_.count(key) != 0) {
    touched_.erase(key);
    touched_order_.remove(key);
    return true;
  }
  touched_.insert(key);
  touched_order_.push_front(key);
  while (static_cast<i64>(touched_order_.size()) > most) {
    touched_.erase(touched_order_.back());
    touched_order_.pop_back();
  }
  return false;
}

ChunkCache::Chunk ChunkCache::take_block(i64 bytes) {
  const auto fits = std::find_if(spare_.begin(), spare_.end(), [&](const Chunk& block) {
    return block->bytes == bytes && block.use_count() == 1;
  });
  if (fits != spare_.end()) {
    Chunk block = std::move(*fits);
    spare_.erase(fits);
    return block;
  }
  // not zeroed: every byte is decoded into
  auto block = std::make_shared<Block>();
  block->values.reset(new std::byte[static_cast<std::size_t>(bytes)]);
  block->bytes = bytes;
  return block;
}

void ChunkCache::drop_old() {
  for (auto place = order_.end(); bytes_ > max_bytes_ && place != order_.begin();) {
    --place;
    const auto entry = entries_.find(*place);
    // what is being decoded, and what was asked for last, stays
    if (!entry->second.chunk || place == order_.begin()) continue;
    bytes_ -= entry->second.chunk->bytes;
    if (spare_.size() == kMostSpare) spare_.erase(spare_.begin());
    spare_.push_back(std::move(entry->second.chunk));
    entries_.erase(entry);
    place = order_.erase(place);
  }
}

}  // namespace orrery
