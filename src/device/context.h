#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/types.h"
#include "device/memory.h"

namespace orrery {

enum class Device { cpu, cuda };

const char* name_of(Device device);

// Where work shall run, as people write it.
struct DeviceChoice {
  Device device = Device::cpu;
  int index = 0;  // which CUDA device
};
// "cpu", "cuda", "cuda:1", or "auto": the first CUDA device that can be used, else the CPU. Error
// for anything else. Only "auto" looks for a device here, and `reason`, when given, then says in a
// sentence why none was taken (empty when one was).
DeviceChoice device_from(const std::string& name, std::string* reason = nullptr);

// Work that was captured once and is run again as a whole, with one launch: see Context::capture.
class Graph {
 public:
  Graph();
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  explicit operator bool() const { return impl_ != nullptr; }

 private:
  friend class Context;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The only thing that knows where work runs. Every operation takes one as its first argument. A CPU
// context is a team of threads; a CUDA context is a stream of one device (and a team for what the
// host does beside it): an operation then takes views of that device's memory, is done when the
// stream gets to it, and in the order of calls. Blocks, states and packed weights made with a
// context live where it works.
//
// One thread of control uses a Context at a time.
class Context {
 public:
  struct Options {
    int threads = 0;  // 0: ORRERY_THREADS if set, else one per core this process may use
    DeviceChoice where = {};
  };

  Context();
  explicit Context(Options options);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Device device() const { return where_.device; }
  int device_index() const { return where_.index; }
  int threads() const;

  // Runs body(index, worker) once for every index in [0, count), on the thread team, and returns
  // when all have finished. worker is in [0, threads()). Indices are handed out in order to
  // whichever worker is free, so body must not depend on which worker runs it except for scratch.
  // Inside a body, parallel runs its indices one after the other. The body must not throw.
  void parallel(i64 count, FunctionRef<void(i64 index, int worker)> body);

  // The same over ranges: [0, count) is cut into pieces of `grain`, body(begin, end, worker). The
  // cut does not depend on the number of threads, so sums per piece are steady.
  void parallel_ranges(i64 count, i64 grain,
                       FunctionRef<void(i64 begin, i64 end, int worker)> body);

  // Copies between the host and where operations run, in the order of calls. `download` returns
  // when the values are there. Within captured work both sides must stay where they are, and the
  // host's side must be a Block::staging; `download` then does not wait.
  void upload(void* device, const void* host, std::size_t bytes);
  void download(void* host, const void* device, std::size_t bytes);
  // A copy to the device beside the work that was asked for, on a stream of its own. The host's
  // side must be a Block::staging; neither side may be touched, by work asked for before either,
  // until join_uploads: work asked for after that finds all values that were sent. On a CPU a copy.
  // Not within captured work.
  void upload_beside(void* device, const void* host, std::size_t bytes);
  void join_uploads();
  // Waits until everything asked for so far is done. Error when some of it failed.
  void synchronize();

  // CUDA only: keeps what body asks for, with the arguments it has now, without running it; replay
  // runs it, with one launch. What changes between replays lives in memory that the operations
  // read. Whatever grows (scratch) must have grown before: run the body once first.
  //
  // capture_loop keeps: before(); then while *keep_going != 0 (an i32 in the device's memory):
  // body(); then after(). No host takes part in the loop.
  Graph capture(FunctionRef<void()> body);
  Graph capture_loop(FunctionRef<void()> before, FunctionRef<void()> body,
                     FunctionRef<void()> after, const i32* keep_going);
  void replay(const Graph& graph);

  // Scratch memory of one worker, and blocks shared by the call in progress. They grow when asked
  // for more than ever before and are kept; what they hold is lost at the next call of an
  // operation. What one worker asked for, all have when `parallel` returns, so that work done once
  // allocates nothing when it is done again. The matrix product keeps its packed operand in a slot
  // of its own, so an operation may hold scratch while it multiplies. `reserve_scratch` grows them
  // ahead, so that nothing allocates later. On a CUDA device shared scratch is the device's and
  // worker scratch the host's; what was handed out stays valid, for captured work may use it.
  enum class Slot { operation, matrix };
  std::byte* worker_scratch(int worker, std::size_t bytes);
  std::byte* shared_scratch(std::size_t bytes, Slot slot = Slot::operation);
  void reserve_scratch(std::size_t worker_bytes, std::size_t shared_bytes,
                       std::size_t matrix_bytes = 0);

  // The stream that kernels are launched on (a cudaStream_t); null on the CPU. For launch() of
  // device/cuda.h.
  void* stream() const { return stream_; }

 private:
  class Team;
  struct Scratch;
  struct Cuda;
  DeviceChoice where_;
  void* stream_ = nullptr;
  std::unique_ptr<Cuda> cuda_;
  std::unique_ptr<Scratch> scratch_;  // before team_: workers may use it until they are joined
  std::unique_ptr<Team> team_;
};

// Throws: `operation` has been asked to run on a CUDA device and knows the CPU only.
void must_be_cpu(const Context& ctx, const char* operation);

// A CUDA device as the driver tells of it.
struct CudaFacts {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  std::size_t memory_bytes = 0, free_bytes = 0, cache_bytes = 0, shared_bytes = 0;
  int driver = 0, runtime = 0;  // 13000 is 13.0
};
// Those of this machine; empty when there is none, and `reason` then says in a sentence why.
std::vector<CudaFacts> cuda_facts(std::string* reason = nullptr);

// What this machine offers, for `orrery info` and benchmark records.
struct CpuFacts {
  std::string name;      // as the system tells it
  std::string features;  // the instruction sets kernels choose by
  int cores = 1;         // cores this process may use
};
CpuFacts cpu_facts();

}  // namespace orrery

// Sends a checked operation to its implementation for the context's device, cpu::op(...) or
// cuda::op(...). Without CUDA there is only the first.
#if ORRERY_CUDA
#define ORRERY_ON_DEVICE(ctx, op, ...)                                                 \
  ((ctx).device() == ::orrery::Device::cuda ? cuda::op(ctx __VA_OPT__(, ) __VA_ARGS__) \
                                            : cpu::op(ctx __VA_OPT__(, ) __VA_ARGS__))
#else
#define ORRERY_ON_DEVICE(ctx, op, ...) cpu::op(ctx __VA_OPT__(, ) __VA_ARGS__)
#endif

// The same for an operation that has no CUDA implementation: on such a device it is an error.
#define ORRERY_ON_CPU(ctx, op, ...) \
  (::orrery::must_be_cpu(ctx, #op), cpu::op(ctx __VA_OPT__(, ) __VA_ARGS__))
