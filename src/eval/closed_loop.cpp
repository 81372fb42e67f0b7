#include "eval/closed_loop.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "env/batch.h"
#include "env/policy.h"
#include "eval/criterion.h"
#include "eval/encoded.h"
#include "media/resize.h"
#include "models/lewm/dynamics.h"
#include "models/lewm/eye.h"
#include "tensor/placed.h"

namespace orrery {

namespace {

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
  std::vector<float> latents;  // [horizon, D]
};

// On a device all environments are planned together: that is what fills it. Recorded draws come in
// the order in which they were recorded; an early end, and how far a gradient is cut, are for one
// environment to decide.
PlannerChoice choice_for(const Context& ctx, const Protocol& protocol,
                         const EvaluateOptions& options) {
  PlannerChoice choice = protocol.planner;
  if (ctx.device() != Device::cpu) choice.batch_size = 0;
  if (options.noise != nullptr) choice.batch_size = protocol.planner.batch_size;
  if (choice.enough_std > 0 || choice.descent.grad_clip > 0) choice.batch_size = 1;
  return choice;
}

// A planner that draws in the names of cases, not of the places at which they happen to play.
class NamedPlanner final : public Planner {
 public:
  NamedPlanner(Planner& planner, std::span<const EvalCase> cases) : planner_(planner) {
    for (const EvalCase& one : cases) names_.push_back(one.index);
    keys_.resize(cases.size());
  }
  i64 horizon() const override { return planner_.horizon(); }
  i64 action_dim() const override { return planner_.action_dim(); }
  i64 max_environments() const override { return planner_.max_environments(); }
  i64 most_at_once() const override { return planner_.most_at_once(); }
  i64 samples() const override { return planner_.samples(); }
  void plan(Context& ctx, Dynamics& dynamics, const PlanRequest& request,
            const PlanResult& result) override {
    std::transform(request.keys.begin(), request.keys.end(), keys_.begin(), [&](PlanKey key) {
      return PlanKey{names_[static_cast<std::size_t>(key.environment)], key.plan};
    });
    PlanRequest named = request;
    named.keys = std::span<const PlanKey>(keys_).first(request.keys.size());
    planner_.plan(ctx, dynamics, named, result);
  }

 private:
  Planner& planner_;
  std::vector<i64> names_;
  std::vector<PlanKey> keys_;
};

// Where the numbers that a model sees begin among those that an environment tells.
i64 numbers_of(const Environment& environment, const lewm::VectorEncoderConfig& wanted) {
  i64 at = 0;
  std::string there;
  for (const InfoColumn& column : environment.info_columns()) {
    if (column.name == wanted.column && column.width() == wanted.inputs) return at;
    at += column.width();
    there += text(there.empty() ? "" : ", ", column.name, " of ", column.width());
  }
  fail("the model sees ", wanted.column, " of ", wanted.inputs, " numbers, ", environment.name(),
       " tells ", there);
}

class ClosedLoop {
 public:
  ClosedLoop(Context& ctx, const LockStep& how, std::span<const EvalCase> cases)
      : ctx_(ctx),
        model_(how.player.model),
        protocol_(how.protocol),
        options_(how.options),
        cases_(cases),
        scale_{how.player.statistics.action_mean, how.player.statistics.action_std},
        batch_(options_.environment, static_cast<i64>(cases.size())),
        count_(static_cast<i64>(cases.size())),
        dim_(model_.config().latent()),
        height_(cases[0].frame.height),
        width_(cases[0].frame.width),
        camera_(batch_[0], height_, width_),
        film_camera_(batch_[0], options_.film_side, options_.film_side),
        own_noise_(protocol_.seed),
        dynamics_(static_cast<std::size_t>(protocol_.plan.history_len)),
        planner_(make_planner(ctx, choice_for(ctx, protocol_, options_),
                              {.environments = count_,
                               .horizon = protocol_.plan.horizon,
                               .action_dim = model_.config().action.input},
                              scale_, options_.noise != nullptr ? *options_.noise : own_noise_)),
        named_planner_(*planner_, cases),
        policy_(protocol_.plan, count_, batch_[0].action_dim(), scale_, named_planner_),
        judges_(cases.size(), Judge(protocol_.criterion)) {
    frames_ = Tensor(DType::uint8, {count_, batch_[0].frame_height(), batch_[0].frame_width(), 3});
    pictures_ = Tensor(DType::uint8, {count_, height_, width_, 3});
    const lewm::EncoderConfig& encoder = model_.config().encoder;
    if (encoder.of_vectors()) {
      numbers_ = numbers_of(batch_[0], encoder.vector);
      reader_.emplace(model_, count_);
      vectors_ = Tensor::zeros<float>({count_, encoder.vector.inputs});
    } else {
      eye_.emplace(ctx, model_, height_, width_, count_);
    }
    // frames of the past and the present, one after the other
    latents_ = Placed<float>(ctx, protocol_.plan.history_len * count_ * dim_);
    prefixes_ = Placed<float>(ctx, protocol_.plan.history_len * model_.config().action.input);
    goals_there_ = Placed<float>(ctx, count_ * dim_);
    records_.resize(cases.size());
    // on a device watching copies every iteration to the host: only for reports
    if (ctx.device() != Device::cpu && !options_.films) return;
    planner_->set_trace(&traces_);
    auto* search = dynamic_cast<Search*>(planner_.get());
    times_groups_ = search != nullptr;
    if (!times_groups_) return;
    search->observe([this](const SearchIteration<float>& iteration) { watch(iteration); });
  }

  std::vector<EpisodeRecord> run(FunctionRef<void(i64 step, i64 solved)> told) {
    set_up();
    play(told);
    compare_with_what_came();
    play_at_random();
    return std::move(records_);
  }

 private:
  EpisodeRecord& episode(i64 e) { return records_[static_cast<std::size_t>(e)]; }
  const EvalCase& case_of(i64 e) const { return cases_[static_cast<std::size_t>(e)]; }
  std::vector<double> state_of(i64 e) const {
    std::vector<double> state(static_cast<std::size_t>(batch_[e].state_dim()));
    batch_[e].state(state);
    return state;
  }

  // what the model sees of all environments: pictures_ or vectors_
  const Tensor& seen() const { return reader_ ? vectors_ : pictures_; }

  // the numbers that environment e shows now, of a model that sees them
  void look_at_numbers(i64 e) {
    if (!reader_) return;
    info_.resize(static_cast<std::size_t>(batch_[e].info_width()));
    batch_[e].info(info_);
    const auto from = info_.begin() + numbers_;
    std::transform(from, from + vectors_.size(1), &vectors_.view<float, 2>()(e, 0),
                   [](double value) { return static_cast<float>(value); });
  }

  // rows of what was seen to latents where the context works
  void look(const Tensor& seen, i64 first, i64 last, View<float, 2> latents) {
    if (reader_) {
      reader_->read(ctx_, seen.view<float, 2>().slice(0, first, last), latents);
    } else {
      eye_->look(ctx_, seen.view<u8, 4>().slice(0, first, last), latents);
    }
  }

  void place(i64 e) {
    const EvalCase& one = case_of(e);
    batch_[e].reset(mix(protocol_.seed, static_cast<u64>(one.index)));
    batch_[e].set_state(one.state);
    batch_[e].set_goal_state(one.goal_state);
  }

  // environments at their starts; pictures_ hold the recording's first frames, goals_ the goals'
  // latents
  void set_up() {
    const auto pictures = pictures_.view<u8, 4>();
    const auto put = [&](i64 e, const Image& image) {
      check(image.height == height_ && image.width == width_,
            "evaluation: recorded pictures differ in size, ", image.height, " x ", image.width,
            " and ", height_, " x ", width_);
      std::memcpy(&pictures(e, 0, 0, 0), image.rgb.data(), image.rgb.size());
    };
    for (i64 e = 0; e < count_; ++e) {
      if (reader_) {
        batch_[e].reset(mix(protocol_.seed, static_cast<u64>(case_of(e).index)));
        batch_[e].start_at(case_of(e).goal_state, case_of(e).goal_state);
        look_at_numbers(e);
      }
      place(e);
      const Step at_start = batch_[e].measure();
      EpisodeRecord& record = episode(e);
      record.index = case_of(e).index;
      record.start = case_of(e).start;
      record.already_solved = at_start.terminated;
      record.distances.push_back(at_start.distance);
      record.states.push_back(state_of(e));
      put(e, case_of(e).goal);
    }
    const double begin = now_s();
    goals_ = latents_of(seen(), goals_there_);
    look_ms_ = 1e3 * (now_s() - begin) / static_cast<double>(count_);  // a goal is encoded once
    for (i64 e = 0; e < count_; ++e) {
      put(e, case_of(e).frame);
      look_at_numbers(e);
    }
    keep_block_frames();
    if (options_.films) {
      batch_.render(ctx_, frames_.view<u8, 4>());
      for (i64 e = 0; e < count_; ++e) {
        episode(e).film.push_back(film_camera_.take(frames_.view<u8, 4>()[e]));
        episode(e).goal = {
            options_.film_side, options_.film_side,
            resize_bilinear_u8(case_of(e).goal.view(), options_.film_side, options_.film_side)};
      }
    }
  }

  void play(FunctionRef<void(i64 step, i64 solved)> told) {
    const i64 action_dim = batch_[0].action_dim();
    Tensor actions = Tensor::zeros<float>({count_, action_dim});
    std::vector<Step> steps(static_cast<std::size_t>(count_));
    std::vector<u8> active(static_cast<std::size_t>(count_), 1);
    i64 solved = 0;
    for (i64 step = 0; step < protocol_.budget && solved < count_; ++step) {
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
        if (outcome.terminated && record.reached_at < 0) record.reached_at = step + 1;
        camera_.take(frames_.view<u8, 4>()[e], pictures_.view<u8, 4>()[e]);
        look_at_numbers(e);
        if (options_.films) record.film.push_back(film_camera_.take(frames_.view<u8, 4>()[e]));
        if (judges_[static_cast<std::size_t>(e)].succeeded(batch_[e], outcome)) {
          record.success = true;
          active[static_cast<std::size_t>(e)] = 0;
          policy_.finish(e);
          ++solved;
        }
      }
      if ((step + 1) % protocol_.plan.action_block == 0) keep_block_frames();
      told(step + 1, solved);
    }
  }

  // Frames that a plan at the present step looks back on: 1 at the start of an episode, then one
  // more with every block that was carried out, up to the history asked for. All who play are of
  // the same age.
  i64 history_now() const {
    return std::min(protocol_.plan.history_len, 1 + step_ / protocol_.plan.action_block);
  }

  // Made when first needed: a plan with a short past is another problem than one with a long one.
  lewm::GoalDynamics& dynamics_of(i64 history) {
    auto& dynamics = dynamics_[static_cast<std::size_t>(history - 1)];
    if (!dynamics) {
      dynamics = std::make_unique<lewm::GoalDynamics>(
          ctx_, model_,
          lewm::GoalDynamics::Sizes{
              .environments = count_,
              .samples = planner_->samples(),
              .horizon = protocol_.plan.horizon,
              .history = history,
              .gradients = planner_->needs_gradients(),
          },
          protocol_.objective, lewm::constraints_of(protocol_.planner.descent.limits));
    }
    return *dynamics;
  }

  // environments `who` need a plan: encode what they show and showed
  Dynamics& observe(std::span<const i64> who) {
    const i64 history = history_now();
    lewm::GoalDynamics& dynamics = dynamics_of(history);
    who_.assign(who.begin(), who.end());
    dynamics.begin(static_cast<i64>(who.size()));
    const auto latents = latents_.view<3>({count_, history, dim_});
    const auto newest = static_cast<i64>(block_seen_.size()) - 1;
    for (std::size_t i = 0, end = 0; i < who.size(); i = end) {
      // neighbours are looked at together, unless they have a past
      const double begin = now_s();
      end = i + 1;
      while (history == 1 && end < who.size() && who[end] == who[end - 1] + 1) ++end;
      const i64 first = who[i], last = who[end - 1] + 1;
      for (i64 frame = 0; frame < history; ++frame) {
        const i64 block = newest - (history - 1 - frame);
        const View<float, 2> into(latents[first][frame].data(), {last - first, dim_});
        look(block_seen_[static_cast<std::size_t>(block)], first, last, into);
      }
      for (std::size_t k = i; k < end; ++k) {
        const i64 e = who[k];
        dynamics.observe(static_cast<i64>(k), latents[e], past_blocks(e, history),
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
    return dynamics;
  }

  // the blocks of actions between the frames, [history - 1, A], where the context works
  View<const float, 2> past_blocks(i64 e, i64 history) {
    if (history == 1) return {};
    const i64 width = model_.config().action.input;
    const auto past = policy_.past_actions(e);
    const auto count = static_cast<std::size_t>((history - 1) * width);
    ORRERY_ASSERT(static_cast<std::size_t>(past.numel()) >= count);
    prefixes_.set({past.data() + past.numel() - static_cast<i64>(count), count});
    return prefixes_.view<2>({history - 1, width});
  }

  // one iteration of one group of environments is over: where they are planned for one by one,
  // each has a time of its own
  void watch(const SearchIteration<float>& iteration) {
    const i64 group = iteration.figures.size(0);
    const double elapsed_ms = 1e3 * (now_s() - since_) / static_cast<double>(group);
    for (i64 i = 0; i < group; ++i) {
      const auto e = who_[static_cast<std::size_t>(iteration.first_environment + i)];
      episode(e).plans.back().plan_ms += elapsed_ms;
    }
    since_ = now_s();
  }

  // after plans were made: what they expect to see
  void imagine() {
    if (who_.empty()) return;
    const double untimed_ms =
        times_groups_ ? 0.0 : 1e3 * (now_s() - since_) / static_cast<double>(who_.size());
    const i64 history = history_now(), horizon = protocol_.plan.horizon;
    lewm::GoalDynamics& dynamics = dynamics_of(history);
    std::vector<float> all(static_cast<std::size_t>((history + horizon) * dim_));
    for (std::size_t i = 0; i < who_.size(); ++i) {
      const i64 e = who_[i];
      dynamics.imagine(ctx_, static_cast<i64>(i), policy_.last_plan(e),
                       View<float, 2>(all.data(), {history + horizon, dim_}));
      Imagination imagination;
      imagination.environment = e;
      imagination.plan = episode(e).plans.size() - 1;
      imagination.step = step_;
      imagination.latents.assign(all.begin() + history * dim_, all.end());
      const View<const float, 2> latents(imagination.latents.data(), {horizon, dim_});
      PlanRecord& plan = episode(e).plans.back();
      plan.plan_ms += untimed_ms;
      if (!traces_.empty()) plan.trace = std::move(traces_[i]);
      plan.cost = static_cast<double>(policy_.last_cost(e));
      for (i64 block = 0; block < horizon; ++block) {
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

  // what is seen at a boundary between blocks: what later plans look back on, and what imagined
  // latents are compared with afterwards
  void keep_block_frames() { block_seen_.push_back(seen().clone()); }

  // Surprise: imagined against seen latents at the block boundaries that were reached; and the
  // recorded frames that look most like what was imagined.
  void compare_with_what_came() {
    std::vector<Tensor> seen;
    for (const Tensor& one : block_seen_) seen.push_back(latents_of(one, latents_));
    const i64 block_steps = protocol_.plan.action_block;
    for (const Imagination& imagination : imaginations_) {
      EpisodeRecord& record = episode(imagination.environment);
      PlanRecord& plan = record.plans[imagination.plan];
      const View<const float, 2> imagined(imagination.latents.data(),
                                          {protocol_.plan.horizon, dim_});
      for (i64 block = 1; block <= protocol_.plan.horizon; ++block) {
        const i64 step = imagination.step + block * block_steps;
        const auto expected = row(imagined, block - 1);
        if (block <= protocol_.plan.receding_horizon && step <= record.steps) {
          const Tensor& there = seen[static_cast<std::size_t>(step / block_steps)];
          plan.surprise.push_back(static_cast<float>(
              squared_distance(expected, row(there.view<float, 2>(), imagination.environment))));
        }
        if (options_.shown_as != nullptr) {
          plan.nearest.push_back(nearest(options_.shown_as->latents, expected));
        }
      }
    }
  }

  // of all that was seen, by way of memory where the context works
  Tensor latents_of(const Tensor& seen, Placed<float>& there) {
    Tensor latents = Tensor::zeros<float>({count_, dim_});
    look(seen, 0, count_, there.view<2>({count_, dim_}));
    there.get({latents.data<float>(), static_cast<std::size_t>(latents.numel())});
    return latents;
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
      const auto name = static_cast<u64>(case_of(e).index);
      Judge judge = Judge(protocol_.criterion);
      std::array<float, 64> action = {};
      for (i64 step = 0; step < protocol_.budget && !episode(e).random_success; ++step) {
        const std::span<float> chosen(action.data(), static_cast<std::size_t>(action_dim));
        random->act(batch_[e], name, static_cast<u64>(step), chosen);
        const Step outcome = batch_[e].step(chosen);
        episode(e).random_success = judge.succeeded(batch_[e], outcome);
      }
    });
  }

  Context& ctx_;
  const lewm::Model& model_;
  const Protocol& protocol_;
  const EvaluateOptions& options_;
  std::span<const EvalCase> cases_;
  ActionScale scale_;
  EnvironmentBatch batch_;
  i64 count_, dim_, height_, width_;
  std::optional<lewm::Eye> eye_;  // one of the two is there
  std::optional<lewm::VectorReader> reader_;
  i64 numbers_ = 0;           // where the reader's numbers begin among the environment's
  std::vector<double> info_;  // all of them, of one environment
  Camera camera_, film_camera_;
  CounterNoise own_noise_;
  std::vector<std::unique_ptr<lewm::GoalDynamics>> dynamics_;  // for 1, 2, ... frames of history
  std::unique_ptr<Planner> planner_;
  NamedPlanner named_planner_;
  RecedingHorizonPolicy policy_;
  std::vector<Judge> judges_;

  Tensor frames_;                   // [n, env height, env width, 3] as drawn
  Tensor pictures_;                 // [n, height, width, 3] as the model sees them
  Placed<float> latents_;           // [n, history, D] of what plans look at
  Placed<float> prefixes_;          // [history - 1, A] of one environment
  Placed<float> goals_there_;       // [n, D]
  Tensor goals_;                    // the same for the host
  Tensor vectors_;                  // [n, numbers] in their place
  std::vector<Tensor> block_seen_;  // what is seen at every block boundary
  std::vector<Imagination> imaginations_;
  std::vector<i64> who_;  // environments being planned for
  i64 step_ = 0;
  std::vector<PlanTrace> traces_;  // of who_
  bool times_groups_ = false;      // every group of environments that is planned for together
  double since_ = 0;
  double look_ms_ = 0;
  std::vector<EpisodeRecord> records_;
};

}  // namespace

std::vector<EpisodeRecord> play_in_lock_step(Context& ctx, const LockStep& how,
                                             std::span<const EvalCase> cases,
                                             FunctionRef<void(i64 step, i64 solved)> told) {
  return ClosedLoop(ctx, how, cases).run(told);
}

}  // namespace orrery
