#include "models/lewm/pilot.h"

#include <algorithm>

#include "base/error.h"

namespace orrery::lewm {

Pilot::Pilot(Context& ctx, const Model& model, Planner& planner, Sizes sizes, Objective objective,
             std::vector<Constraint> constraints)
    : ctx_(ctx),
      planner_(planner),
      search_(dynamic_cast<Search*>(&planner)),
      sizes_(sizes),
      dynamics_(ctx, model,
                {.environments = sizes.environments,
                 .samples = planner.samples(),
                 .horizon = planner.horizon(),
                 .history = sizes.history,
                 .gradients = planner.needs_gradients()},
                std::move(objective), std::move(constraints)),
      has_goal_(static_cast<std::size_t>(sizes.environments), false),
      ways_(static_cast<std::size_t>(sizes.environments)) {
  check(planner.most_at_once() >= sizes.environments, "pilot: the planner takes ",
        planner.most_at_once(), " environments at once, ", sizes.environments, " were asked for");
  check(planner.action_dim() == dynamics_.action_dim(), "pilot: the planner's blocks have ",
        planner.action_dim(), " numbers, the model takes ", dynamics_.action_dim());
  if (!model.config().encoder.of_vectors()) {
    eye_.emplace(ctx, model, sizes.height, sizes.width, sizes.environments * sizes.history);
  }
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

Eye& Pilot::eye() {
  check(eye_.has_value(), "pilot: the model sees vectors, pictures came");
  return *eye_;
}

void Pilot::check_goals(i64 first, i64 count) const {
  check(first >= 0 && count >= 1 && first + count <= sizes_.environments, "pilot: goals of ", count,
        " environments from ", first, ", the pilot was made for ", sizes_.environments);
}

void Pilot::end_sequences(i64 first, i64 count) {
  for (i64 e = first; e < first + count; ++e) ways_[static_cast<std::size_t>(e)].reset();
}

void Pilot::set_goals(i64 first, View<const u8, 4> pictures) {
  const i64 count = pictures.size(0);
  check_goals(first, count);
  end_sequences(first, count);
  eye().look(ctx_, pictures, dynamics_.goals().slice(0, first, first + count));
  std::fill_n(has_goal_.begin() + first, count, true);
  ctx_.synchronize();
}

void Pilot::set_goal_latents(i64 first, View<const float, 2> latents) {
  const i64 count = latents.size(0);
  check_goals(first, count);
  end_sequences(first, count);
  check(latents.size(1) == goal_rows_.size(1) && latents.contiguous(), "pilot: goals are ",
        latents.shape(), ", the model's latents have ", goal_rows_.size(1), " numbers");
  const auto to = dynamics_.goals().slice(0, first, first + count);
  ctx_.upload(to.data(), latents.data(), static_cast<std::size_t>(latents.numel()) * sizeof(float));
  std::fill_n(has_goal_.begin() + first, count, true);
  ctx_.synchronize();
}

void Pilot::encode_goals(View<const u8, 4> pictures, View<float, 2> latents) {
  check(latents.size(0) == pictures.size(0) && latents.size(1) == goal_rows_.size(1) &&
            latents.contiguous(),
        "pilot: latents to fill are ", latents.shape(), ", there are ", pictures.size(0),
        " pictures");
  // by way of the contexts, which every plan makes anew
  const i64 rows = dynamics_.contexts().as_rows().size(0);
  for (i64 first = 0; first < pictures.size(0); first += rows) {
    const i64 end = std::min(first + rows, pictures.size(0));
    const auto there = dynamics_.contexts().as_rows().slice(0, 0, end - first);
    eye().look(ctx_, pictures.slice(0, first, end), there);
    ctx_.download(latents.slice(0, first, end).data(), there.data(),
                  static_cast<std::size_t>(there.numel()) * sizeof(float));
  }
}

void Pilot::set_goal_sequence(i64 environment, View<const float, 2> latents, GoalAdvance when) {
  check_goals(environment, 1);
  check(latents.size(1) == goal_rows_.size(1) && latents.contiguous(), "pilot: goals are ",
        latents.shape(), ", the model's latents have ", goal_rows_.size(1), " numbers");
  Way way = {GoalSequence(latents.size(0), when),
             Tensor::of<float>(latents.shape(),
                               {latents.data(), static_cast<std::size_t>(latents.numel())})};
  set_goal_latents(environment, latents.slice(0, 0, 1));
  ways_[static_cast<std::size_t>(environment)].emplace(std::move(way));
}

const GoalSequence* Pilot::goal_sequence(i64 environment) const {
  check_goals(environment, 1);
  const auto& way = ways_[static_cast<std::size_t>(environment)];
  return way ? &way->sequence : nullptr;
}

void Pilot::restart_goals(i64 environment) {
  check_goals(environment, 1);
  auto& way = ways_[static_cast<std::size_t>(environment)];
  if (!way) return;
  way->sequence.reset();
  put_goal(environment, std::as_const(way->latents).view<float, 2>()[0]);
  ctx_.synchronize();
}

void Pilot::put_goal(i64 environment, View<const float, 1> latent) {
  ctx_.upload(dynamics_.goals()[environment].data(), latent.data(),
              static_cast<std::size_t>(latent.numel()) * sizeof(float));
}

// who has come to a goal turns to the next
void Pilot::follow_goals(const Sight& sight) {
  const i64 environments = sight.frames.size(0);
  const auto follows = [](const std::optional<Way>& way) { return way.has_value(); };
  if (std::none_of(ways_.begin(), ways_.begin() + environments, follows)) return;
  see(environments);
  const i64 dim = goal_rows_.size(1);
  seen_.resize(static_cast<std::size_t>(environments * sizes_.history * dim));
  read_latents({seen_.data(), {environments, sizes_.history, dim}});
  for (i64 e = 0; e < environments; ++e) {
    auto& way = ways_[static_cast<std::size_t>(e)];
    if (!way) continue;
    GoalSequence& sequence = way->sequence;
    const auto goals = std::as_const(way->latents).view<float, 2>();
    const float* now = seen_.data() + ((e + 1) * sizes_.history - 1) * dim;
    const auto distance = [&] {
      double sum = 0;
      for (i64 d = 0; d < dim; ++d) {
        const double away =
            static_cast<double>(now[d]) - static_cast<double>(goals(sequence.current(), d));
        sum += away * away;
      }
      return sum;
    };
    const i64 before = sequence.current();
    for (i64 blocks = sight.blocks_done; sequence.see(distance(), blocks); blocks = 0) {
    }
    if (sequence.current() != before) put_goal(e, goals[sequence.current()]);
  }
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
  eye().look(ctx_, frames_.slice(0, 0, environments * sizes_.history),
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
  follow_goals(sight);

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

void Pilot::plan_from(View<const float, 3> contexts, View<const float, 3> blocks,
                      const PlanRequest& request, const PlanResult& result) {
  const i64 environments = contexts.size(0);
  check_goals(0, environments);
  const Shape wanted = {environments, sizes_.history, goal_rows_.size(1)};
  check(contexts.shape() == wanted && contexts.contiguous(), "pilot: latents are ",
        contexts.shape(), ", needed ", wanted);
  const auto bytes = [](auto view) {
    return static_cast<std::size_t>(view.numel()) * sizeof(float);
  };
  dynamics_.begin(environments);
  if (sizes_.history > 1) {
    const auto to = dynamics_.prefixes().slice(0, 0, environments);
    check(blocks && blocks.sizes() == to.sizes() && blocks.contiguous(), "pilot: ", sizes_.history,
          " frames need the blocks of actions between them, ", to.shape());
    ctx_.upload(to.data(), blocks.data(), bytes(to));
  }
  const auto to = dynamics_.contexts().slice(0, 0, environments);
  ctx_.upload(to.data(), contexts.data(), bytes(to));
  ctx_.synchronize();
  planner_.plan(ctx_, dynamics_, request, result);
}

void Pilot::read_latents(View<float, 3> latents) {
  const auto from = dynamics_.contexts().slice(0, 0, environments_);
  check(latents.sizes() == from.sizes() && latents.contiguous(), "pilot: latents to fill are ",
        latents.shape(), ", needed ", from.shape());
  ctx_.download(latents.data(), from.data(),
                static_cast<std::size_t>(from.numel()) * sizeof(float));
}

}  // namespace orrery::lewm
