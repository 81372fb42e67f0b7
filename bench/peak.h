#pragma once

#include "device/context.h"

namespace orrery::bench {

// What this machine can do, measured with the threads and the instruction set that the figures use,
// or what a CUDA device can do.
struct Limits {
  double flops_per_s = 0;  // f32 multiply-adds, two operations each, operands in registers
  double read_bytes_per_s = 0;
  double triad_bytes_per_s = 0;  // a = b + s c: two read, one written past the caches
  // CPU: multiply-adds of bf16 pairs on registers, 0 without the instruction. CUDA: a large bf16
  // product by the device's own library (bench/gemm_peer), brought in by the caller; 0 when nobody
  // measured it.
  double tensor_flops_per_s = 0;

  // of memory, the better of the two ways
  double bytes_per_s() const {
    return read_bytes_per_s > triad_bytes_per_s ? read_bytes_per_s : triad_bytes_per_s;
  }
};

// Multiply-adds on registers for the peak: run `iterations` of `flops` operations each, on one
// thread. No function: this machine has no such instruction.
struct PeakKernel {
  float (*run)(i64 iterations) = nullptr;
  double flops = 0;
};
PeakKernel bf16_peak_kernel();

// Takes about a third of a second: 50 ms of multiply-adds, then a few passes over 256 MB (2 GB on a
// CUDA device, whose caches are larger). The best of several tries each, because neighbours can
// only make it slower.
Limits measure_limits(Context& ctx);

// Memory of the context's device that nobody has taken; 0 on the CPU.
std::size_t free_device_bytes(const Context& ctx);

#if ORRERY_CUDA
namespace cuda {
// The same with the work given: multiply-adds of every thread, bytes read and written.
struct LimitWork {
  i64 rounds = i64{1} << 14;
  std::size_t copy_bytes = std::size_t{1} << 30;
};
Limits measure_limits(Context& ctx, const LimitWork& work = {});
std::size_t free_bytes(const Context& ctx);
}  // namespace cuda
#endif

// The higher of each: two measurements around the figures, so that neither a clock that warmed up
// nor a busy neighbour at one moment flatters the shares.
Limits higher(const Limits& a, const Limits& b);

}  // namespace orrery::bench
