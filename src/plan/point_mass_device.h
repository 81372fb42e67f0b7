#pragma once

#include "plan/point_mass.h"

namespace orrery {

// A point mass for planners of any device, for tests: costs are computed by the host, from copies.
class PointMassOnHost final : public Dynamics {
 public:
  explicit PointMassOnHost(std::vector<PointMass<float>::World> worlds)
      : inner_(std::move(worlds)), host_({.threads = 2}) {}

  i64 environments() const override { return inner_.environments(); }
  i64 action_dim() const override { return inner_.action_dim(); }
  const PointMass<float>& inner() const { return inner_; }

  void rollout_cost(Context& ctx, i64 first, View<const float, 4> actions,
                    View<float, 2> cost) override {
    actions_.resize(static_cast<std::size_t>(actions.numel()));
    costs_.resize(static_cast<std::size_t>(cost.numel()));
    ctx.download(actions_.data(), actions.data(), actions_.size() * sizeof(float));
    inner_.rollout_cost(host_, first, {actions_.data(), actions.sizes()},
                        {costs_.data(), cost.sizes()});
    ctx.upload(cost.data(), costs_.data(), costs_.size() * sizeof(float));
    ctx.synchronize();
  }

 private:
  PointMass<float> inner_;
  Context host_;
  std::vector<float> actions_, costs_;
};

#if ORRERY_CUDA
namespace cuda {
// cost [group, samples] of actions [group, samples, horizon, 2] that start at `worlds` + first
void point_mass_cost(Context& ctx, const PointMass<float>::World* worlds, i64 first,
                     View<const float, 4> actions, View<float, 2> cost);
}  // namespace cuda

// The same computed by a kernel: can be captured.
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
