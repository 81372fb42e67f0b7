#include "plan/noise.h"

#include <algorithm>
#include <type_traits>

#include "base/random.h"

namespace orrery {

u64 noise_stream(PlanKey key, i64 iteration) {
  u64 stream = static_cast<u64>(Stream::planner_noise);
  for (const i64 part : {key.environment, key.plan, iteration}) {
    stream = mix(stream, static_cast<u64>(part));
  }
  return stream;
}

template <typename T>
void BasicCounterNoise<T>::fill(Context& ctx, std::span<const PlanKey> keys, i64 iteration,
                                View<T, 4> out) {
  const i64 per_environment = out.numel() / out.size(0);
  // a piece is about 10 us of work (21 ns a number), and even, so that no pair of normals is
  // computed twice
  constexpr i64 kPiece = 512;
  const i64 pieces = (per_environment + kPiece - 1) / kPiece;
  ctx.parallel(out.size(0) * pieces, [&](i64 index, int) {
    const i64 environment = index / pieces;
    const i64 begin = index % pieces * kPiece;
    const i64 count = std::min(kPiece, per_environment - begin);
    const u64 stream = noise_stream(keys[static_cast<std::size_t>(environment)], iteration);
    T* target = out.data() + environment * per_environment + begin;
    if constexpr (std::is_same_v<T, float>) {
      fill_normal(seed_, stream, static_cast<u64>(begin), count, target);
    } else {
      float draws[kPiece];
      fill_normal(seed_, stream, static_cast<u64>(begin), count, draws);
      std::copy_n(draws, count, target);
    }
  });
}

template <typename T>
void BasicRecordedNoise<T>::fill(Context&, std::span<const PlanKey>, i64 iteration,
                                 View<T, 4> out) {
  check(!queue_.empty(), "recorded noise: used up at iteration ", iteration);
  const Tensor& draws = queue_.front();
  check(draws.shape() == out.shape(), "recorded noise: next draws are ", draws.shape(), ", ",
        out.shape(), " was needed");
  const auto values = draws.span<T>();
  std::copy(values.begin(), values.end(), out.data());
  queue_.pop_front();
}

template class BasicCounterNoise<float>;
template class BasicCounterNoise<double>;
template class BasicRecordedNoise<float>;
template class BasicRecordedNoise<double>;

}  // namespace orrery
