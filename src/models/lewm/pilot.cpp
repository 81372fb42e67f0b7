#include "models/lewm/pilot.h"

#include <algorithm>

#include "base/error.h"

namespace orrery::lewm {

Pilot::Pilot(Context& ctx, const Model& model, Planner& planner, Sizes sizes, Objective objective)
    : ctx_(ctx),
      model_(model),
      planner_(planner),
      search_(dynamic_cast<Search*>(&planner)),
      sizes_(sizes),
      eye_(ctx, model, sizes.height, sizes.width, sizes.environments * sizes.history),
      dynamics_(ctx, model,
                {.environments = sizes.environments,
                 .samples = planner.samples(),
                 .horizon = planner.horizon(),
                 .history = sizes.history},
                objective),
      has_goal_(static_cast<std::size_t>(sizes.environments), false) {
  check(planner.most_at_once() >= sizes.environments, "pilot: the planner takes ",
        planner.most_at_once(), " environments at once, ", sizes.environments, " were asked for");
  check(planner.action_dim() == dynamics_.action_dim(), "pilot: the planner's blocks have ",
        planner.action_dim(), " numbers, the model takes ", dynamics_.action_dim());
  const auto lay_out = [&](Arena& arena) {
    frames_ = arena.take<u8, 4>({sizes.environments * sizes.history, sizes.height, sizes.width, 3});
    blocks_ = arena.take<float, 3>({sizes.environments, sizes.history - 1, dynamics_.action_dim()});
    goal_rows_ = arena.take<float, 2>({sizes.environments, model.config().latent()});
  };
  Arena measure;
  lay_out(measure);
  staging_ = Block::staging(ctx, measure.used());
  Arena arena(staging_);
  lay_out(arena);
}

void Pilot::set_goals(i64 first, View<const u8, 4> pictures) {
  const i64 count = pictures.size(0);
  check(first >= 0 && count >= 1 && first + count <= sizes_.environments, "pilot: goals of ", count,
        " environments from ", first, ", the pilot was made for ", sizes_.environments);
  eye_.look(ctx_, pictures, dynamics_.goals().slice(0, first, first + count));
  std::fill_n(has_goal_.begin() + first, count, true);
  ctx_.synchronize();
}

void Pilot::set_goal_latents(i64 first, View<const float, 2> latents) {
  const i64 count = latents.size(0);
  check(first >= 0 && count >= 1 && first + count <= sizes_.environments, "pilot: goals of ", count,
        " environments from ", first, ", the pilot was made for ", sizes_.environments);
  check(latents.size(1) == goal_rows_.size(1) && latents.contiguous(), "pilot: goals are ",
        latents.shape(), ", the model's latents have ", goal_rows_.size(1), " numbers");
  const auto to = dynamics_.goals().slice(0, first, first + count);
  ctx_.upload(to.data(), latents.data(), static_cast<std::size_t>(latents.numel()) * sizeof(float));
  std::fill_n(has_goal_.begin() + first, count, true);
  ctx_.synchronize();
}

void Pilot::check_sight(const Sight& sight) const {
  const i64 environments = sight.frames.size(0);
  check(environments >= 1 && environments <= sizes_.environments, "pilot: frames of ", environments,
        " environments, the pilot was made for 1 to ", sizes_.environments);
  const Shape wanted = {environments, sizes_.history, sizes_.height, sizes_.width, 3};
  check(sight.frames.shape() == wanted && sight.frames.contiguous(), "pilot: frames are ",
        sight.frames.shape(), ", needed ", wanted);
  if (sizes_.history > 1) {
    const Shape blocks = {environments, sizes_.history - 1, dynamics_.action_dim()};
    check(sight.blocks && sight.blocks.shape() == blocks && sight.blocks.contiguous(),
          "pilot: ", sizes_.history, " frames need the blocks of actions between them, ", blocks);
  }
  for (i64 e = 0; e < environments; ++e) {
    check(has_goal_[static_cast<std::size_t>(e)], "pilot: environment ", e, " has no goal yet");
  }
}

void Pilot::stage(const Sight& sight) {
  std::copy_n(sight.frames.data(), sight.frames.numel(), frames_.data());
  if (sizes_.history > 1) std::copy_n(sight.blocks.data(), sight.blocks.numel(), blocks_.data());
}

// staged frames to the latents that a plan starts from
void Pilot::see(i64 environments) {
  eye_.look(ctx_, frames_.slice(0, 0, environments * sizes_.history),
            dynamics_.contexts().slice(0, 0, environments).as_rows());
  if (sizes_.history > 1) {
    const auto to = dynamics_.prefixes().slice(0, 0, environments);
    ctx_.upload(to.data(), blocks_.data(), static_cast<std::size_t>(to.numel()) * sizeof(float));
  }
}

void Pilot::plan(const Sight& sight, const PlanRequest& request, const PlanResult& result) {
  check_sight(sight);
  const i64 environments = sight.frames.size(0);
  if (environments != environments_) {
    graph_ = Graph();
    plans_of_this_size_ = 0;
  }
  environments_ = environments;
  dynamics_.begin(environments);
  stage(sight);

  if (ctx_.device() == Device::cpu || search_ == nullptr || !search_->can_be_captured() ||
      request.clock != nullptr) {
    see(environments);
    planner_.plan(ctx_, dynamics_, request, result);
    return;
  }

  check_plan("pilot", search_->sizes(), dynamics_, request, result);
  search_->prepare(request, 0, environments);
  if (plans_of_this_size_ == 0) {
    // plainly once: whatever grows with the work has then grown
    see(environments);
    search_->begin(ctx_, dynamics_, 0, environments);
    search_->iterate_while_wanted(ctx_, dynamics_, 0, environments);
    search_->finish(ctx_);
  } else {
    if (!graph_) {
      graph_ = ctx_.capture_loop(
          [&] {
            see(environments);
            search_->begin(ctx_, dynamics_, 0, environments);
          },
          [&] { search_->iterate(ctx_, dynamics_, 0, environments); },
          [&] { search_->finish(ctx_); }, search_->keep_going());
    }
    ctx_.replay(graph_);
  }
  ++plans_of_this_size_;
  ctx_.synchronize();
  search_->hand_over(result, 0, environments);
}

void Pilot::read_latents(View<float, 3> latents) {
  const auto from = dynamics_.contexts().slice(0, 0, environments_);
  check(latents.sizes() == from.sizes() && latents.contiguous(), "pilot: latents to fill are ",
        latents.shape(), ", needed ", from.shape());
  ctx_.download(latents.data(), from.data(),
                static_cast<std::size_t>(from.numel()) * sizeof(float));
}

}  // namespace orrery::lewm
