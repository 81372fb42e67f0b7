#include "block.h"

#include "async.h"
#include "emulation/fragments.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <exception>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulation {

// Everything here is plain data: code that the standard library's templates share with instrumented
// files would be seen as the kernel's own.
struct Thread {
  enum class State { ready, yielded, at_barrier, in_collective, waiting, finished };
  Stack stack;
  State state = State::finished;
  uint3 index = {};
  unsigned warp = 0, lane = 0;
  // at a barrier
  unsigned barrier_id = 0, barrier_threads = 0;
  bool predicate = false;
  int predicates = 0;  // how many brought true
  // in a collective
  const char* collective_name = nullptr;
  unsigned mask = 0;
  Complete complete = nullptr;
  void* brought = nullptr;
  // for something else
  const char* waits_for = nullptr;
  Ready until = nullptr;
  const void* context = nullptr;
  // for __syncwarp: tokens in turn, as for barriers, and which one each lane came with
  unsigned round = 0;
  char order_token[2] = {};
  unsigned char rounds[kWarp] = {};
};

namespace {

#if defined(EMULATION_ASAN) || defined(EMULATION_TSAN)
constexpr std::size_t kStackBytes = 256 * 1024;  // instrumented frames are larger
#else
constexpr std::size_t kStackBytes = 64 * 1024;
#endif
constexpr std::size_t kGuardBytes = 64 * 1024;  // a multiple of every page size in use
constexpr unsigned kBarriers = 16;              // as many as a block of the hardware has
// passes in which threads only yield; a kernel that waits for something gets it in far fewer
constexpr unsigned kPatience = 1000000;

// Two sets of stacks, for blocks of even and of odd number: ThreadSanitizer takes each for a thread
// of its own, so blocks that follow each other are told apart. Others need but one.
#if defined(EMULATION_TSAN)
constexpr unsigned kSets = 2;
#else
constexpr unsigned kSets = 1;
#endif

Thread* threads = nullptr;  // kMaxThreads of them, made once
Stack* stacks = nullptr;    // kSets times as many
unsigned thread_count = 0;
Thread* running = nullptr;
Stack scheduler;
Order order;
const Grid* grid = nullptr;
void* dynamic_shared = nullptr;

// what ThreadSanitizer knows happens-before by; the addresses matter, not what is there
char launch_token, finish_token, fence_token;
char barrier_tokens[kBarriers][2];
unsigned barrier_rounds[kBarriers];

bool alive(const Thread& thread) { return thread.state != Thread::State::finished; }

void make_threads() {
  if (threads != nullptr) return;
  const std::size_t each = kStackBytes + kGuardBytes, count = kSets * kMaxThreads;
  void* memory = mmap(nullptr, each * count, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fail("no memory for %zu stacks", count);
  threads = new Thread[kMaxThreads];
  stacks = new Stack[count];
  for (std::size_t i = 0; i < count; ++i) {
    char* low = static_cast<char*>(memory) + i * each;
    mprotect(low, kGuardBytes, PROT_NONE);
    stacks[i].low = low + kGuardBytes;
    stacks[i].bytes = kStackBytes;
  }
}

// what a thread waits for, in words
void describe(const Thread& thread, char* text, std::size_t bytes) {
  switch (thread.state) {
    case Thread::State::at_barrier:
      if (thread.barrier_id == 0) {
        std::snprintf(text, bytes, "waits at __syncthreads");
      } else {
        std::snprintf(text, bytes, "waits at barrier %u for %u threads", thread.barrier_id,
                      thread.barrier_threads);
      }
      return;
    case Thread::State::in_collective:
      std::snprintf(text, bytes, "waits in %s for the lanes 0x%08x", thread.collective_name,
                    thread.mask);
      return;
    case Thread::State::waiting:
      std::snprintf(text, bytes, "waits for %s", thread.waits_for);
      return;
    case Thread::State::finished:
      std::snprintf(text, bytes, "has finished");
      return;
    case Thread::State::yielded:
      std::snprintf(text, bytes, "waits in __nanosleep");
      return;
    case Thread::State::ready:
      std::snprintf(text, bytes, "can go on");
      return;
  }
}

[[noreturn]] void fail_block(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::fprintf(stderr, "emulation: kernel %s, block (%u, %u, %u): ", grid->name, blockIdx.x,
               blockIdx.y, blockIdx.z);
  std::vfprintf(stderr, format, arguments);
  std::fprintf(stderr, "\n");
  va_end(arguments);
  std::abort();
}

// nobody can go on: say who waits for what, and for whom
[[noreturn]] void fail_stuck() {
  const Thread* waiting = nullptr;
  const Thread* other = nullptr;  // one that does something else
  for (unsigned i = 0; i < thread_count; ++i) {
    if (alive(threads[i]) && waiting == nullptr) waiting = &threads[i];
  }
  for (unsigned i = 0; i < thread_count; ++i) {
    const Thread& thread = threads[i];
    if (thread.state == waiting->state && thread.barrier_id == waiting->barrier_id &&
        (thread.state != Thread::State::in_collective ||
         (thread.mask == waiting->mask && thread.complete == waiting->complete)) &&
        (thread.state != Thread::State::waiting || thread.waits_for == waiting->waits_for)) {
      continue;
    }
    // lanes of the same warp say most
    if (other == nullptr || (other->warp != waiting->warp && thread.warp == waiting->warp)) {
      other = &thread;
    }
  }
  char first[160] = "", second[160] = "";
  describe(*waiting, first, sizeof first);
  if (other == nullptr) {
    fail_block("deadlock: every thread %s", first);
  }
  describe(*other, second, sizeof second);
  fail_block("deadlock: thread (%u, %u, %u) %s, thread (%u, %u, %u) %s", waiting->index.x,
             waiting->index.y, waiting->index.z, first, other->index.x, other->index.y,
             other->index.z, second);
}

void back_to_scheduler(Thread::State state, bool last = false) {
  Thread& self = *running;
  self.state = state;
  switch_stack(self.stack, scheduler, last);
}

// no thread of its warp may wait for one that is gone
void look_for_widows(const Thread& gone) {
  for (unsigned i = gone.warp * kWarp; i < thread_count && i < (gone.warp + 1) * kWarp; ++i) {
    const Thread& thread = threads[i];
    if (thread.state == Thread::State::in_collective && (thread.mask >> gone.lane & 1u) != 0) {
      fail_block("thread (%u, %u, %u) waits in %s for the lanes 0x%08x, and lane %u has finished",
                 thread.index.x, thread.index.y, thread.index.z, thread.collective_name,
                 thread.mask, gone.lane);
    }
  }
}

void thread_main() {
  arrived(running->stack, scheduler);
  acquire(&launch_token);
  try {
    grid->thread(grid->context);
  } catch (const std::exception& error) {
    fail("an exception left the kernel: %s", error.what());
  } catch (...) {
    fail("an exception left the kernel");
  }
  release(&finish_token);
  back_to_scheduler(Thread::State::finished, true);
}

void resume(Thread& thread) {
  running = &thread;
  threadIdx = thread.index;
  switch_stack(scheduler, thread.stack);
  running = nullptr;
  if (thread.state == Thread::State::finished) look_for_widows(thread);
}

// lets every barrier go that all its threads have come to; whether there was one
bool open_barriers() {
  unsigned waiting[kBarriers] = {}, wanted[kBarriers] = {};
  int predicates[kBarriers] = {};
  for (unsigned i = 0; i < thread_count; ++i) {
    const Thread& thread = threads[i];
    if (thread.state != Thread::State::at_barrier) continue;
    const unsigned id = thread.barrier_id;
    if (waiting[id] > 0 && wanted[id] != thread.barrier_threads) {
      fail_block("barrier %u is waited at for %u threads and for %u", id, wanted[id],
                 thread.barrier_threads);
    }
    ++waiting[id];
    wanted[id] = thread.barrier_threads;
    predicates[id] += thread.predicate ? 1 : 0;
  }
  bool opened = false;
  for (unsigned id = 0; id < kBarriers; ++id) {
    if (waiting[id] == 0) continue;
    if (waiting[id] > wanted[id]) {
      fail_block("%u threads came to barrier %u, which is for %u", waiting[id], id, wanted[id]);
    }
    if (waiting[id] < wanted[id]) continue;
    for (unsigned i = 0; i < thread_count; ++i) {
      Thread& thread = threads[i];
      if (thread.state != Thread::State::at_barrier || thread.barrier_id != id) continue;
      thread.predicates = predicates[id];
      thread.state = Thread::State::ready;
    }
    ++barrier_rounds[id];
    opened = true;
  }
  return opened;
}

// Warp by warp, each until none of its lanes can go on; then the barriers.
void take_turns() {
  unsigned warp_order[kMaxThreads / kWarp], lane_order[kWarp];
  const unsigned warps = (thread_count + kWarp - 1) / kWarp;
  unsigned idle_passes = 0;
  for (;;) {
    bool ran = false, yielded = false, any = false;
    arrange(order, warp_order, warps);
    for (unsigned w = 0; w < warps; ++w) {
      const unsigned first = warp_order[w] * kWarp;
      const unsigned lanes = thread_count - first < kWarp ? thread_count - first : kWarp;
      for (bool again = true; again;) {
        again = false;
        arrange(order, lane_order, lanes);
        for (unsigned l = 0; l < lanes; ++l) {
          Thread& thread = threads[first + lane_order[l]];
          if (thread.state != Thread::State::ready) continue;
          resume(thread);
          again = true;
          if (thread.state != Thread::State::yielded) ran = true;
        }
      }
    }
    for (unsigned i = 0; i < thread_count; ++i) {
      any = any || alive(threads[i]);
      if (threads[i].state == Thread::State::yielded) {
        threads[i].state = Thread::State::ready;
        yielded = true;
      }
      if (threads[i].state == Thread::State::waiting && threads[i].until(threads[i].context)) {
        threads[i].state = Thread::State::ready;
        ran = true;
      }
    }
    if (!any) return;
    if (open_barriers()) ran = true;
    idle_passes = ran ? 0 : idle_passes + 1;
    if (!ran && !yielded) fail_stuck();
    if (idle_passes > kPatience) fail_block("threads wait in __nanosleep for what never comes");
  }
}

void run_block([[maybe_unused]] unsigned number, uint3 place) {
  blockIdx = place;
  blockDim = grid->block;
  gridDim = grid->grid;
  thread_count = grid->block.x * grid->block.y * grid->block.z;
  // exactly as large as asked for, so that AddressSanitizer sees the first byte beyond it; what is
  // not written yet reads as NaN
  const std::size_t bytes = grid->shared_bytes;
  if (posix_memalign(&dynamic_shared, 128, bytes == 0 ? 1 : bytes) != 0) {
    fail_block("no memory for %zu bytes of shared memory", bytes);
  }
  auto* shared = static_cast<volatile unsigned char*>(dynamic_shared);
  for (std::size_t i = 0; i < bytes; ++i) shared[i] = 0xff;

#if defined(EMULATION_TSAN)
  scheduler.identity = __tsan_get_current_fiber();
#endif
  unsigned i = 0;
  for (unsigned z = 0; z < grid->block.z; ++z) {
    for (unsigned y = 0; y < grid->block.y; ++y) {
      for (unsigned x = 0; x < grid->block.x; ++x, ++i) {
        Thread& thread = threads[i];
        thread.index = {x, y, z};
        thread.warp = i / kWarp;
        thread.lane = i % kWarp;
        thread.state = Thread::State::ready;
        Stack& stack = stacks[number % kSets * kMaxThreads + i];
#if defined(EMULATION_TSAN)
        if (stack.identity == nullptr) stack.identity = __tsan_create_fiber(0);
        char name[64];
        std::snprintf(name, sizeof name, "block (%u, %u, %u) thread (%u, %u, %u)", place.x, place.y,
                      place.z, x, y, z);
        __tsan_set_fiber_name(stack.identity, name);
#endif
        thread.stack = stack;
        prepare(thread.stack, thread_main);
      }
    }
  }
  begin_async();
  release(&launch_token);
  take_turns();
  end_async();
  acquire(&finish_token);
  free(dynamic_shared);
  dynamic_shared = nullptr;
}

uint3 place_of(unsigned long long number) {
  const unsigned long long x = grid->grid.x, y = grid->grid.y;
  return {static_cast<unsigned>(number % x), static_cast<unsigned>(number / x % y),
          static_cast<unsigned>(number / (x * y))};
}

#if defined(EMULATION_TSAN)

// Each block on a thread of the operating system: its static shared memory (thread_local there) is
// new, and nothing orders it after the block before. So the wait for it must order nothing either.
struct OneBlock {
  unsigned number;
  uint3 place;
  int done;
};

void* one_block(void* argument) {
  auto* block = static_cast<OneBlock*>(argument);
  run_block(block->number, block->place);
  __atomic_store_n(&block->done, 1, __ATOMIC_RELEASE);
  return nullptr;
}

void run_apart(unsigned number, uint3 place) {
  OneBlock block = {number, place, 0};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  if (pthread_create(&thread, &attributes, one_block, &block) != 0) fail_block("no thread for it");
  pthread_attr_destroy(&attributes);
  while (__atomic_load_n(&block.done, __ATOMIC_ACQUIRE) == 0) sched_yield();
}

#else

void run_apart(unsigned number, uint3 place) { run_block(number, place); }

#endif

}  // namespace

Thread* current() { return running; }

void run_grid(const Grid& launched) {
  make_threads();
  grid = &launched;
  order = order_from_environment();
  // blocks take turns in chunks, each in the order that was asked for
  constexpr unsigned kChunk = 1024;
  unsigned block_order[kChunk];
  const unsigned long long blocks =
      static_cast<unsigned long long>(launched.grid.x) * launched.grid.y * launched.grid.z;
  for (unsigned long long done = 0; done < blocks; done += kChunk) {
    const auto here = static_cast<unsigned>(blocks - done < kChunk ? blocks - done : kChunk);
    const unsigned long long first =
        order.kind == Order::Kind::reverse ? blocks - done - here : done;
    arrange(order, block_order, here);
    for (unsigned i = 0; i < here; ++i) run_apart(i, place_of(first + block_order[i]));
  }
  acquire(&finish_token);
  grid = nullptr;
}

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (running != nullptr) {
    std::fprintf(
        stderr, "emulation: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): ", grid->name,
        blockIdx.x, blockIdx.y, blockIdx.z, running->index.x, running->index.y, running->index.z);
  } else {
    std::fprintf(stderr, "emulation: ");
  }
  std::vfprintf(stderr, format, arguments);
  std::fprintf(stderr, "\n");
  va_end(arguments);
  std::abort();
}

int barrier(unsigned id, unsigned wanted, bool predicate) {
  if (running == nullptr) fail("__syncthreads outside of a kernel");
  if (id >= kBarriers) fail("barrier %u was asked for, a block has %u", id, kBarriers);
  if (wanted % kWarp != 0) fail("barrier %u is for %u threads, not for whole warps", id, wanted);
  Thread& self = *running;
  self.barrier_id = id;
  self.barrier_threads = wanted == 0 ? thread_count : wanted;
  self.predicate = predicate;
  // two tokens in turn: who is late in leaving this round must not be ordered after the next
  void* token = &barrier_tokens[id][barrier_rounds[id] % 2];
  release(token);
  back_to_scheduler(Thread::State::at_barrier);
  acquire(token);
  return self.predicates;
}

void wait_until(const char* what, Ready ready, const void* context) {
  running->waits_for = what;
  running->until = ready;
  running->context = context;
  back_to_scheduler(Thread::State::waiting);
}

unsigned thread_number() { return running->warp * kWarp + running->lane; }
unsigned block_threads() { return thread_count; }

void yield() {
  if (running != nullptr) back_to_scheduler(Thread::State::yielded);
}

void fence() {
  release(&fence_token);
  acquire(&fence_token);
}

unsigned active_lanes() {
  if (running == nullptr) fail("__activemask outside of a kernel");
  unsigned lanes = 0;
  const unsigned first = running->warp * kWarp;
  for (unsigned i = first; i < thread_count && i < first + kWarp; ++i) {
    if (alive(threads[i])) lanes |= 1u << threads[i].lane;
  }
  return lanes;
}

void collective(const char* name, unsigned mask, Complete complete, void* mine, bool orders) {
  if (running == nullptr) fail("%s outside of a kernel", name);
  Thread& self = *running;
  Thread* const warp = threads + self.warp * kWarp;
  const unsigned lanes =
      thread_count - self.warp * kWarp < kWarp ? thread_count - self.warp * kWarp : kWarp;
  if ((mask >> self.lane & 1u) == 0) {
    fail("%s with the mask 0x%08x, which does not name the calling lane %u", name, mask, self.lane);
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1u) == 0) continue;
    if (lane >= lanes) {
      fail("%s with the mask 0x%08x, and the warp has %u lanes", name, mask, lanes);
    }
    if (!alive(warp[lane])) {
      fail("%s with the mask 0x%08x, and lane %u has finished", name, mask, lane);
    }
  }
  self.collective_name = name;
  self.mask = mask;
  self.complete = complete;
  self.brought = mine;
  if (orders) {
    self.round ^= 1;
    release(&self.order_token[self.round]);
  }

  // the last to come does the work for all and goes on
  void* brought[kWarp] = {};
  bool all_here = true;
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if ((mask >> lane & 1u) == 0) continue;
    const Thread& other = warp[lane];
    brought[lane] = other.brought;
    if (lane == self.lane) continue;
    const bool waits = other.state == Thread::State::in_collective;
    const bool same = waits && other.mask == mask && other.complete == complete;
    // it waits for us, and we shall never come to where it is
    if (waits && !same && (other.mask >> self.lane & 1u) != 0) {
      fail("%s for the lanes 0x%08x, and lane %u is in %s for the lanes 0x%08x", name, mask, lane,
           other.collective_name, other.mask);
    }
    all_here = all_here && same;
  }
  if (all_here) {
    complete(brought);
    for (unsigned lane = 0; lane < lanes; ++lane) {
      if ((mask >> lane & 1u) == 0) continue;
      Thread& other = warp[lane];
      if (lane != self.lane) other.state = Thread::State::ready;
      for (unsigned i = 0; i < lanes; ++i) {
        other.rounds[i] = static_cast<unsigned char>(warp[i].round);
      }
    }
  } else {
    back_to_scheduler(Thread::State::in_collective);
  }
  if (orders) {
    for (unsigned lane = 0; lane < lanes; ++lane) {
      if ((mask >> lane & 1u) != 0) acquire(&warp[lane].order_token[self.rounds[lane]]);
    }
  }
}

void* dynamic_shared_memory() {
  if (running == nullptr) fail("dynamic shared memory outside of a kernel");
  return dynamic_shared;
}
std::size_t dynamic_shared_bytes() { return grid->shared_bytes; }

Order order_from_environment() {
  Order wanted;
  const char* given = std::getenv("ORRERY_EMULATED_ORDER");
  if (given == nullptr || *given == '\0' || given[0] == 'f') return wanted;
  if (given[0] == 'r') {
    wanted.kind = Order::Kind::reverse;
    return wanted;
  }
  char* end = nullptr;
  wanted.kind = Order::Kind::random;
  wanted.seed = std::strtoull(given, &end, 10);
  if (*end != '\0') {
    fail("ORRERY_EMULATED_ORDER is \"%s\"; forward, reverse or a number was needed", given);
  }
  return wanted;
}

void arrange(Order& by, unsigned* index, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    index[i] = by.kind == Order::Kind::reverse ? count - 1 - i : i;
  }
  if (by.kind != Order::Kind::random) return;
  for (unsigned i = count; i > 1; --i) {
    // Knuth's 64-bit linear congruence; its high bits are good enough to shuffle with
    by.seed = by.seed * 6364136223846793005u + 1442695040888963407u;
    const auto other = static_cast<unsigned>((by.seed >> 33) % i);
    const unsigned kept = index[i - 1];
    index[i - 1] = index[other];
    index[other] = kept;
  }
}

}  // namespace emulation
