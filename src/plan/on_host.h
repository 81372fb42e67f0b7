#pragma once

#include <vector>

#include "plan/dynamics.h"

namespace orrery {

// A Dynamics of the host for planners of any device: candidates are copied to the host, judged
// there, and their costs copied back. For simulators and for tests; cannot be captured.
template <typename T>
class OnHost final : public BasicDynamics<T> {
 public:
  // `inner` and `host`, a context of the CPU, outlive this
  OnHost(BasicDynamics<T>& inner, Context& host) : inner_(inner), host_(host) {}

  i64 environments() const override { return inner_.environments(); }
  i64 action_dim() const override { return inner_.action_dim(); }

  void rollout_cost(Context& ctx, i64 first, View<const T, 4> actions, View<T, 2> cost) override {
    actions_.resize(static_cast<std::size_t>(actions.numel()));
    costs_.resize(static_cast<std::size_t>(cost.numel()));
    ctx.download(actions_.data(), actions.data(), actions_.size() * sizeof(T));
    inner_.rollout_cost(host_, first, {actions_.data(), actions.sizes()},
                        {costs_.data(), cost.sizes()});
    ctx.upload(cost.data(), costs_.data(), costs_.size() * sizeof(T));
    ctx.synchronize();
  }

  void propose(Context& ctx, i64 first, View<const T, 3> prefix, View<T, 3> tail) override {
    const i64 group = tail.size(0), given = prefix.size(1), left = tail.size(1);
    const i64 dim = tail.size(2);
    // prefix and tail lie one after the other in every environment's blocks
    actions_.resize(static_cast<std::size_t>(group * (given + left) * dim));
    const View<T, 3> all(actions_.data(), {group, given + left, dim});
    const auto bytes = [&](i64 blocks) {
      return static_cast<std::size_t>(blocks * dim) * sizeof(T);
    };
    for (i64 e = 0; e < group; ++e) {
      T* blocks = all[e].data();
      if (given > 0) ctx.download(blocks, prefix[e].data(), bytes(given));
      ctx.download(blocks + given * dim, tail[e].data(), bytes(left));
    }
    inner_.propose(host_, first, all.slice(1, 0, given), all.slice(1, given, given + left));
    for (i64 e = 0; e < group; ++e) {
      ctx.upload(tail[e].data(), all[e].data() + given * dim, bytes(left));
    }
    ctx.synchronize();
  }

 private:
  BasicDynamics<T>& inner_;
  Context& host_;
  std::vector<T> actions_, costs_;
};

}  // namespace orrery
