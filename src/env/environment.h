#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "env/variation.h"
#include "tensor/dtype.h"
#include "tensor/view.h"

namespace orrery {

// What a step told.
struct Step {
  bool terminated = false;  // the goal is reached
  double reward = 0;
  double distance = 0;  // to the goal, in the environment's own measure; smaller is nearer
};

// One of the named vectors that an environment tells beside its picture; a recording has a column
// for each.
struct InfoColumn {
  std::string name;
  std::vector<i64> shape;  // of one row; empty: a single number
  DType dtype = DType::f32;

  i64 width() const {
    i64 product = 1;
    for (const i64 size : shape) product *= size;
    return product;
  }
};

// The seam every simulator stands behind. An environment is used by one thread at a time; two never
// share anything.
//
// States pass as double, which holds the float32 numbers of TwoRoom and the doubles of PushT alike.
// What is drawn and what is simulated is exact: the same bits on every machine.
class Environment {
 public:
  virtual ~Environment() = default;

  virtual std::string_view name() const = 0;
  virtual i64 action_dim() const = 0;
  virtual i64 state_dim() const = 0;
  virtual i64 frame_height() const { return 224; }
  virtual i64 frame_width() const { return 224; }

  // Draws the factors of variation and puts everything at its start. The seed decides all of it.
  virtual void reset(u64 seed, const ResetOptions& options = {}) = 0;
  // The factors with their ranges, in sampling order, and what the last reset made of one of them.
  virtual std::span<const Factor> factors() const = 0;
  virtual std::span<const double> factor_value(std::string_view name) const = 0;

  // [state_dim] each. A state that the environment cannot be in is an error.
  virtual void set_state(std::span<const double> state) = 0;
  virtual void set_goal_state(std::span<const double> state) = 0;
  // Both at once, as a reset that is given them: what an environment does with its goal on the way
  // to its start is done here too.
  virtual void start_at(std::span<const double> state, std::span<const double> goal) {
    set_goal_state(goal);
    set_state(state);
  }
  virtual void state(std::span<double> out) const = 0;
  virtual void goal_state(std::span<double> out) const = 0;
  // The type that states are computed in, and recorded as.
  virtual DType state_dtype() const = 0;

  // action [action_dim], finite; the environment clamps as it needs
  virtual Step step(std::span<const float> action) = 0;
  // The same measures as step() returns, of the present state.
  virtual Step measure() const = 0;

  // frame [frame_height, frame_width, 3], contiguous. The goal picture shows what reaching the goal
  // looks like.
  virtual void render(View<u8, 3> frame) const = 0;
  virtual void render_goal(View<u8, 3> frame) const = 0;
  // The picture of a state as it stands, with the factors of the last reset; neither the present
  // state nor the goal changes. A recorded state and its factors give the recorded picture; an
  // Error where there is more in it than they tell.
  virtual void render_state(std::span<const double> state, View<u8, 3> frame) const = 0;

  virtual std::span<const InfoColumn> info_columns() const = 0;
  // The values of all columns, one after the other.
  virtual void info(std::span<double> out) const = 0;
  i64 info_width() const;

  // What a scripted expert would do here, before noise and clipping; false when there is no expert.
  virtual bool expert_action(std::span<float> /*action*/) const { return false; }
  // Turns a uniform draw of [-1, 1] a component into an action of the random policy, in place.
  virtual void random_action(std::span<float> /*action*/) const {}
  // Turns such a draw into an action that stays near what matters; false when there is no such
  // policy here.
  virtual bool weak_action(std::span<float> /*action*/) const { return false; }
};

// "tworoom", or a variant of "pusht" with its options (env/pusht.h); an unknown name is an error
// that lists the known ones.
std::unique_ptr<Environment> make_environment(std::string_view name);
std::vector<std::string_view> environment_names();
// The name of the same environment with frames of `side` x `side` pixels, where it draws that size;
// else the name as it is.
std::string environment_of_size(std::string_view name, i64 side);

}  // namespace orrery
