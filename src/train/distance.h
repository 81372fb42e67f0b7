#pragma once

#include "data/episodes.h"
#include "models/lewm/distance_head.h"
#include "models/lewm/model.h"

namespace orrery::train {

// How a distance head is learned from recordings, after the model and without touching it: frames
// are encoded once, pairs of latents drawn, and the head learns
//
//   mean (d(z_a, z_b) - min(blocks from a to b, largest gap) / largest gap)^2
//
// b follows a in its episode by a gap drawn uniformly from 0 to largest_gap blocks of frameskip
// rows, where the episode goes on for so long; a share of the pairs is of two episodes and counts
// as the largest gap.
struct DistanceSettings {
  i64 steps = 3000;
  i64 batch = 512;
  i64 hidden = 256;
  i64 largest_gap = 20;  // blocks
  double others = 0.1;   // share of pairs of two episodes
  double lr = 1e-3;
  double weight_decay = 1e-3;
  double validation_fraction = 0.1;  // of the episodes
  u64 seed = 3072;
};

// Of held-out episodes.
struct DistanceReport {
  i64 latents = 0;
  double error = 0;                    // mean |d - gap| of pairs of one episode, in blocks
  double rank_correlation = 0;         // Spearman's, of d and the gap
  double latent_rank_correlation = 0;  // of the squared latent distance and the gap, to compare
};

class DistanceObserver {
 public:
  virtual ~DistanceObserver() = default;
  virtual void encoded(i64 /*frames*/, i64 /*of*/) {}
  virtual void stepped(i64 /*step*/, i64 /*of*/, double /*loss*/) {}
};

// steady for a given number of threads or any other. Error: no pixels, frames of another size than
// the model's, fewer than two episodes, episodes shorter than two blocks.
lewm::DistanceHead learn_distance(Context& ctx, const lewm::Model& model, const Episodes& episodes,
                                  i64 frameskip, const DistanceSettings& settings,
                                  DistanceReport& report, DistanceObserver& observer);

}  // namespace orrery::train
