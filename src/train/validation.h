#pragma once

#include <vector>

#include "train/batches.h"
#include "train/feeder.h"
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

// What is validated: weights, with the memory of a pass and of the losses.
struct Examined {
  const lewm::Config& config;
  const lewm::Tensors& tensors;  // where the context works, as all that follows
  lewm::TrainingState& state;
  LossState& losses;
  Feeder& feeder;
};

// Batches 0 .. batches-1 of the source through the model with running statistics and without
// dropout. The directions are those of `seed` and step 0, so that reports compare. With a share the
// batches are the whole ones, and every process gets the same report; `host` then adds up what lies
// on the host. steady
ValidationReport validate(Context& ctx, const LossSettings& settings, u64 seed, i64 batches,
                          BatchSource& source, const Examined& examined,
                          const BatchShare& share = {}, BatchSums* host = nullptr);

// What a covariance is taken of, on the host: rows that lie where the context works.
std::vector<float> rows_from(Context& ctx, View<const float, 3> latents);

// SIGReg's directions of an optimiser step: the stream they are drawn from, and the draws, on the
// host. exact
u64 directions_stream(i64 step);
void draw_directions(u64 seed, i64 step, View<float, 2> directions);

}  // namespace orrery::train
