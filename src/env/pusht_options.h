#pragma once

#include <string_view>

#include "env/pusht_draw.h"
#include "env/pusht_world.h"

namespace orrery {

// The variants of PushT that data sets and papers use.
enum class PushTVariant {
  relative,   // stable-worldmodel's swm/PushT-v1: actions of [-1, 1] move the target by up to 100
              // pixels from the agent; the goal is a state of 7 numbers
  discrete,   // the same with actions of two bins: 16 distances up to 1, 16 directions
  absolute,   // gym-pusht and Diffusion Policy: actions are points of the canvas; the goal is a
              // pose that the block covers by more than 95 %
  keypoints,  // the same with key points for the block's pose
  dino,       // DINO-WM: the relative variant in float32, reset by NumPy's old generator
};

// How numbers and pictures are made where published versions differ.
struct PushTOptions {
  PushTVariant variant = PushTVariant::relative;
  int size = 224;  // of frames: 96, 224, 512, 680
  // absolute and keypoints set the block's position before its angle, as gym-pusht does
  pusht::PoseOrder order = pusht::PoseOrder::angle_first;
  // set_state leaves the block the velocity and contacts it had, as the published environment does:
  // then the same state can move on differently. Otherwise every set_state is a fresh start.
  bool keeps_motion = false;
  bool draws_goal = true;
  bool draws_action = false;  // a cross at the target of the last step, as gym-pusht's large view
  // of relative actions
  pusht::Control control = pusht::Control::float64;
  pusht::PolygonRule polygons = pusht::PolygonRule::integer;
};

// "pusht", "pusht-discrete", "pusht-absolute", "pusht-keypoints", "pusht-dino", each with its own
// defaults, followed by ':' and options with commas between where those shall differ:
//   size=96|224|512|680  order=angle|position  motion=kept|none  goal=drawn|hidden
//   action=drawn|hidden  control=float32|float64  polygons=integer|real
// An unknown option is an error that lists the known ones.
PushTOptions pusht_options(std::string_view name);

// the name without options
std::string_view pusht_name(PushTVariant variant);

}  // namespace orrery
