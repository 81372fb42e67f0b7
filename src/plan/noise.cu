#include "device/cuda.h"
#include "plan/noise.h"

namespace orrery {

namespace {

constexpr int kThreads = 128;

// compute-bound: ten Philox rounds and a double logarithm, root, sine and cosine for two numbers
// one thread draws one pair of one environment
__global__ void fill_noise_kernel(u64 seed, const PlanKey* keys, const i32* iteration, i64 group,
                                  i64 per_environment, float* out) {
  const i64 pairs = (per_environment + 1) / 2;
  const i64 index = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= group * pairs) return;
  const i64 e = index / pairs;
  const i64 pair = index - e * pairs;
  const auto draws = normal_pair(seed, noise_stream(keys[e], *iteration), static_cast<u64>(pair));
  float* target = out + e * per_environment + 2 * pair;
  target[0] = draws[0];
  if (2 * pair + 1 < per_environment) target[1] = draws[1];
}

// compute-bound: ten Philox rounds for four numbers
// one thread draws four numbers of one environment
__global__ void fill_uniform_kernel(u64 seed, const PlanKey* keys, const i32* iteration, i64 group,
                                    i64 per_environment, float* out) {
  const i64 fours = (per_environment + 3) / 4;
  const i64 index = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= group * fours) return;
  const i64 e = index / fours;
  const i64 four = index - e * fours;
  const auto bits = philox(seed, noise_stream(keys[e], *iteration), static_cast<u64>(four));
  float* target = out + e * per_environment + 4 * four;
  const i64 left = per_environment - 4 * four;
  for (int i = 0; i < 4 && i < left; ++i) {
    target[i] = uniform_from_bits(bits[static_cast<std::size_t>(i)]);
  }
}

}  // namespace

namespace cuda {

void fill_noise(Context& ctx, u64 seed, View<const PlanKey, 1> keys, View<const i32, 1> iteration,
                View<float, 4> out) {
  const i64 group = out.size(0);
  const i64 per_environment = out.numel() / group;
  const i64 pairs = (per_environment + 1) / 2;
  launch(ctx, {"fill_noise", dim3(blocks_for(group * pairs, kThreads)), dim3(kThreads)},
         fill_noise_kernel, seed, keys.data(), iteration.data(), group, per_environment,
         out.data());
}

void fill_uniform_noise(Context& ctx, u64 seed, View<const PlanKey, 1> keys,
                        View<const i32, 1> iteration, View<float, 4> out) {
  const i64 group = out.size(0);
  const i64 per_environment = out.numel() / group;
  const i64 fours = (per_environment + 3) / 4;
  launch(ctx, {"fill_uniform_noise", dim3(blocks_for(group * fours, kThreads)), dim3(kThreads)},
         fill_uniform_kernel, seed, keys.data(), iteration.data(), group, per_environment,
         out.data());
}

}  // namespace cuda

}  // namespace orrery
