#pragma once

#include "base/types.h"
#include "tensor/view.h"

namespace orrery {

// Adds up what the processes that hold parts of one batch have found: values become their sums over
// all of them, the same bits everywhere. Every process makes the same calls in the same order. The
// values lie where the operation that asks works.
class BatchSums {
 public:
  virtual ~BatchSums() = default;
  virtual void add_up(View<float, 1> values) = 0;
  virtual void add_up(View<double, 1> values) = 0;
};

// Which rows of a batch are here, for operations whose result hangs on all of them. By default all
// are.
struct BatchShare {
  BatchSums* sums = nullptr;  // none: this process has the whole batch
  i64 first = 0;              // place in the batch of the first row here
  i64 count = 0;              // rows of the batch; not used without sums

  // rows of the batch of which `here` are here
  i64 whole(i64 here) const { return sums == nullptr ? here : count; }
  // the same share when every row stands for several
  BatchShare times(i64 each) const { return {sums, first * each, count * each}; }
};

}  // namespace orrery
