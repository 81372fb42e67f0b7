// Plain data and plain loops, not instrumented: see block.cpp.

#include "async.h"

#include <cstdlib>
#include <cstring>

#include "block.h"
#include "fiber.h"

namespace emulation {

namespace {

constexpr unsigned kWarpgroup = 128;
constexpr unsigned kMostBytes = (1u << 20) - 1;  // that a barrier can wait for, and arrivals
constexpr int kSums = kWarpgroupColumns / 2;     // of a thread

bool in_shared(const void* pointer, std::size_t bytes) {
  const auto first = reinterpret_cast<std::uintptr_t>(dynamic_shared_memory());
  const auto begin = reinterpret_cast<std::uintptr_t>(pointer);
  return begin >= first && begin - first <= dynamic_shared_bytes() &&
         bytes <= dynamic_shared_bytes() - (begin - first);
}

// A barrier's eight bytes. Shared memory is all ones before anybody writes it, so `unmade` tells.
struct Counts {
  std::uint64_t phase : 1, wanted : 20, missing : 20, bytes : 22, unmade : 1;
};
static_assert(sizeof(Counts) == sizeof(std::uint64_t));
constexpr std::uint64_t kNoBytes = 1u << 21;  // bytes may come before they are announced

Counts counts_of(const std::uint64_t* barrier, const char* what) {
  if (reinterpret_cast<std::uintptr_t>(barrier) % 8 != 0 || !in_shared(barrier, 8)) {
    fail("%s at %p, which is no multiple of 8 in dynamic shared memory", what,
         static_cast<const void*>(barrier));
  }
  Counts counts;
  std::memcpy(&counts, barrier, sizeof counts);
  return counts;
}
Counts made(const std::uint64_t* barrier, const char* what) {
  const Counts counts = counts_of(barrier, what);
  if (counts.unmade != 0) fail("%s at a barrier that was not initialised", what);
  return counts;
}
void put(std::uint64_t* barrier, const Counts& counts) {
  std::memcpy(barrier, &counts, sizeof counts);
}
// Tokens of ThreadSanitizer: bytes of the barrier by phase, and two more for loads.
char* token(const std::uint64_t* barrier, unsigned phase) {
  return reinterpret_cast<char*>(const_cast<std::uint64_t*>(barrier)) + phase;
}

void end_phase(Counts& counts) {
  if (counts.missing > 0 || counts.bytes != kNoBytes) return;
  counts.missing = counts.wanted;
  counts.phase ^= 1;
}

// a list that grows; [0] is the oldest
template <typename T>
class List {
 public:
  unsigned count() const { return end_ - begin_; }
  const T& operator[](unsigned i) const { return items_[begin_ + i]; }
  void clear() { begin_ = end_ = 0; }
  void add(const T& item) {
    if (begin_ == end_) clear();
    if (end_ == capacity_) {
      capacity_ = capacity_ == 0 ? 64 : 2 * capacity_;
      items_ = static_cast<T*>(std::realloc(static_cast<void*>(items_), capacity_ * sizeof(T)));
      if (items_ == nullptr) fail("no memory for what is under way");
    }
    items_[end_++] = item;
  }
  T take(unsigned index) {
    const T item = (*this)[index];
    // what is older moves up: nothing, mostly
    for (unsigned i = begin_ + index; i > begin_; --i) items_[i] = items_[i - 1];
    ++begin_;
    return item;
  }

 private:
  T* items_ = nullptr;
  unsigned begin_ = 0, end_ = 0, capacity_ = 0;
};

List<Load> loads;
Order order;

// what one thread has under way
struct Pending {
  List<Copy> copies;
  unsigned copy_groups = 0;
  List<WarpgroupProduct> products;
  unsigned groups = 0;
  bool fenced = false;
  // the sums when the first of them was asked for: nobody may touch them before it is done
  std::uint32_t sums[kSums];
};
Pending* pending_of = nullptr;  // kMaxThreads of them

// where the threads of a warpgroup meet
struct Meeting {
  unsigned round, here;
  WarpgroupProduct product;
};
Meeting meetings[kMaxThreads / kWarpgroup];

Pending& mine(const char* what) {
  if (current() == nullptr) fail("%s outside of a kernel", what);
  return pending_of[thread_number()];
}

struct Awaited {
  const std::uint64_t* barrier;
  unsigned parity;
};

struct Left {
  const Meeting* meeting;
  unsigned round;
};

}  // namespace

void begin_async() {
  if (pending_of == nullptr) pending_of = new Pending[kMaxThreads];
  for (unsigned i = 0; i < kMaxThreads; ++i) {
    Pending& pending = pending_of[i];
    pending.copies.clear();
    pending.products.clear();
    pending.copy_groups = pending.groups = 0;
    pending.fenced = false;
  }
  for (Meeting& meeting : meetings) meeting = {};
  loads.clear();
  order = order_from_environment();
}

void end_async() {
  if (loads.count() > 0) fail("%u loads of boxes are under way when the block ends", loads.count());
  for (unsigned i = 0; i < kMaxThreads; ++i) {
    if (pending_of[i].products.count() > 0) fail("products of thread %u were not waited for", i);
  }
}

void add_copy(const Copy& copy) {
  Pending& own = mine("cp.async");
  Copy kept = copy;
  kept.group = own.copy_groups;
  own.copies.add(kept);
}

void copy_commit() { ++mine("cp.async.commit_group").copy_groups; }

bool take_copy(Copy& copy, unsigned pending) {
  Pending& own = mine("cp.async.wait_group");
  if (own.copies.count() == 0 || own.copies[0].group + pending >= own.copy_groups) return false;
  copy = own.copies.take(0);
  return true;
}

std::uint32_t shared_address(const void* pointer) {
  if (!in_shared(pointer, 0)) fail("%p is not in dynamic shared memory", pointer);
  const auto* first = static_cast<const char*>(dynamic_shared_memory());
  return kSharedWindow + static_cast<std::uint32_t>(static_cast<const char*>(pointer) - first);
}

void* shared_pointer(std::uint32_t address, unsigned bytes) {
  const std::uint32_t offset = address - kSharedWindow;
  if (address < kSharedWindow || offset > dynamic_shared_bytes() ||
      bytes > dynamic_shared_bytes() - offset) {
    fail("%u bytes at 0x%x of shared memory, which this block has not", bytes, address);
  }
  return static_cast<char*>(dynamic_shared_memory()) + offset;
}

void barrier_init(std::uint64_t* barrier, unsigned arrivals) {
  Counts counts = counts_of(barrier, "mbarrier.init");
  if (arrivals == 0 || arrivals > kMostBytes) fail("mbarrier.init for %u arrivals", arrivals);
  counts.phase = 0;
  counts.wanted = counts.missing = arrivals & kMostBytes;
  counts.bytes = kNoBytes;
  counts.unmade = 0;
  put(barrier, counts);
}

void barrier_arrive(std::uint64_t* barrier, unsigned bytes) {
  Counts counts = made(barrier, "mbarrier.arrive");
  if (counts.missing == 0) fail("mbarrier.arrive: more arrive than the %u wanted", counts.wanted);
  if (bytes > kMostBytes) fail("mbarrier.arrive.expect_tx of %u bytes", bytes);
  release(token(barrier, counts.phase));
  counts.bytes = (counts.bytes + bytes) & ((1u << 22) - 1);
  counts.missing = (counts.missing - 1) & kMostBytes;
  end_phase(counts);
  put(barrier, counts);
}

void complete_bytes(std::uint64_t* barrier, unsigned bytes) {
  Counts counts = made(barrier, "a load of a box");
  release(token(barrier, counts.phase));
  counts.bytes = (counts.bytes - bytes) & ((1u << 22) - 1);
  end_phase(counts);
  put(barrier, counts);
}

bool barrier_passed(const std::uint64_t* barrier, unsigned parity) {
  return made(barrier, "mbarrier.try_wait").phase != (parity & 1u);
}

void wait_for_barrier(const std::uint64_t* barrier, unsigned parity) {
  const Awaited awaited = {barrier, parity};
  wait_until(
      "a phase of an mbarrier",
      [](const void* context) {
        const auto& what = *static_cast<const Awaited*>(context);
        // checked when the thread came; now nobody's turn is it
        Counts counts;
        std::memcpy(&counts, what.barrier, sizeof counts);
        if (counts.phase != (what.parity & 1u)) return true;
        for (unsigned i = 0; i < loads.count(); ++i) {
          if (loads[i].barrier == what.barrier) return true;
        }
        return false;
      },
      &awaited);
}

void order_after_barrier(std::uint64_t* barrier, unsigned parity) {
  acquire(token(barrier, parity & 1u));
}

bool keep_load(const Load& load) {
  made(load.barrier, "cp.async.bulk.tensor");
  bool at_once = order.kind == Order::Kind::reverse;
  if (order.kind == Order::Kind::random) {
    unsigned toss[2];
    arrange(order, toss, 2);
    at_once = toss[0] == 0;
  }
  if (at_once) return false;
  release(token(load.barrier, 2));
  loads.add(load);
  return true;
}

bool take_load(Load& load, const std::uint64_t* barrier) {
  // those of one barrier come in any order: here the last one first
  for (unsigned i = loads.count(); i-- > 0;) {
    if (loads[i].barrier != barrier) continue;
    load = loads.take(i);
    acquire(token(barrier, 2));
    return true;
  }
  return false;
}

void warpgroup_fence() { mine("wgmma.fence").fenced = true; }

void keep_product(const WarpgroupProduct& product) {
  Pending& own = mine("wgmma");
  const unsigned group = thread_number() / kWarpgroup;
  if (block_threads() < (group + 1) * kWarpgroup) {
    fail("wgmma: the block ends within the warpgroup");
  }
  // all 128 ask for the same
  Meeting& meeting = meetings[group];
  if (meeting.here == 0) meeting.product = product;
  const WarpgroupProduct& first = meeting.product;
  if (first.kind != product.kind || first.a != product.a || first.b != product.b) {
    fail("wgmma: threads of a warpgroup ask for different products");
  }
  const Left left = {&meeting, meeting.round};
  if (++meeting.here == kWarpgroup) {
    meeting.here = 0;
    ++meeting.round;
  } else {
    wait_until(
        "the rest of its warpgroup at wgmma",
        [](const void* context) {
          const auto& what = *static_cast<const Left*>(context);
          return what.meeting->round != what.round;
        },
        &left);
  }
  if (own.products.count() == 0) {
    if (!own.fenced) fail("wgmma without wgmma.fence after what was done to its registers");
    std::memcpy(own.sums, product.d, sizeof own.sums);
  }
  WarpgroupProduct kept = product;
  kept.group = own.groups;
  own.products.add(kept);
}

void warpgroup_commit() { ++mine("wgmma.commit_group").groups; }

void begin_products() {
  const Pending& own = mine("wgmma.wait_group");
  if (own.products.count() == 0) return;
  if (std::memcmp(own.sums, own.products[0].d, sizeof own.sums) != 0) {
    fail("wgmma: its sums were changed while it was under way");
  }
}

bool take_product(WarpgroupProduct& product, unsigned pending) {
  Pending& own = mine("wgmma.wait_group");
  if (own.products.count() == 0 || own.products[0].group + pending >= own.groups) return false;
  product = own.products.take(0);
  return true;
}

void end_products() {
  Pending& own = mine("wgmma.wait_group");
  if (own.products.count() == 0) {
    own.fenced = false;
  } else {
    std::memcpy(own.sums, own.products[0].d, sizeof own.sums);
  }
}

}  // namespace emulation
