#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "env/environment.h"
#include "io/npz.h"
#include "reset_options.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

// frames are kept in memory until the file is written
constexpr i64 kMaxFrameBytes = i64{8} << 30;

struct Options {
  std::string environment = "tworoom";
  std::string actions;
  std::string output;
  ResetArguments reset;
  u64 seed = 0;
  i64 frames = 0;
  bool json = false;
};

// state or goal of the input, when it is there
std::optional<Tensor> state_of(const TensorMap& input, const char* key, i64 dim) {
  const auto found = input.find(key);
  if (found == input.end()) return std::nullopt;
  check(found->second.numel() == dim, key, " has shape ", found->second.shape(), ", ", dim,
        " numbers are needed");
  return found->second.converted(DType::f64);
}

// steps [0, last] to draw: all of them for -1, else n spread evenly, the last always among them
std::vector<i64> steps_to_draw(i64 n, i64 last) {
  check(n >= -1, "--frames is a number of frames, or -1 for all; ", n, " was given");
  std::vector<i64> steps;
  const i64 count = n < 0 ? last + 1 : std::min(n, last + 1);
  for (i64 i = 0; i < count; ++i) {
    steps.push_back(count == 1 ? last : (i * last + (count - 1) / 2) / (count - 1));
  }
  return steps;
}

void run(const Options& options) {
  const TensorMap input = read_npz(options.actions);
  const auto found = input.find("actions");
  check(found != input.end(), options.actions, " has no array 'actions'");
  const auto environment = make_environment(options.environment);
  const i64 action_dim = environment->action_dim();
  const i64 state_dim = environment->state_dim();
  check(found->second.rank() == 2 && found->second.size(1) == action_dim, "actions have shape ",
        found->second.shape(), ", (steps, ", action_dim, ") is needed by ", options.environment);
  const Tensor actions = found->second.converted(DType::f32);
  const i64 steps = actions.size(0);

  environment->reset(options.seed, options.reset.parse());
  const auto start = state_of(input, "state", state_dim);
  const auto given_goal = state_of(input, "goal", state_dim);
  if (start && given_goal) {
    environment->start_at(start->span<double>(), given_goal->span<double>());
  } else if (start) {
    environment->set_state(start->span<double>());
  } else if (given_goal) {
    environment->set_goal_state(given_goal->span<double>());
  }

  const std::vector<i64> drawn = steps_to_draw(options.frames, steps);
  const i64 height = environment->frame_height();
  const i64 width = environment->frame_width();
  const i64 frame_bytes = height * width * 3;
  check(static_cast<i64>(drawn.size()) <= kMaxFrameBytes / frame_bytes, drawn.size(),
        " frames were asked for, at most ", kMaxFrameBytes / frame_bytes, " are kept");
  Tensor frames(DType::uint8, {static_cast<i64>(drawn.size()), height, width, 3});
  Tensor goal_frame(DType::uint8, {height, width, 3});
  environment->render_goal(goal_frame.view<u8, 3>());

  Tensor states(DType::f64, {steps + 1, state_dim});
  Tensor distances(DType::f64, {steps + 1});
  Tensor terminated(DType::boolean, {steps + 1});
  Step step = environment->measure();
  std::size_t next = 0;  // of drawn
  i64 reached_at = -1;
  for (i64 t = 0; t <= steps; ++t) {
    if (t > 0) {
      const float* action = actions.data<float>() + (t - 1) * action_dim;
      step = environment->step({action, static_cast<std::size_t>(action_dim)});
    }
    environment->state(
        {states.data<double>() + t * state_dim, static_cast<std::size_t>(state_dim)});
    distances.data<double>()[t] = step.distance;
    terminated.data<bool>()[t] = step.terminated;
    if (step.terminated && reached_at < 0) reached_at = t;
    if (next < drawn.size() && drawn[next] == t) {
      environment->render(frames.view<u8, 4>()[static_cast<i64>(next)]);
      ++next;
    }
  }

  Tensor goal(DType::f64, {state_dim});
  environment->goal_state({goal.data<double>(), static_cast<std::size_t>(state_dim)});
  TensorMap output;
  output.emplace("states", states.converted(environment->state_dtype()));
  output.emplace("goal", goal.converted(environment->state_dtype()));
  output.emplace("distances", std::move(distances));
  output.emplace("terminated", std::move(terminated));
  output.emplace("goal_frame", std::move(goal_frame));
  if (!drawn.empty()) {
    output.emplace("frames", std::move(frames));
    output.emplace("frame_steps",
                   Tensor::of<i64>({static_cast<i64>(drawn.size())}, std::span(drawn)));
  }
  const double last_distance = step.distance;
  write_npz(options.output, output);
  if (options.json) {
    const nlohmann::json object = {{"env", options.environment}, {"steps", steps},
                                   {"success", reached_at >= 0}, {"reached_at", reached_at},
                                   {"distance", last_distance},  {"frames", drawn.size()},
                                   {"output", options.output}};
    std::cout << object.dump() << "\n";
  } else {
    std::cout << steps << " steps, ";
    if (reached_at >= 0) {
      std::cout << "goal reached at step " << reached_at;
    } else {
      std::cout << "goal not reached, distance " << last_distance;
    }
    std::cout << "\n";
  }
}

}  // namespace

void add_simulate(CLI::App& app, int&) {
  auto* verb = app.add_subcommand("simulate", "replay given actions in an environment");
  const auto options = std::make_shared<Options>();
  verb->add_option("--env", options->environment,
                   "tworoom, pusht or another variant of it, with its options after a colon")
      ->capture_default_str();
  verb->add_option("--actions", options->actions,
                   "npz with actions (steps, action size), and state and goal if not the seed's")
      ->required();
  verb->add_option("--output", options->output,
                   "npz to make: states, goal, distances, terminated, goal_frame, frames, "
                   "frame_steps")
      ->required();
  verb->add_option("--frames", options->frames,
                   "frames to keep, spread evenly over the steps and with the last; -1: all")
      ->capture_default_str();
  verb->add_option("--seed", options->seed, "of the reset")->capture_default_str();
  verb->add_flag("--json", options->json, "print one JSON object");
  options->reset.add_to(*verb);
  verb->callback([options] { run(*options); });
}

}  // namespace orrery::cli
