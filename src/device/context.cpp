#include "device/context.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "device/context_cuda.h"

namespace orrery {

namespace {

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

int threads_from(int asked) {
  if (asked > 0) return asked;
  if (const char* given = std::getenv("ORRERY_THREADS")) {
    const int threads = std::atoi(given);
    check(threads >= 1 && threads <= 1024, "ORRERY_THREADS is \"", given,
          "\", a number from 1 to 1024 was needed");
    return threads;
  }
  return usable_cores();
}

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// about 20 microseconds of waiting awake: operations of one forward pass follow each other faster
// than a thread wakes up
constexpr int kSpins = 2000;

// true while this thread runs a body: nested work then stays on it
thread_local bool inside_team = false;

}  // namespace

// Workers sleep on `round_`; the caller posts a job, bumps the round, takes part, and waits until
// all have left it.
class Context::Team {
 public:
  explicit Team(int threads) {
    for (int worker = 1; worker < threads; ++worker) {
      workers_.emplace_back([this, worker] { serve(worker); });
    }
  }

  ~Team() {
    stop_.store(true, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  void run(i64 count, FunctionRef<void(i64, int)> body) {
    if (count <= 0) return;
    if (count == 1 || workers_.empty() || inside_team) {
      const bool outer = inside_team;
      inside_team = true;
      // a nested call keeps the worker number of the body it is called from
      for (i64 index = 0; index < count; ++index) body(index, current_worker());
      inside_team = outer;
      return;
    }
    body_ = &body;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();

    work(0);

    // the others may still be in their last index
    for (int spin = 0; busy_.load(std::memory_order_acquire) != 0; ++spin) {
      if (spin < kSpins) {
        pause_briefly();
      } else if (const int busy = busy_.load(std::memory_order_acquire); busy != 0) {
        busy_.wait(busy, std::memory_order_acquire);
      }
    }
  }

 private:
  static int& current_worker() {
    thread_local int worker = 0;
    return worker;
  }

  void work(int worker) {
    inside_team = true;
    current_worker() = worker;
    for (;;) {
      const i64 index = next_.fetch_add(1, std::memory_order_relaxed);
      if (index >= count_) break;
      (*body_)(index, worker);
    }
    inside_team = false;
  }

  void serve(int worker) {
    u32 seen = 0;
    for (;;) {
      for (int spin = 0; round_.load(std::memory_order_acquire) == seen; ++spin) {
        if (spin < kSpins) {
          pause_briefly();
        } else {
          round_.wait(seen, std::memory_order_acquire);
        }
      }
      ++seen;
      if (stop_.load(std::memory_order_relaxed)) return;
      work(worker);
      if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
    }
  }

  std::vector<std::thread> workers_;
  std::atomic<u32> round_ = 0;
  std::atomic<int> busy_ = 0;
  std::atomic<i64> next_ = 0;
  std::atomic<bool> stop_ = false;
  const FunctionRef<void(i64, int)>* body_ = nullptr;
  i64 count_ = 0;
};

struct Context::Scratch {
  std::vector<Block> workers;
  Block shared[2];              // by slot
  std::vector<Block> outgrown;  // on a CUDA device: captured work may use them still

  // what one worker needed all may need: which of them gets which index is chance
  void level() {
    std::size_t bytes = 0;
    for (const Block& block : workers) bytes = std::max(bytes, block.bytes());
    for (Block& block : workers) {
      if (block.bytes() < bytes) block = Block(bytes);
    }
  }
};

const char* name_of(Device device) { return device == Device::cuda ? "cuda" : "cpu"; }

DeviceChoice device_from(const std::string& name, std::string* reason) {
  if (reason != nullptr) reason->clear();
  if (name == "cpu") return {};
  if (name == "cuda") return {Device::cuda, 0};
  if (name == "auto") {
    std::string why;
    if (!cuda_facts(&why).empty()) return {Device::cuda, 0};
    if (reason != nullptr) *reason = why;
    return {};
  }
  constexpr int kMostDigits = 3;
  const std::string prefix = "cuda:";
  const std::string index = name.rfind(prefix, 0) == 0 ? name.substr(prefix.size()) : "";
  check(!index.empty() && index.size() <= kMostDigits &&
            index.find_first_not_of("0123456789") == std::string::npos,
        "device is \"", name, "\", needed cpu, cuda, cuda:N or auto");
  return {Device::cuda, std::atoi(index.c_str())};
}

void must_be_cpu(const Context& ctx, const char* operation) {
  check(ctx.device() == Device::cpu, operation,
        ": runs on the CPU only, the context is of a CUDA device");
}

Context::Context() : Context(Options{}) {}

Context::Context(Options options)
    : where_(options.where),
      scratch_(std::make_unique<Scratch>()),
      team_(std::make_unique<Team>(threads_from(options.threads))) {
  scratch_->workers.resize(static_cast<std::size_t>(threads()));
#if ORRERY_CUDA
  if (where_.device == Device::cuda) {
    cuda_ = std::make_unique<Cuda>(where_.index);
    stream_ = cuda_->stream();
  }
#else
  check(where_.device == Device::cpu, "a CUDA device was asked for, this build has no CUDA");
#endif
}

Context::~Context() = default;

int Context::threads() const { return team_->size(); }

void Context::parallel(i64 count, FunctionRef<void(i64, int)> body) {
  team_->run(count, body);
  // the team rests now, unless this was a call within a body
  if (!inside_team) scratch_->level();
}

void Context::parallel_ranges(i64 count, i64 grain, FunctionRef<void(i64, i64, int)> body) {
  ORRERY_ASSERT(grain > 0);
  const i64 pieces = (count + grain - 1) / grain;
  parallel(pieces, [&](i64 piece, int worker) {
    body(piece * grain, std::min(count, (piece + 1) * grain), worker);
  });
}

std::byte* Context::worker_scratch(int worker, std::size_t bytes) {
  Block& block = scratch_->workers[static_cast<std::size_t>(worker)];
  if (block.bytes() < bytes) block = Block(bytes);
  return block.data();
}

std::byte* Context::shared_scratch(std::size_t bytes, Slot slot) {
  Block& block = scratch_->shared[slot == Slot::matrix ? 1 : 0];
  if (block.bytes() < bytes) {
    if (device() == Device::cuda) scratch_->outgrown.push_back(std::move(block));
    block = Block(*this, bytes);
  }
  return block.data();
}

void Context::reserve_scratch(std::size_t worker_bytes, std::size_t shared_bytes,
                              std::size_t matrix_bytes) {
  for (int worker = 0; worker < threads(); ++worker) worker_scratch(worker, worker_bytes);
  shared_scratch(shared_bytes);
  shared_scratch(matrix_bytes, Slot::matrix);
}

#if ORRERY_CUDA

struct Graph::Impl {
  CudaGraph graph;
};

void Context::upload(void* device, const void* host, std::size_t bytes) {
  if (cuda_) {
    cuda_->upload(device, host, bytes);
  } else if (bytes != 0) {  // nothing may be copied from nowhere
    std::memcpy(device, host, bytes);
  }
}

void Context::download(void* host, const void* device, std::size_t bytes) {
  if (cuda_) {
    cuda_->download(host, device, bytes);
  } else if (bytes != 0) {
    std::memcpy(host, device, bytes);
  }
}

void Context::upload_beside(void* device, const void* host, std::size_t bytes) {
  if (cuda_) {
    cuda_->upload_beside(device, host, bytes);
  } else {
    upload(device, host, bytes);
  }
}

void Context::join_uploads() {
  if (cuda_) cuda_->join_uploads();
}

void Context::synchronize() {
  if (cuda_) cuda_->synchronize();
}

Graph Context::capture(FunctionRef<void()> body) {
  check(cuda_ != nullptr, "capture: needs a context of a CUDA device");
  Graph graph;
  graph.impl_ = std::make_unique<Graph::Impl>(Graph::Impl{cuda_->capture(body)});
  return graph;
}

Graph Context::capture_loop(FunctionRef<void()> before, FunctionRef<void()> body,
                            FunctionRef<void()> after, const i32* keep_going) {
  check(cuda_ != nullptr, "capture: needs a context of a CUDA device");
  Graph graph;
  // the body of a loop is captured on a stream of its own
  graph.impl_ = std::make_unique<Graph::Impl>(
      Graph::Impl{cuda_->capture_loop(before, body, after, keep_going, stream_)});
  return graph;
}

void Context::replay(const Graph& graph) {
  check(cuda_ != nullptr && graph, "replay: needs captured work and a context of a CUDA device");
  cuda_->replay(graph.impl_->graph);
}

#else

struct Graph::Impl {};
struct Context::Cuda {};

void Context::upload(void* device, const void* host, std::size_t bytes) {
  if (bytes != 0) std::memcpy(device, host, bytes);
}
void Context::download(void* host, const void* device, std::size_t bytes) {
  if (bytes != 0) std::memcpy(host, device, bytes);
}
void Context::upload_beside(void* device, const void* host, std::size_t bytes) {
  upload(device, host, bytes);
}
void Context::join_uploads() {}
void Context::synchronize() {}
Graph Context::capture(FunctionRef<void()>) { fail("capture: this build has no CUDA"); }
Graph Context::capture_loop(FunctionRef<void()>, FunctionRef<void()>, FunctionRef<void()>,
                            const i32*) {
  fail("capture: this build has no CUDA");
}
void Context::replay(const Graph&) { fail("replay: this build has no CUDA"); }

std::vector<CudaFacts> cuda_facts(std::string* reason) {
  if (reason != nullptr) *reason = "this build has no CUDA";
  return {};
}

#endif

Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

CpuFacts cpu_facts() {
  CpuFacts facts;
  facts.cores = usable_cores();
  facts.name = "unknown";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) {
      const auto colon = line.find(':');
      if (colon != std::string::npos && colon + 2 <= line.size())
        facts.name = line.substr(colon + 2);
      break;
    }
  }
#if defined(__x86_64__)
  __builtin_cpu_init();
  const auto add = [&](bool has, const char* name) {
    if (has) facts.features += facts.features.empty() ? name : text(" ", name);
  };
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("fma"), "fma");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
  add(__builtin_cpu_supports("avx512bw"), "avx512bw");
  add(__builtin_cpu_supports("avx512vnni"), "avx512vnni");
  add(__builtin_cpu_supports("avx512bf16"), "avx512bf16");
#endif
  return facts;
}

}  // namespace orrery
