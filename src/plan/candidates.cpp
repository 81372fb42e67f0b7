#include "plan/candidates.h"

#include <type_traits>

namespace orrery {

namespace cpu {

template <typename T>
void sample_candidates(Context& ctx, const CandidateSource<T>& source, View<T, 4> candidates) {
  const i64 samples = candidates.size(1);
  const i64 dim = candidates.size(3);
  const i64 width = candidates.size(2) * dim;
  const i64 kept = source.kept && source.iteration[0] > 0 ? source.kept.size(1) : 0;
  ctx.parallel_ranges(candidates.size(0) * samples, 64, [&](i64 begin, i64 end, int) {
    for (i64 row = begin; row < end; ++row) {
      const i64 e = row / samples;
      const i64 s = row % samples;
      const T* mean = source.mean.data() + e * width;
      const T* std = source.std.data() + e * width;
      const T* noise = source.noise.data() + row * width;
      const T* from = s == 0      ? mean
                      : s <= kept ? source.kept.data() + (e * source.kept.size(1) + s - 1) * width
                                  : nullptr;
      T* x = candidates.data() + row * width;
      for (i64 i = 0; i < width; ++i) {
        const T value = from != nullptr ? from[i] : mean[i] + std[i] * noise[i];
        x[i] = clamped(value, source.low[i % dim], source.high[i % dim]);
      }
    }
  });
}

}  // namespace cpu
namespace cuda {
void sample_candidates(Context& ctx, const CandidateSource<float>& source,
                       View<float, 4> candidates);
}  // namespace cuda

template <typename T>
void sample_candidates(Context& ctx, const CandidateSource<T>& source, View<T, 4> candidates) {
  const Shape all = candidates.shape();
  const Shape one = {all[0], all[2], all[3]};
  check(source.noise.shape() == all, "candidates: noise is ", source.noise.shape(), ", ", all,
        " was needed");
  check(source.mean.shape() == one && source.std.shape() == one, "candidates: mean is ",
        source.mean.shape(), ", std ", source.std.shape(), "; ", one, " was needed");
  check(source.low.size(0) == all[3] && source.high.size(0) == all[3], "candidates: bounds are of ",
        source.low.size(0), " and ", source.high.size(0), " numbers, a block has ", all[3]);
  check(!source.kept || (source.kept.size(0) == all[0] && source.kept.size(1) < all[1] &&
                         source.kept.size(2) == all[2] && source.kept.size(3) == all[3]),
        "candidates: kept are ", source.kept.shape(), ", candidates ", all);
  check(candidates.contiguous() && source.noise.contiguous() && source.mean.contiguous() &&
            source.std.contiguous() && source.low.contiguous() && source.high.contiguous() &&
            (!source.kept || source.kept.contiguous()),
        "candidates: contiguous arrays were needed");
  if constexpr (std::is_same_v<T, float>) {
    ORRERY_ON_DEVICE(ctx, sample_candidates, source, candidates);
  } else {
    ORRERY_ON_CPU(ctx, sample_candidates, source, candidates);
  }
}

template void sample_candidates(Context&, const CandidateSource<float>&, View<float, 4>);
template void sample_candidates(Context&, const CandidateSource<double>&, View<double, 4>);

}  // namespace orrery
