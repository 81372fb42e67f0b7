#include <algorithm>
#include <atomic>
#include <hwy/cache_control.h>

#include "base/clock.h"
#include "bench/peak.h"
#include "device/memory.h"
#include "ops/cpu_path.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/peak_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace orrery::bench {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// 12 independent chains: two units of four cycles need 8, and with factor and addend 14 of the 16
// registers of AVX2 are in use
constexpr int kChains = 12;

// Returns a value that depends on every multiply-add; chains converge, so nothing overflows.
float MultiplyAdds(i64 iterations) {
  const D d;
  const float factor = 0.999f, addend = 0.001f;
  const V f = hn::Set(d, factor), a = hn::Set(d, addend);
  V chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = hn::Set(d, addend * static_cast<float>(i));
  for (i64 n = 0; n < iterations; ++n) {
    HWY_UNROLL(kChains)
    for (int i = 0; i < kChains; ++i) chain[i] = hn::MulAdd(chain[i], f, a);
  }
  V total = chain[0];
  for (int i = 1; i < kChains; ++i) total = hn::Add(total, chain[i]);
  return hn::GetLane(total);
}

i64 FlopsOfIteration() { return 2 * kChains * static_cast<i64>(hn::Lanes(D())); }

// count is a multiple of 64
float Read(const float* from, i64 count) {
  const D d;
  const i64 lanes = static_cast<i64>(hn::Lanes(d));
  V sum[4];
  for (int i = 0; i < 4; ++i) sum[i] = hn::Zero(d);
  for (i64 n = 0; n < count; n += 4 * lanes) {
    HWY_UNROLL(4)
    for (int i = 0; i < 4; ++i) sum[i] = hn::Add(sum[i], hn::Load(d, from + n + i * lanes));
  }
  return hn::GetLane(hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3])));
}

// written past the caches: an ordinary store would read the line first, unseen
void Triad(const float* b, const float* c, float factor, i64 count, float* a) {
  const D d;
  const i64 lanes = static_cast<i64>(hn::Lanes(d));
  const V f = hn::Set(d, factor);
  for (i64 n = 0; n < count; n += lanes) {
    hn::Stream(hn::MulAdd(f, hn::Load(d, c + n), hn::Load(d, b + n)), d, a + n);
  }
  hwy::FlushStream();
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::bench
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery::bench {

HWY_EXPORT(MultiplyAdds);
HWY_EXPORT(FlopsOfIteration);
HWY_EXPORT(Read);
HWY_EXPORT(Triad);

namespace {

// results go here, so that no work can be left out as unused
std::atomic<float> sink;

template <typename Body>
double seconds_of(const Body& body) {
  const double start = now_s();
  body();
  return now_s() - start;
}

double measure_flops(Context& ctx, const PeakKernel& kernel) {
  const auto run = [&](i64 iterations) {
    ctx.parallel(ctx.threads(), [&](i64, int) { sink = kernel.run(iterations); });
  };
  // tries of 5 ms, ten of them: one is sure to fall between two ticks of a neighbour
  i64 iterations = 1000;
  while (seconds_of([&] { run(iterations); }) < 0.005) iterations *= 2;
  double best = 1e9;
  for (int attempt = 0; attempt < 10; ++attempt) {
    best = std::min(best, seconds_of([&] { run(iterations); }));
  }
  return kernel.flops * static_cast<double>(iterations) * ctx.threads() / best;
}

// 256 MB in all: many times any cache
constexpr i64 kTriadFloats = (i64{256} << 20) / 3 / 4 / 4096 * 4096;
constexpr i64 kFloats = 3 * kTriadFloats;
constexpr i64 kPiece = i64{64} << 10;  // floats handed to a worker at once

}  // namespace

Limits measure_limits(Context& ctx) {
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda) return cuda::measure_limits(ctx);
#endif
  Limits limits;
  limits.flops_per_s = measure_flops(
      ctx, {ORRERY_KERNEL(MultiplyAdds), static_cast<double>(ORRERY_KERNEL(FlopsOfIteration)())});
  if (const PeakKernel bf16 = bf16_peak_kernel(); bf16.run != nullptr) {
    limits.tensor_flops_per_s = measure_flops(ctx, bf16);
  }

  const auto read = ORRERY_KERNEL(Read);
  const auto triad = ORRERY_KERNEL(Triad);
  Block memory(static_cast<std::size_t>(kFloats) * sizeof(float));
  float* const values = reinterpret_cast<float*>(memory.data());
  double read_s = 1e9, triad_s = 1e9;
  for (int attempt = 0; attempt < 4; ++attempt) {  // the first touches the pages
    triad_s = std::min(triad_s, seconds_of([&] {
                         ctx.parallel_ranges(kTriadFloats, kPiece, [&](i64 begin, i64 end, int) {
                           triad(values + kTriadFloats + begin, values + 2 * kTriadFloats + begin,
                                 0.5f, end - begin, values + begin);
                         });
                       }));
    read_s = std::min(read_s, seconds_of([&] {
                        ctx.parallel_ranges(kFloats, kPiece, [&](i64 begin, i64 end, int) {
                          sink = read(values + begin, end - begin);
                        });
                      }));
  }
  const double bytes = static_cast<double>(kFloats) * sizeof(float);
  limits.read_bytes_per_s = bytes / read_s;
  limits.triad_bytes_per_s = bytes / triad_s;
  return limits;
}

std::size_t free_device_bytes([[maybe_unused]] const Context& ctx) {
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda) return cuda::free_bytes(ctx);
#endif
  return 0;
}

Limits higher(const Limits& a, const Limits& b) {
  return {std::max(a.flops_per_s, b.flops_per_s), std::max(a.read_bytes_per_s, b.read_bytes_per_s),
          std::max(a.triad_bytes_per_s, b.triad_bytes_per_s),
          std::max(a.tensor_flops_per_s, b.tensor_flops_per_s)};
}

}  // namespace orrery::bench
#endif  // HWY_ONCE
