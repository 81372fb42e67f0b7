#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "env/environment.h"
#include "env/tworoom_draw.h"

namespace orrery {

// Two rooms, a wall with one to three doors between them, and an agent drawn as a soft dot: the
// TwoRoom environment of stable-worldmodel, in float32 as there. The state is the agent's position
// (x, y) in pixels of the 224 x 224 picture.
//
// A step: a = clamp(action, -1, 1), position + a * speed, held inside [14 + r, 210 - r] on both
// axes. Who started on one side of the wall's middle and would end beyond wall edge - r on that
// side, outside every door, is put half a pixel before that edge: only the end point counts.
// Terminated when the target is nearer than 16 pixels.
//
// exact
class TwoRoom final : public Environment {
 public:
  TwoRoom();

  std::string_view name() const override { return "tworoom"; }
  i64 action_dim() const override { return 2; }
  i64 state_dim() const override { return 2; }

  void reset(u64 seed, const ResetOptions& options = {}) override;
  std::span<const Factor> factors() const override { return variation_.factors(); }
  std::span<const double> factor_value(std::string_view name) const override {
    return variation_.value(variation_.index_of(name));
  }

  void set_state(std::span<const double> state) override;
  void set_goal_state(std::span<const double> state) override;
  void state(std::span<double> out) const override;
  void goal_state(std::span<double> out) const override;
  DType state_dtype() const override { return DType::f32; }

  Step step(std::span<const float> action) override;
  Step measure() const override;

  void render(View<u8, 3> frame) const override;
  void render_goal(View<u8, 3> frame) const override;
  void render_state(std::span<const double> state, View<u8, 3> frame) const override;

  std::span<const InfoColumn> info_columns() const override;
  void info(std::span<double> out) const override;

  // Unit vector towards the target, or, when it is in the other room, towards the nearest door that
  // fits until that is within 10.5 pixels; without a fitting door, towards the wall level with the
  // target.
  bool expert_action(std::span<float> action) const override;

 private:
  using Point = std::array<float, 2>;

  class Factors final : public Variation {
   public:
    Factors();

   protected:
    std::string broken(i64 factor) const override;
  };

  Point collide(const Point& from, const Point& to) const;
  bool in_a_door(float along) const;
  void draw(View<u8, 3> frame, const Point& agent) const;
  void draw_background();

  Factors variation_;
  Point agent_ = {};
  Point target_ = {};

  // what the factors say, as the physics and the drawing use it
  tworoom::Look look_;
  float radius_ = 7;
  float speed_ = 5;
  bool shows_target_ = false;

  // the room as it stands, with the target if that is drawn; only the agent moves
  std::vector<u8> background_;
  tworoom::Look drawn_look_;
  bool drawn_target_ = false;
};

}  // namespace orrery
