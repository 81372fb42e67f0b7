#pragma once

#include <vector>

#include "train/batches.h"
#include "train/step.h"

namespace orrery::train {

struct ValidationReport {
  LossValues losses;          // of held-out windows, in inference form, mean over batches
  double latent_std = 0;      // standard deviation of a latent's numbers, mean over them
  double effective_rank = 0;  // participation ratio of the covariance: trace(C)^2 / ||C||_F^2, 1..D
};

// How latents lie: as in ValidationReport.
struct LatentSpread {
  double std = 0;
  double effective_rank = 0;
};

// Sums for mean and covariance of vectors, in double.
class Covariance {
 public:
  explicit Covariance(i64 width);
  void add(View<const float, 2> rows);
  // becomes that of the rows of all processes
  void add_up(BatchSums& sums);
  std::vector<double> stds() const;  // of each number, population
  double mean_std() const;
  double participation_ratio() const;

 private:
  double covariance(i64 i, i64 j) const;
  i64 width_;
  double rows_ = 0;
  std::vector<double> sums_, products_;
};

// Batches 0 .. batches-1 of the source through the model with running statistics and without
// dropout. The directions are those of `seed` and step 0, so that reports compare. With a share the
// batches are the whole ones, and every process gets the same report. steady
ValidationReport validate(Context& ctx, const LossSettings& settings, u64 seed, i64 batches,
                          BatchSource& source, lewm::Weights& weights, lewm::TrainingState& state,
                          LossState& losses, const BatchShare& share = {});

// SIGReg's directions of an optimiser step. exact
void draw_directions(u64 seed, i64 step, View<float, 2> directions);

}  // namespace orrery::train
