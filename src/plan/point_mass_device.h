#pragma once

#include "plan/point_mass.h"

namespace orrery {

#if ORRERY_CUDA
namespace cuda {
// cost [group, samples] of actions [group, samples, horizon, 2] that start at `worlds` + first
void point_mass_cost(Context& ctx, const PointMass<float>::World* worlds, i64 first,
                     View<const float, 4> actions, View<float, 2> cost);
}  // namespace cuda

// A point mass whose costs are computed by a kernel, for tests: can be captured.
class PointMassOnDevice final : public Dynamics {
 public:
  PointMassOnDevice(Context& ctx, const std::vector<PointMass<float>::World>& worlds)
      : count_(static_cast<i64>(worlds.size())),
        block_(ctx, worlds.size() * sizeof(PointMass<float>::World)) {
    ctx.upload(block_.data(), worlds.data(), block_.bytes());
    ctx.synchronize();
  }
  i64 environments() const override { return count_; }
  i64 action_dim() const override { return PointMass<float>::kDim; }
  void rollout_cost(Context& ctx, i64 first, View<const float, 4> actions,
                    View<float, 2> cost) override {
    const auto* worlds = reinterpret_cast<const PointMass<float>::World*>(block_.data());
    cuda::point_mass_cost(ctx, worlds, first, actions, cost);
  }

 private:
  i64 count_;
  Block block_;
};
#endif

}  // namespace orrery
