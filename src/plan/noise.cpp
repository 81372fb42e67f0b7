#include "plan/noise.h"

#include <algorithm>
#include <type_traits>

namespace orrery {

namespace cpu {

template <typename T>
void fill_noise(Context& ctx, u64 seed, View<const PlanKey, 1> keys, View<const i32, 1> iteration,
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
    const u64 stream = noise_stream(keys[environment], iteration[0]);
    T* target = out.data() + environment * per_environment + begin;
    if constexpr (std::is_same_v<T, float>) {
      fill_normal(seed, stream, static_cast<u64>(begin), count, target);
    } else {
      float draws[kPiece];
      fill_normal(seed, stream, static_cast<u64>(begin), count, draws);
      std::copy_n(draws, count, target);
    }
  });
}

template <typename T>
void fill_uniform_noise(Context& ctx, u64 seed, View<const PlanKey, 1> keys,
                        View<const i32, 1> iteration, View<T, 4> out) {
  const i64 per_environment = out.numel() / out.size(0);
  ctx.parallel_ranges(out.numel(), 1024, [&](i64 begin, i64 end, int) {
    for (i64 i = begin; i < end; ++i) {
      const i64 e = i / per_environment;
      out.data()[i] = static_cast<T>(uniform(seed, noise_stream(keys[e], iteration[0]),
                                             static_cast<u64>(i - e * per_environment)));
    }
  });
}

}  // namespace cpu
namespace cuda {
void fill_noise(Context& ctx, u64 seed, View<const PlanKey, 1> keys, View<const i32, 1> iteration,
                View<float, 4> out);
void fill_uniform_noise(Context& ctx, u64 seed, View<const PlanKey, 1> keys,
                        View<const i32, 1> iteration, View<float, 4> out);
}  // namespace cuda

template <typename T>
void BasicCounterNoise<T>::fill(Context& ctx, View<const PlanKey, 1> keys,
                                View<const i32, 1> iteration, View<T, 4> out) {
  check(keys.size(0) == out.size(0), "noise: ", keys.size(0), " keys for ", out.size(0),
        " environments");
  check(out.contiguous(), "noise: a contiguous array was needed");
  if constexpr (std::is_same_v<T, float>) {
    ORRERY_ON_DEVICE(ctx, fill_noise, seed_, keys, iteration, out);
  } else {
    ORRERY_ON_CPU(ctx, fill_noise, seed_, keys, iteration, out);
  }
}

template <typename T>
void BasicCounterNoise<T>::fill_uniform(Context& ctx, View<const PlanKey, 1> keys,
                                        View<const i32, 1> iteration, View<T, 4> out) {
  check(keys.size(0) == out.size(0), "noise: ", keys.size(0), " keys for ", out.size(0),
        " environments");
  check(out.contiguous(), "noise: a contiguous array was needed");
  if constexpr (std::is_same_v<T, float>) {
    ORRERY_ON_DEVICE(ctx, fill_uniform_noise, seed_, keys, iteration, out);
  } else {
    ORRERY_ON_CPU(ctx, fill_uniform_noise, seed_, keys, iteration, out);
  }
}

template <typename T>
void BasicRecordedNoise<T>::fill(Context& ctx, View<const PlanKey, 1>, View<const i32, 1>,
                                 View<T, 4> out) {
  check(!queue_.empty(), "recorded noise: used up after ", taken_, " draws");
  const Tensor& draws = queue_.front();
  check(draws.shape() == out.shape(), "recorded noise: next draws are ", draws.shape(), ", ",
        out.shape(), " was needed");
  const auto values = draws.span<T>();
  ctx.upload(out.data(), values.data(), values.size_bytes());
  ctx.synchronize();
  queue_.pop_front();
  ++taken_;
}

template class BasicCounterNoise<float>;
template class BasicCounterNoise<double>;
template class BasicRecordedNoise<float>;
template class BasicRecordedNoise<double>;

}  // namespace orrery
