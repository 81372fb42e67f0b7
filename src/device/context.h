#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/function_ref.h"
#include "base/types.h"

namespace orrery {

enum class Device { cpu, cuda };

// The only thing that knows where work runs. Every operation takes one as its first argument; a
// CUDA context will carry a stream behind the same name, so callers do not change.
//
// One thread of control uses a Context at a time.
class Context {
 public:
  struct Options {
    int threads = 0;  // 0: ORRERY_THREADS if set, else one per core this process may use
  };

  Context();
  explicit Context(Options options);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Device device() const { return Device::cpu; }
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

  // Scratch memory of one worker, and blocks shared by the call in progress. They grow when asked
  // for more than ever before and are kept; what they hold is lost at the next call of an
  // operation. What one worker asked for, all have when `parallel` returns, so that work done once
  // allocates nothing when it is done again. The matrix product keeps its packed operand in a slot
  // of its own, so an operation may hold scratch while it multiplies. `reserve_scratch` grows them
  // ahead, so that nothing allocates later.
  enum class Slot { operation, matrix };
  std::byte* worker_scratch(int worker, std::size_t bytes);
  std::byte* shared_scratch(std::size_t bytes, Slot slot = Slot::operation);
  void reserve_scratch(std::size_t worker_bytes, std::size_t shared_bytes,
                       std::size_t matrix_bytes = 0);

 private:
  class Team;
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;  // before team_: workers may use it until they are joined
  std::unique_ptr<Team> team_;
};

// What this machine offers, for `orrery info` and benchmark records.
struct CpuFacts {
  std::string name;      // as the system tells it
  std::string features;  // the instruction sets kernels choose by
  int cores = 1;         // cores this process may use
};
CpuFacts cpu_facts();

}  // namespace orrery

// Sends a checked operation to its implementation for the context's device: cpu::op(...) now; a
// CUDA build adds the second branch here and nowhere else.
#define ORRERY_ON_DEVICE(ctx, op, ...) cpu::op(ctx __VA_OPT__(, ) __VA_ARGS__)
