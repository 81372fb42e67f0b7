#include "train/validation.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace orrery::train {

Covariance::Covariance(i64 width)
    : width_(width),
      sums_(static_cast<std::size_t>(width)),
      products_(static_cast<std::size_t>(width * width)) {}

void Covariance::add(View<const float, 2> rows) {
  rows_ += static_cast<double>(rows.size(0));
  for (i64 r = 0; r < rows.size(0); ++r) {
    for (i64 i = 0; i < width_; ++i) {
      const double value = rows(r, i);
      sums_[static_cast<std::size_t>(i)] += value;
      // the lower half: the upper one is the same
      double* products = products_.data() + i * width_;
      for (i64 j = 0; j <= i; ++j) products[j] += value * static_cast<double>(rows(r, j));
    }
  }
}

void Covariance::add_up(BatchSums& sums) {
  // in one message
  std::vector<double> all = {rows_};
  all.insert(all.end(), sums_.begin(), sums_.end());
  all.insert(all.end(), products_.begin(), products_.end());
  sums.add_up(View<double, 1>(all.data(), {static_cast<i64>(all.size())}));
  rows_ = all[0];
  std::copy_n(all.begin() + 1, sums_.size(), sums_.begin());
  std::copy_n(all.end() - static_cast<std::ptrdiff_t>(products_.size()), products_.size(),
              products_.begin());
}

double Covariance::covariance(i64 i, i64 j) const {
  const double mean_i = sums_[static_cast<std::size_t>(i)] / rows_;
  const double mean_j = sums_[static_cast<std::size_t>(j)] / rows_;
  const i64 place = std::max(i, j) * width_ + std::min(i, j);
  return products_[static_cast<std::size_t>(place)] / rows_ - mean_i * mean_j;
}

std::vector<double> Covariance::stds() const {
  std::vector<double> result;
  for (i64 i = 0; i < width_; ++i) result.push_back(std::sqrt(std::max(0.0, covariance(i, i))));
  return result;
}

double Covariance::mean_std() const {
  double sum = 0;
  for (const double one : stds()) sum += one;
  return sum / static_cast<double>(width_);
}

double Covariance::participation_ratio() const {
  double trace = 0, square = 0;
  for (i64 i = 0; i < width_; ++i) {
    trace += covariance(i, i);
    for (i64 j = 0; j < width_; ++j) square += covariance(i, j) * covariance(i, j);
  }
  return square > 0 ? trace * trace / square : 0.0;
}

std::vector<float> rows_from(Context& ctx, View<const float, 3> latents) {
  std::vector<float> rows(static_cast<std::size_t>(latents.numel()));
  ctx.download(rows.data(), latents.data(), rows.size() * sizeof(float));
  return rows;
}

ValidationReport validate(Context& ctx, const LossSettings& settings, u64 seed, i64 batches,
                          BatchSource& source, const Examined& examined, const BatchShare& share,
                          BatchSums* host) {
  ValidationReport report;
  lewm::TrainingState& state = examined.state;
  const i64 width = state.emb().size(2);
  Covariance covariance(width);
  const View<float, 2> directions = examined.losses.directions();
  std::vector<float> drawn(static_cast<std::size_t>(directions.numel()));
  draw_directions(seed, 0, View<float, 2>(drawn.data(), directions.sizes()));
  ctx.upload(directions.data(), drawn.data(), drawn.size() * sizeof(float));
  for (i64 index = 0; index < batches; ++index) {
    examined.feeder.settle();
    const Batch batch = examined.feeder.show(source.validation_batch(index));
    forward(ctx, examined.config, examined.tensors, state, {.training = false, .share = share},
            batch);
    const LossInputs in = {.emb = state.emb(),
                           .pred = state.pred(),
                           .rolled = state.rolled(),
                           .actions = batch.actions,
                           .observations = batch.observations,
                           .share = share};
    add_to_mean(report.losses, losses(ctx, settings, in, examined.losses), index + 1);
    const std::vector<float> rows = rows_from(ctx, state.emb());
    covariance.add({rows.data(), {static_cast<i64>(rows.size()) / width, width}});
  }
  if (host != nullptr) covariance.add_up(*host);
  report.latent_std = covariance.mean_std();
  report.effective_rank = covariance.participation_ratio();
  return report;
}

u64 directions_stream(i64 step) {
  return mix(static_cast<u64>(Stream::sigreg_directions), static_cast<u64>(step));
}

void draw_directions(u64 seed, i64 step, View<float, 2> directions) {
  fill_normal(seed, directions_stream(step), 0, directions.numel(), directions.data());
}

}  // namespace orrery::train
