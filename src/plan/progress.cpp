#include "plan/progress.h"

#include <type_traits>

namespace orrery {

namespace cpu {

template <typename T>
void advance(Context&, View<const T, 3> spread, i64 iterations, double enough_std,
             View<i32, 1> progress) {
  const i64 width = spread.size(1) * spread.size(2);
  bool wide = false;
  for (i64 e = 0; e < spread.size(0); ++e) {
    double sum = 0;
    for (i64 i = 0; i < width; ++i) sum += static_cast<double>(spread.data()[e * width + i]);
    wide = wide || !(sum / static_cast<double>(width) <= enough_std);
  }
  progress[kIterationsDone] += 1;
  progress[kKeepGoing] = progress[kIterationsDone] < iterations && wide ? 1 : 0;
}

}  // namespace cpu
namespace cuda {
void advance(Context& ctx, View<const float, 3> spread, i64 iterations, double enough_std,
             View<i32, 1> progress);
}  // namespace cuda

template <typename T>
void advance(Context& ctx, View<const T, 3> spread, i64 iterations, double enough_std,
             View<i32, 1> progress) {
  check(progress.size(0) == kProgressSize, "advance: progress has ", progress.size(0), " numbers, ",
        kProgressSize, " were needed");
  check(spread.contiguous() && progress.contiguous(), "advance: contiguous arrays were needed");
  if constexpr (std::is_same_v<T, float>) {
    ORRERY_ON_DEVICE(ctx, advance, spread, iterations, enough_std, progress);
  } else {
    ORRERY_ON_CPU(ctx, advance, spread, iterations, enough_std, progress);
  }
}

template void advance(Context&, View<const float, 3>, i64, double, View<i32, 1>);
template void advance(Context&, View<const double, 3>, i64, double, View<i32, 1>);

}  // namespace orrery
