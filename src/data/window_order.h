#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "data/windows.h"

namespace orrery {

enum class WindowOrder {
  in_order,  // as they are counted, the same in every epoch
  shuffled,  // any window at any place
  // Shuffled twice, such that a chunk is decoded about once an epoch: the recording is cut into
  // blocks of some chunks, the blocks are shuffled, and windows are shuffled within a group of as
  // many blocks as memory holds.
  by_chunk,
};

// The orders of the epochs. An order is a bijection of [0, windows.size()) that is computed window
// by window; by_chunk keeps two numbers for each block, which has hundreds of windows. A pure
// function of (windows, order, seed, epoch), and of the group's memory for by_chunk. exact
class WindowOrders {
 public:
  class Epoch {
   public:
    // the window that stands at a place
    i64 window(i64 place) const;

   private:
    friend class WindowOrders;
    const WindowOrders* orders_ = nullptr;
    u64 key_ = 0;
    std::vector<i64> blocks_;  // in this epoch's order
    std::vector<i64> before_;  // windows in the groups up to and with each
  };

  // `column`: whose chunks count. The windows must outlive the orders.
  WindowOrders(const Windows& windows, WindowOrder order, u64 seed, i64 column, i64 group_bytes);

  // Any number of threads.
  std::shared_ptr<const Epoch> of_epoch(i64 epoch) const;

 private:
  i64 block_size(i64 block) const {
    const auto at = static_cast<std::size_t>(block);
    return starts_[at + 1] - starts_[at];
  }

  const Windows* windows_;
  WindowOrder order_;
  u64 seed_;
  std::vector<i64> starts_;  // first window of each block, and the number of windows
  i64 group_blocks_ = 1;

  mutable std::mutex mutex_;
  mutable i64 last_epoch_ = -1;
  mutable std::shared_ptr<const Epoch> last_;
};

}  // namespace orrery
