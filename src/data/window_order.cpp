#include "data/window_order.h"

#include <algorithm>

#include "base/error.h"
#include "base/random.h"

namespace orrery {

namespace {

// A block's last windows reach into the next chunk, so a block of n chunks decodes n + 1; with two
// it decodes half again as much as one pass would, and twice as many places are mixed as with four.
constexpr i64 kBlockChunks = 2;
// where a row is a chunk, or chunks are short: what a window touches should mostly be its block's
constexpr i64 kBlockSpans = 8;

}  // namespace

WindowOrders::WindowOrders(const Windows& windows, WindowOrder order, u64 seed, i64 column,
                           i64 group_bytes)
    : windows_(&windows), order_(order), seed_(seed) {
  if (order_ != WindowOrder::by_chunk) return;
  const Episodes& episodes = windows.episodes();
  const i64 span = windows.shape().span();
  const i64 chunk = episodes.chunk_rows(column);
  const i64 chunks = std::max(kBlockChunks, (kBlockSpans * span + chunk - 1) / chunk / 2);
  const i64 block_rows = chunks * chunk;
  const i64 block_bytes =
      (chunks + (span + chunk - 1) / chunk) * chunk * episodes.column(column).row_bytes();
  group_blocks_ = std::max<i64>(1, group_bytes / std::max<i64>(1, block_bytes));

  // a block: windows that follow one another and start in the same stretch of block_rows rows
  i64 window = 0;
  i64 stretch = -1;
  for (const i64 episode : windows.chosen()) {
    const i64 first = episodes.offset(episode);
    const i64 count = std::max<i64>(0, episodes.length(episode) - span + 1);
    for (i64 start = 0; start < count;) {
      const i64 here = (first + start) / block_rows;
      if (here != stretch) starts_.push_back(window + start);
      stretch = here;
      start = std::min(count, (here + 1) * block_rows - first);
    }
    window += count;
  }
  starts_.push_back(window);
}

std::shared_ptr<const WindowOrders::Epoch> WindowOrders::of_epoch(i64 epoch) const {
  const std::lock_guard guard(mutex_);
  if (epoch == last_epoch_) return last_;
  auto made = std::make_shared<Epoch>();
  made->orders_ = this;
  // 0: keeps the order apart from split_episodes' draw
  made->key_ =
      mix(mix(mix(seed_, static_cast<u64>(Stream::data_order)), 0), static_cast<u64>(epoch));
  if (order_ == WindowOrder::by_chunk) {
    const i64 count = static_cast<i64>(starts_.size()) - 1;
    i64 total = 0;
    for (i64 i = 0; i < count; ++i) {
      made->blocks_.push_back(static_cast<i64>(
          permuted_index(mix(made->key_, 1), static_cast<u64>(count), static_cast<u64>(i))));
      total += block_size(made->blocks_.back());
      if ((i + 1) % group_blocks_ == 0 || i + 1 == count) made->before_.push_back(total);
    }
  }
  last_epoch_ = epoch;
  last_ = made;
  return made;
}

i64 WindowOrders::Epoch::window(i64 place) const {
  const i64 count = orders_->windows_->size();
  check(place >= 0 && place < count, "place ", place, " of ", count, " windows was asked for");
  if (orders_->order_ == WindowOrder::in_order) return place;
  if (orders_->order_ == WindowOrder::shuffled) {
    return static_cast<i64>(permuted_index(key_, static_cast<u64>(count), static_cast<u64>(place)));
  }
  // the group, the place within it, and the block that lies there
  const auto group = static_cast<std::size_t>(
      std::upper_bound(before_.begin(), before_.end(), place) - before_.begin());
  const i64 first = group == 0 ? 0 : before_[group - 1];
  auto left = static_cast<i64>(permuted_index(mix(key_, 2 + group),
                                              static_cast<u64>(before_[group] - first),
                                              static_cast<u64>(place - first)));
  auto at = group * static_cast<std::size_t>(orders_->group_blocks_);
  while (left >= orders_->block_size(blocks_[at])) left -= orders_->block_size(blocks_[at++]);
  return orders_->starts_[static_cast<std::size_t>(blocks_[at])] + left;
}

}  // namespace orrery
