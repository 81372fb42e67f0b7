#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "device/context.h"
#include "models/lewm/side_head.h"

namespace orrery::lewm {

// How far it is from one latent to another, in time: learned from which frames follow each other
// in recordings.
//
//   d(a, b) = head([a; b; |a - b|]),   about min(blocks from a to b, largest gap) / largest gap
//
// head: Linear 3D -> hidden, LayerNorm, GELU, Linear -> 1. Not clipped: a planner wants a slope
// everywhere. A model folder keeps it as distance_head.safetensors and distance_head.json, beside
// files that it leaves as they are.
class DistanceHead {
 public:
  struct Sizes {
    i64 latent = 192;
    i64 hidden = 256;
    i64 largest_gap = 20;  // blocks
  };
  explicit DistanceHead(const Sizes& sizes);

  const Sizes& sizes() const { return sizes_; }
  // to learn with; arrange() once it has learned
  SideHead& head() { return head_; }
  const SideHead& head() const { return head_; }
  void arrange();

  // from_goal[h]: what the goal alone adds to the hidden units. [hidden]
  void begin_goal(const float* goal, float* from_goal) const;
  // d(latent, goal); hidden [2 hidden] is scratch. tolerant: f32 sums over 3D and hidden
  float distance(const float* latent, const float* goal, const float* from_goal,
                 float* hidden) const;
  // d(latent, goal), and slope += factor * d distance / d latent; hidden [3 hidden] is scratch
  float add_slope(const float* latent, const float* goal, const float* from_goal, float factor,
                  float* hidden, float* slope) const;

 private:
  // the hidden units before the norm, then normed; returns 1 / deviation
  float hidden_units(const float* latent, const float* goal, const float* from_goal,
                     float* hidden) const;

  Sizes sizes_;
  SideHead head_;
  std::vector<float> by_input_;  // [3D, hidden], the first matrix turned
};

// [latent; goal; |latent - goal|] into 3 width floats
void pair_of(const float* latent, const float* goal, i64 width, float* pair);

void write_distance_head(const std::filesystem::path& folder, const DistanceHead& head);
// Error when the files are missing, or are for latents of another width than `latent`.
DistanceHead read_distance_head(const std::filesystem::path& folder, i64 latent);

}  // namespace orrery::lewm
