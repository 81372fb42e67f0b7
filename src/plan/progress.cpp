#include "plan/progress.h"

#include <chrono>
#include <type_traits>

namespace orrery {

namespace cpu {

namespace {

u64 now() {
  return static_cast<u64>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                              std::chrono::steady_clock::now().time_since_epoch())
                              .count());
}

}  // namespace

void start_clock(Context&, View<u64, 1> clock) { clock[kBegan] = now(); }

template <typename T>
void advance(Context&, View<const T, 3> spread, i64 iterations, double enough_std,
             View<const u64, 1> clock, View<i32, 1> progress) {
  const i64 width = spread.size(1) * spread.size(2);
  bool wide = false;
  for (i64 e = 0; e < spread.size(0); ++e) {
    double sum = 0;
    for (i64 i = 0; i < width; ++i) sum += static_cast<double>(spread.data()[e * width + i]);
    wide = wide || !(sum / static_cast<double>(width) <= enough_std);
  }
  const i32 done = ++progress[kIterationsDone];
  const bool fits = another_fits(clock[kBudget], now() - clock[kBegan], done);
  progress[kKeepGoing] = done < iterations && wide && fits ? 1 : 0;
}

}  // namespace cpu
namespace cuda {
void start_clock(Context& ctx, View<u64, 1> clock);
void advance(Context& ctx, View<const float, 3> spread, i64 iterations, double enough_std,
             View<const u64, 1> clock, View<i32, 1> progress);
}  // namespace cuda

void start_clock(Context& ctx, View<u64, 1> clock) {
  check(clock.size(0) == kClockSize && clock.contiguous(), "start_clock: clock has ", clock.size(0),
        " numbers, ", kClockSize, " beside each other were needed");
  ORRERY_ON_DEVICE(ctx, start_clock, clock);
}

template <typename T>
void advance(Context& ctx, View<const T, 3> spread, i64 iterations, double enough_std,
             View<const u64, 1> clock, View<i32, 1> progress) {
  check(clock.size(0) == kClockSize && clock.contiguous(), "advance: clock has ", clock.size(0),
        " numbers, ", kClockSize, " beside each other were needed");
  check(progress.size(0) == kProgressSize, "advance: progress has ", progress.size(0), " numbers, ",
        kProgressSize, " were needed");
  check(spread.contiguous() && progress.contiguous(), "advance: contiguous arrays were needed");
  if constexpr (std::is_same_v<T, float>) {
    ORRERY_ON_DEVICE(ctx, advance, spread, iterations, enough_std, clock, progress);
  } else {
    ORRERY_ON_CPU(ctx, advance, spread, iterations, enough_std, clock, progress);
  }
}

template void advance(Context&, View<const float, 3>, i64, double, View<const u64, 1>,
                      View<i32, 1>);
template void advance(Context&, View<const double, 3>, i64, double, View<const u64, 1>,
                      View<i32, 1>);

}  // namespace orrery
