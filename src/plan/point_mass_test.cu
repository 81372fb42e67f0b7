#include "device/cuda.h"
#include "plan/point_mass_device.h"

namespace orrery {

namespace {

constexpr int kThreads = 128;
using World = PointMass<float>::World;

// for tests: one thread has one candidate
__global__ void point_mass_kernel(const World* worlds, i64 first, View<const float, 4> actions,
                                  float* cost) {
  const i64 index = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= actions.size(0) * actions.size(1)) return;
  const World& world = worlds[first + index / actions.size(1)];
  const float* x = actions.data() + index * actions.size(2) * actions.size(3);
  double total = 0;
  for (i64 d = 0; d < PointMass<float>::kDim; ++d) {
    double away = static_cast<double>(world.start[d]) - static_cast<double>(world.goal[d]);
    for (i64 t = 0; t < actions.size(2); ++t) {
      const double a = static_cast<double>(x[t * actions.size(3) + d]);
      away += a;
      total += PointMass<float>::kEffort * a * a;
    }
    total += away * away;
  }
  cost[index] = static_cast<float>(total);
}

}  // namespace

namespace cuda {

void point_mass_cost(Context& ctx, const World* worlds, i64 first, View<const float, 4> actions,
                     View<float, 2> cost) {
  launch(ctx, {"point_mass", dim3(blocks_for(cost.numel(), kThreads)), dim3(kThreads)},
         point_mass_kernel, worlds, first, actions, cost.data());
}

}  // namespace cuda

}  // namespace orrery
