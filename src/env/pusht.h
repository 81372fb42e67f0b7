#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "env/environment.h"
#include "env/pusht_draw.h"
#include "env/pusht_options.h"
#include "env/pusht_world.h"

namespace orrery {

// PushT: an agent pushes a block on a square of 512 x 512 pixels (see pusht::World), drawn by
// pusht::Painter.
//
// State: agent x, y, block x, y, block angle in [0, 2 pi), agent velocity x, y; without the
// velocity in the absolute variants. Setting a state makes one engine step of 0.01 s, as in the
// published environments: the agent goes on for that long and overlaps begin to be resolved.
//
// A step is 0.1 s. Relative variants: reached when |goal - state| over agent and block position
// together is below 20 pixels and the angles differ by less than pi / 9, up to the block's
// symmetry; distance is |goal - state| over all 7 numbers, reward its negative. Absolute variants:
// coverage c of the goal pose, reached when c > 0.95, reward min(c / 0.95, 1), distance 1 - c. The
// dino variant: reached and distance as relative, reward as absolute.
//
// Actions have no limits of their own; targets are cut at 1e5 pixels.
//
// steady: the same bits with the same build of the engine
class PushT final : public Environment {
 public:
  explicit PushT(const PushTOptions& options = {});

  std::string_view name() const override;
  i64 action_dim() const override { return 2; }
  i64 state_dim() const override { return absolute() ? 5 : 7; }
  i64 frame_height() const override { return options_.size; }
  i64 frame_width() const override { return options_.size; }
  const PushTOptions& options() const { return options_; }

  // Start positions and angle are factors; for the absolute and dino variants, unless they are
  // given or asked to be drawn, those of NumPy's RandomState(seed mod 2^32): agent randint(50,
  // 450), block randint(100, 400), angle randn * 2 pi - pi. The goal state of the relative variants
  // is drawn from the ranges of the start.
  void reset(u64 seed, const ResetOptions& options = {}) override;
  std::span<const Factor> factors() const override { return variation_.factors(); }
  std::span<const double> factor_value(std::string_view name) const override;

  void set_state(std::span<const double> state) override;
  // absolute variants: the block's part is the goal pose, in the pictures too
  void set_goal_state(std::span<const double> state) override;
  // With keeps_motion: the published reset, which makes a world, visits the goal for its picture
  // and then goes to the start; a goal in contact leaves the block moving.
  void start_at(std::span<const double> state, std::span<const double> goal) override;
  void state(std::span<double> out) const override;
  void goal_state(std::span<double> out) const override;
  DType state_dtype() const override {
    return options_.variant == PushTVariant::dino ? DType::f32 : DType::f64;
  }

  Step step(std::span<const float> action) override;
  Step measure() const override;

  void render(View<u8, 3> frame) const override;
  void render_goal(View<u8, 3> frame) const override;
  void render_state(std::span<const double> state, View<u8, 3> frame) const override;

  std::span<const InfoColumn> info_columns() const override { return columns_; }
  void info(std::span<double> out) const override;

  void random_action(std::span<float> action) const override;
  // the target kept within 100 pixels of the block, per axis
  bool weak_action(std::span<float> action) const override;
  // The action that aims at a point: within [-1, 1] for relative actions, the nearest bin for
  // discrete ones.
  void action_towards(const pusht::Point& target, std::span<float> action) const;

  // Points of contact, summed over the engine steps of the last step or set_state.
  int contact_points() const { return world_->contact_points(); }
  // The block's angle as it is, not wrapped.
  double block_angle() const { return world_->state().block_angle; }
  // Of the block's pose and the drawn goal pose.
  double coverage() const;

 private:
  class Factors final : public Variation {
   public:
    Factors();
  };

  static std::vector<InfoColumn> columns_of(PushTVariant variant);
  bool absolute() const {
    return options_.variant == PushTVariant::absolute ||
           options_.variant == PushTVariant::keypoints;
  }
  bool reset_by_numpy() const { return absolute() || options_.variant == PushTVariant::dino; }
  pusht::World make_world() const;
  pusht::WorldState checked_state(const char* what, std::span<const double> state) const;
  void draw_goal_state(u64 seed);
  void start_world(const pusht::WorldState& start);
  void update_look();
  pusht::Point unit_target(std::span<const float> action) const;
  pusht::Point target_of(std::span<const float> action) const;
  void render_world(const pusht::World& world, View<u8, 3> frame) const;

  PushTOptions options_;
  std::vector<InfoColumn> columns_;
  Factors variation_;
  pusht::BodyShape agent_shape_;
  pusht::BodyShape block_shape_;
  std::unique_ptr<pusht::World> world_;
  std::optional<pusht::Point>
      target_;  // of the last step; none after a reset or a state that is set
  // of the last reset, in full precision
  std::array<double, 2> start_agent_ = {};
  std::array<double, 2> start_block_ = {};
  std::array<double, 1> start_angle_ = {};
  std::array<double, 7> goal_ = {};
  pusht::Point goal_position_;  // of the drawn goal,
  double goal_angle_ = 0;

  // drawing changes nothing that anyone can see
  mutable pusht::Painter painter_;
  mutable std::vector<pusht::DrawnShape> shapes_;
  mutable std::vector<pusht::ContactMark> marks_;
};

}  // namespace orrery
