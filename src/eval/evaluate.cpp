#include "eval/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "env/batch.h"
#include "env/policy.h"
#include "media/resize.h"
#include "models/lewm/dynamics.h"
#include "models/lewm/eye.h"
#include "tensor/placed.h"

namespace orrery {

namespace {

double squared_distance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += d * d;
  }
  return sum;
}

// Pictures of one size from the environment's frames.
class Camera {
 public:
  Camera(const Environment& environment, i64 height, i64 width)
      : height_(height),
        width_(width),
        plan_(
            make_resize_plan(environment.frame_height(), environment.frame_width(), height, width)),
        scratch_(plan_.scratch_bytes()) {}

  void take(View<const u8, 3> frame, View<u8, 3> picture) {
    resize_bilinear_u8(plan_, frame, picture, scratch_);
  }
  Image take(View<const u8, 3> frame) {
    Image image{height_, width_, std::vector<u8>(static_cast<std::size_t>(height_ * width_ * 3))};
    take(frame, image.view());
    return image;
  }

 private:
  i64 height_, width_;
  ResizePlan plan_;
  std::vector<std::byte> scratch_;
};

// What a plan imagined, kept until the frames that really came are seen.
struct Imagination {
  i64 environment = 0;
  std::size_t plan = 0;        // index in the episode's plans
  i64 step = 0;                // environment step of the plan
  std::vector<float> latents;  // [1 + horizon, D], the first is the present
};

// On a device all environments are planned together: that is what fills it. Recorded draws come in
// the order in which they were recorded.
PlannerChoice choice_for(const Context& ctx, const Protocol& protocol,
                         const EvaluateOptions& options) {
  PlannerChoice choice = protocol.planner;
  if (ctx.device() != Device::cpu && options.noise == nullptr) choice.batch_size = 0;
  return choice;
}

class ClosedLoop {
 public:
  ClosedLoop(Context& ctx, const lewm::Model& model, const lewm::Statistics& statistics,
             const Protocol& protocol, const Episodes& episodes, const EvaluateOptions& options)
      : ctx_(ctx),
        model_(model),
        protocol_(protocol),
        options_(options),
        episodes_(episodes),
        batch_(options.environment, protocol.episodes),
        cases_(load_cases(episodes, batch_[0], protocol)),
        count_(protocol.episodes),
        dim_(model.config().latent()),
        height_(cases_[0].frame.height),
        width_(cases_[0].frame.width),
        eye_(ctx, model, height_, width_, count_),
        camera_(batch_[0], height_, width_),
        film_camera_(batch_[0], options.film_side, options.film_side),
        own_noise_(protocol.seed),
        dynamics_(ctx, model,
                  {.environments = count_,
                   .samples = protocol.planner.samples,
                   .horizon = protocol.plan.horizon}),
        planner_(make_planner(ctx, choice_for(ctx, protocol, options),
                              {.environments = count_,
                               .horizon = protocol.plan.horizon,
                               .action_dim = model.config().action.input},
                              {statistics.action_mean, statistics.action_std},
                              options.noise != nullptr ? *options.noise : own_noise_)),
        policy_(protocol.plan, count_, batch_[0].action_dim(),
                {statistics.action_mean, statistics.action_std}, *planner_) {
    check(protocol.plan.history_len == 1, "evaluation plans from one frame, history_len ",
          protocol.plan.history_len, " was asked for");
    frames_ = Tensor(DType::uint8, {count_, batch_[0].frame_height(), batch_[0].frame_width(), 3});
    pictures_ = Tensor(DType::uint8, {count_, height_, width_, 3});
    latents_ = Placed<float>(ctx, count_ * dim_);
    goals_there_ = Placed<float>(ctx, count_ * dim_);
    result_.episodes.resize(static_cast<std::size_t>(count_));
    // on a device watching copies every iteration to the host: only for reports
    auto* search = dynamic_cast<Search*>(planner_.get());
    watches_ = search != nullptr && (ctx.device() == Device::cpu || options.films);
    if (!watches_) return;
    search->observe([this](const SearchIteration<float>& iteration) { watch(iteration); });
  }

  Evaluation run() {
    const double begin = now_s();
    set_up();
    play();
    compare_with_what_came();
    play_at_random();
    result_.environment = options_.environment;
    result_.data = episodes_.name();
    result_.parameters = model_.weights().parameters.numel();
    result_.protocol = protocol_;
    result_.seconds = now_s() - begin;
    return std::move(result_);
  }

 private:
  EpisodeRecord& episode(i64 e) { return result_.episodes[static_cast<std::size_t>(e)]; }
  std::vector<double> state_of(i64 e) const {
    std::vector<double> state(static_cast<std::size_t>(batch_[e].state_dim()));
    batch_[e].state(state);
    return state;
  }

  void place(i64 e) {
    const EvalCase& one = cases_[static_cast<std::size_t>(e)];
    batch_[e].reset(mix(protocol_.seed, static_cast<u64>(e)));
    batch_[e].set_state(one.state);
    batch_[e].set_goal_state(one.goal_state);
  }

  // environments at their starts; pictures_ hold the recording's first frames, goals_ the goals'
  // latents
  void set_up() {
    const auto pictures = pictures_.view<u8, 4>();
    const auto put = [&](i64 e, const Image& image) {
      check(image.height == height_ && image.width == width_, episodes_.name(),
            ": pictures differ in size");
      std::memcpy(&pictures(e, 0, 0, 0), image.rgb.data(), image.rgb.size());
    };
    for (i64 e = 0; e < count_; ++e) {
      place(e);
      const Step at_start = batch_[e].measure();
      EpisodeRecord& record = episode(e);
      record.start = cases_[static_cast<std::size_t>(e)].start;
      record.already_solved = at_start.terminated;
      record.distances.push_back(at_start.distance);
      record.states.push_back(state_of(e));
      put(e, cases_[static_cast<std::size_t>(e)].goal);
    }
    const double begin = now_s();
    goals_ = latents_of(pictures, goals_there_);
    look_ms_ = 1e3 * (now_s() - begin) / static_cast<double>(count_);  // a goal is encoded once
    for (i64 e = 0; e < count_; ++e) put(e, cases_[static_cast<std::size_t>(e)].frame);
    keep_block_frames();
    if (options_.films) {
      batch_.render(ctx_, frames_.view<u8, 4>());
      for (i64 e = 0; e < count_; ++e) {
        episode(e).film.push_back(film_camera_.take(frames_.view<u8, 4>()[e]));
        Image& goal = episode(e).goal;
        const EvalCase& one = cases_[static_cast<std::size_t>(e)];
        goal = {options_.film_side, options_.film_side,
                resize_bilinear_u8(one.goal.view(), options_.film_side, options_.film_side)};
      }
    }
  }

  void play() {
    const i64 action_dim = batch_[0].action_dim();
    Tensor actions = Tensor::zeros<float>({count_, action_dim});
    std::vector<Step> steps(static_cast<std::size_t>(count_));
    std::vector<u8> active(static_cast<std::size_t>(count_), 1);
    for (i64 step = 0; step < protocol_.budget; ++step) {
      step_ = step;
      const auto observe = [&](std::span<const i64> who) -> Dynamics& {
        return this->observe(who);
      };
      policy_.act(ctx_, observe, actions.view<float, 2>());
      imagine();

      batch_.step(ctx_, actions.view<float, 2>(), steps, active);
      batch_.render(ctx_, frames_.view<u8, 4>());
      for (i64 e = 0; e < count_; ++e) {
        if (active[static_cast<std::size_t>(e)] == 0) continue;
        const Step& outcome = steps[static_cast<std::size_t>(e)];
        EpisodeRecord& record = episode(e);
        const float* action = &actions.view<float, 2>()(e, 0);
        record.actions.emplace_back(action, action + action_dim);
        record.states.push_back(state_of(e));
        record.steps = step + 1;
        record.distances.push_back(outcome.distance);
        camera_.take(frames_.view<u8, 4>()[e], pictures_.view<u8, 4>()[e]);
        if (options_.films) record.film.push_back(film_camera_.take(frames_.view<u8, 4>()[e]));
        if (outcome.terminated) {
          record.success = true;
          active[static_cast<std::size_t>(e)] = 0;
          policy_.finish(e);
        }
      }
      if ((step + 1) % protocol_.plan.action_block == 0) keep_block_frames();
      const i64 solved = result_.successes();
      if (options_.progress) options_.progress(step + 1, protocol_.budget, solved);
      if (solved == count_) break;
    }
  }

  // environments `who` need a plan: encode what they show
  Dynamics& observe(std::span<const i64> who) {
    who_.assign(who.begin(), who.end());
    dynamics_.begin(static_cast<i64>(who.size()));
    const auto latents = latents_.view<2>({count_, dim_});
    for (std::size_t i = 0, end = 0; i < who.size(); i = end) {
      // neighbours are looked at together
      const double begin = now_s();
      end = i + 1;
      while (end < who.size() && who[end] == who[end - 1] + 1) ++end;
      const i64 first = who[i], last = who[end - 1] + 1;
      eye_.look(ctx_, pictures_.view<u8, 4>().slice(0, first, last), latents.slice(0, first, last));
      for (std::size_t k = i; k < end; ++k) {
        const i64 e = who[k];
        dynamics_.observe(static_cast<i64>(k), latents.slice(0, e, e + 1), {},
                          goals_there_.view<2>({count_, dim_})[e]);
      }
      ctx_.synchronize();
      const double each_ms = 1e3 * (now_s() - begin) / static_cast<double>(end - i);
      for (std::size_t k = i; k < end; ++k) {
        EpisodeRecord& record = episode(who[k]);
        PlanRecord plan;
        plan.step = step_;
        // the goal is encoded once an episode, at its first plan
        plan.plan_ms = each_ms + (record.plans.empty() ? look_ms_ : 0.0);
        record.plans.push_back(std::move(plan));
      }
    }
    since_ = now_s();
    return dynamics_;
  }

  // one iteration of one group of environments is over
  void watch(const SearchIteration<float>& iteration) {
    const i64 group = iteration.figures.size(0);
    const double elapsed_ms = 1e3 * (now_s() - since_) / static_cast<double>(group);
    for (i64 i = 0; i < group; ++i) {
      const auto e = who_[static_cast<std::size_t>(iteration.first_environment + i)];
      PlanRecord& plan = episode(e).plans.back();
      plan.plan_ms += elapsed_ms;
      plan.iteration_best.push_back(iteration.figures(i).best_cost);
      plan.iteration_elite.push_back(iteration.figures(i).elite_mean);
    }
    since_ = now_s();
  }

  // after plans were made: what they expect to see
  void imagine() {
    const double unwatched_ms = watches_ || who_.empty()
                                    ? 0.0
                                    : 1e3 * (now_s() - since_) / static_cast<double>(who_.size());
    for (std::size_t i = 0; i < who_.size(); ++i) {
      const i64 e = who_[i];
      Imagination imagination;
      imagination.environment = e;
      imagination.plan = episode(e).plans.size() - 1;
      imagination.step = step_;
      imagination.latents.resize(static_cast<std::size_t>((1 + protocol_.plan.horizon) * dim_));
      const View<float, 2> latents(imagination.latents.data(), {1 + protocol_.plan.horizon, dim_});
      dynamics_.imagine(ctx_, static_cast<i64>(i), policy_.last_plan(e), latents);
      PlanRecord& plan = episode(e).plans.back();
      plan.plan_ms += unwatched_ms;
      plan.cost = static_cast<double>(policy_.last_cost(e));
      for (i64 block = 1; block <= protocol_.plan.horizon; ++block) {
        plan.goal_distance.push_back(static_cast<float>(
            squared_distance(row(latents, block), row(goals_.view<float, 2>(), e))));
      }
      imaginations_.push_back(std::move(imagination));
    }
    who_.clear();
  }

  static std::span<const float> row(View<const float, 2> rows, i64 r) {
    return {&rows(r, 0), static_cast<std::size_t>(rows.size(1))};
  }

  // the pictures at a boundary between blocks, for the comparison afterwards
  void keep_block_frames() { block_pictures_.push_back(pictures_.clone()); }

  // Surprise: imagined against seen latents at the block boundaries that were reached; and the
  // recorded frames that look most like what was imagined.
  void compare_with_what_came() {
    std::vector<Tensor> seen;
    for (const Tensor& pictures : block_pictures_) {
      seen.push_back(latents_of(pictures.view<u8, 4>(), latents_));
    }
    const Tensor gallery = options_.films ? encode_gallery() : Tensor();
    const i64 block_steps = protocol_.plan.action_block;
    for (const Imagination& imagination : imaginations_) {
      EpisodeRecord& record = episode(imagination.environment);
      PlanRecord& plan = record.plans[imagination.plan];
      const View<const float, 2> imagined(imagination.latents.data(),
                                          {1 + protocol_.plan.horizon, dim_});
      for (i64 block = 1; block <= protocol_.plan.horizon; ++block) {
        const i64 step = imagination.step + block * block_steps;
        if (block <= protocol_.plan.receding_horizon && step <= record.steps) {
          const Tensor& there = seen[static_cast<std::size_t>(step / block_steps)];
          plan.surprise.push_back(static_cast<float>(squared_distance(
              row(imagined, block), row(there.view<float, 2>(), imagination.environment))));
        }
        if (options_.films) plan.nearest.push_back(nearest(gallery, row(imagined, block)));
      }
    }
  }

  // what the eye makes of pictures, by way of memory where the context works
  Tensor latents_of(View<const u8, 4> pictures, Placed<float>& there) {
    Tensor latents = Tensor::zeros<float>({pictures.size(0), dim_});
    eye_.look(ctx_, pictures, there.view<2>({pictures.size(0), dim_}));
    there.get({latents.data<float>(), static_cast<std::size_t>(latents.numel())});
    return latents;
  }

  Tensor encode_gallery() {
    const i64 pixels = episodes_.column_index("pixels");
    const i64 size = std::min(options_.gallery, episodes_.rows());
    Placed<float> there(ctx_, size * dim_);
    Image frame{height_, width_, std::vector<u8>(static_cast<std::size_t>(height_ * width_ * 3))};
    for (i64 i = 0; i < size; ++i) {
      const i64 at = i * episodes_.rows() / size;
      episodes_.read(pixels, at, at + 1, 1, reinterpret_cast<std::byte*>(frame.rgb.data()));
      eye_.look(ctx_, frame, there.view<2>({size, dim_})[i]);
      result_.gallery.push_back(frame);
    }
    return Tensor::of<float>({size, dim_}, there.values());
  }

  static i64 nearest(const Tensor& gallery, std::span<const float> latent) {
    i64 best = 0;
    double best_distance = std::numeric_limits<double>::infinity();
    for (i64 i = 0; i < gallery.size(0); ++i) {
      const double distance = squared_distance(row(gallery.view<float, 2>(), i), latent);
      if (distance < best_distance) {
        best_distance = distance;
        best = i;
      }
    }
    return best;
  }

  // the control: the same starts, uniform actions
  void play_at_random() {
    const auto random = make_policy("random", batch_[0], {.seed = mix(protocol_.seed, 1)});
    const i64 action_dim = batch_[0].action_dim();
    ctx_.parallel(count_, [&](i64 e, int) {
      place(e);
      std::array<float, 64> action = {};
      for (i64 step = 0; step < protocol_.budget && !episode(e).random_success; ++step) {
        const std::span<float> chosen(action.data(), static_cast<std::size_t>(action_dim));
        random->act(batch_[e], static_cast<u64>(e), static_cast<u64>(step), chosen);
        episode(e).random_success = batch_[e].step(chosen).terminated;
      }
    });
  }

  Context& ctx_;
  const lewm::Model& model_;
  const Protocol& protocol_;
  const EvaluateOptions& options_;
  const Episodes& episodes_;
  EnvironmentBatch batch_;
  std::vector<EvalCase> cases_;
  i64 count_, dim_, height_, width_;
  lewm::Eye eye_;
  Camera camera_, film_camera_;
  CounterNoise own_noise_;
  lewm::GoalDynamics dynamics_;
  std::unique_ptr<Planner> planner_;
  RecedingHorizonPolicy policy_;

  Tensor frames_;                       // [n, env height, env width, 3] as drawn
  Tensor pictures_;                     // [n, height, width, 3] as the model sees them
  Placed<float> latents_;               // [n, D] of the present
  Placed<float> goals_there_;           // [n, D]
  Tensor goals_;                        // the same for the host
  std::vector<Tensor> block_pictures_;  // pictures_ at every block boundary
  std::vector<Imagination> imaginations_;
  std::vector<i64> who_;  // environments being planned for
  i64 step_ = 0;
  bool watches_ = true;  // every iteration of a plan
  double since_ = 0;
  double look_ms_ = 0;
  Evaluation result_;
};

void check_fit(const lewm::Model& model, const lewm::Statistics& statistics,
               const Protocol& protocol, const EvaluateOptions& options) {
  const auto environment = make_environment(options.environment);
  const i64 block = protocol.plan.action_block;
  check(environment->action_dim() <= 64, options.environment, " takes ", environment->action_dim(),
        " action numbers, at most 64 are supported");
  check(block * environment->action_dim() == model.config().action.input, "the model takes ",
        model.config().action.input, " action numbers a block, ", options.environment, " has ",
        environment->action_dim(), " a step and a block is ", block, " steps");
  check(statistics.action_dim() == environment->action_dim(), "the statistics are of ",
        statistics.action_dim(), " action numbers, ", options.environment, " has ",
        environment->action_dim());
  check(protocol.plan.horizon * block <= protocol.budget, "a plan of ",
        protocol.plan.horizon * block, " steps is longer than the budget, ", protocol.budget);
}

}  // namespace

Evaluation evaluate(Context& ctx, const lewm::Model& model, const lewm::Statistics& statistics,
                    const Protocol& protocol, const Episodes& episodes,
                    const EvaluateOptions& options) {
  check_fit(model, statistics, protocol, options);
  ClosedLoop loop(ctx, model, statistics, protocol, episodes, options);
  return loop.run();
}

}  // namespace orrery
