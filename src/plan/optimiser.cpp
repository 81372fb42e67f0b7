#include "plan/optimiser.h"

#include <algorithm>
#include <cmath>

#include "ops/adamw.h"
#include "ops/elementwise.h"

namespace orrery {

namespace {

using Kind = OptimiserConfig::Kind;

void check_share(const char* who, const char* what, double value) {
  check(value >= 0 && value < 1, who, ": ", what, " is ", value,
        ", from 0 to less than 1 was needed");
}

}  // namespace

OptimiserConfig::Kind optimiser_from(const std::string& name) {
  if (name == "sgd") return Kind::sgd;
  if (name == "adam") return Kind::adam;
  check(name == "adamw", "optimizer is \"", name, "\", needed sgd, adam or adamw");
  return Kind::adamw;
}

Optimiser::Optimiser(const char* who, const OptimiserConfig& config) : config_(config) {
  OptimiserConfig& c = config_;
  if (c.weight_decay < 0) c.weight_decay = c.kind == Kind::adamw ? 0.01 : 0.0;
  check(std::isfinite(c.lr) && c.lr > 0, who, ": learning rate is ", c.lr,
        ", a finite number above 0 was needed");
  check(std::isfinite(c.weight_decay), who, ": weight decay is ", c.weight_decay,
        ", a finite number was needed");
  if (c.kind == Kind::sgd) {
    check(std::isfinite(c.momentum) && c.momentum >= 0 && std::isfinite(c.dampening), who,
          ": momentum is ", c.momentum, " and dampening ", c.dampening,
          ", finite numbers, momentum from 0 up, were needed");
    check(!c.nesterov || (c.momentum > 0 && c.dampening == 0), who,
          ": nesterov needs momentum and no dampening, momentum is ", c.momentum, ", dampening ",
          c.dampening);
  } else {
    check_share(who, "beta1", c.beta1);
    check_share(who, "beta2", c.beta2);
    check(std::isfinite(c.eps) && c.eps > 0, who, ": eps is ", c.eps,
          ", a finite number above 0 was needed");
  }
}

void Optimiser::lay_out(Arena& arena, i64 size) {
  const bool adaptive = config_.kind != Kind::sgd;
  if (adaptive || config_.momentum > 0) first_ = arena.take<float, 1>({size});
  if (adaptive) second_ = arena.take<float, 1>({size});
}

void Optimiser::step(Context& ctx, View<float, 1> gradient, View<float, 1> parameter) {
  const OptimiserConfig& c = config_;
  const i64 size = parameter.size(0);
  check(gradient.size(0) == size, "optimizer: ", gradient.size(0), " gradients of ", size,
        " parameters");
  ++steps_;
  if (c.kind != Kind::adamw && c.weight_decay != 0) {
    add_scaled(ctx, static_cast<float>(c.weight_decay), parameter, gradient);
  }

  if (c.kind == Kind::sgd) {
    const auto rate = static_cast<float>(-c.lr);
    if (c.momentum == 0) return add_scaled(ctx, rate, gradient, parameter);
    const View<float, 1> b = first_.slice(0, 0, size);
    if (steps_ == 1) {
      std::copy_n(gradient.data(), size, b.data());
    } else {
      scale(ctx, static_cast<float>(c.momentum), b);
      add_scaled(ctx, static_cast<float>(1.0 - c.dampening), gradient, b);
    }
    if (!c.nesterov) return add_scaled(ctx, rate, b, parameter);
    add_scaled(ctx, static_cast<float>(c.momentum), b, gradient);
    return add_scaled(ctx, rate, gradient, parameter);
  }

  const View<float, 1> m = first_.slice(0, 0, size), v = second_.slice(0, 0, size);
  if (steps_ == 1) {
    std::fill_n(m.data(), size, 0.0f);
    std::fill_n(v.data(), size, 0.0f);
  }
  const AdamW settings = {
      .lr = static_cast<float>(c.lr),
      .beta1 = static_cast<float>(c.beta1),
      .beta2 = static_cast<float>(c.beta2),
      .eps = static_cast<float>(c.eps),
      .weight_decay = c.kind == Kind::adamw ? static_cast<float>(c.weight_decay) : 0.0f};
  adamw_step(ctx, settings, {}, steps_, 1.0f, gradient, parameter, m, v);
}

}  // namespace orrery
