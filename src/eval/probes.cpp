#include "eval/probes.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "eval/ridge.h"

namespace orrery {

namespace {

// One number that is asked for.
struct Target {
  std::size_t quantity;
  i64 number;
  std::string name;
  double (*of)(double);
};

std::vector<Target> targets_of(const std::vector<StateQuantity>& quantities) {
  std::vector<Target> targets;
  for (std::size_t q = 0; q < quantities.size(); ++q) {
    const StateQuantity& quantity = quantities[q];
    if (quantity.angle) {
      targets.push_back({q, 0, quantity.name + " cos", [](double x) { return std::cos(x); }});
      targets.push_back({q, 0, quantity.name + " sin", [](double x) { return std::sin(x); }});
      continue;
    }
    for (i64 k = 0; k < quantity.width; ++k) {
      targets.push_back({q, k, text(quantity.name, " ", k), [](double x) { return x; }});
    }
  }
  return targets;
}

// frames whose numbers are all there
struct Rows {
  std::vector<float> latents;
  std::vector<double> wanted;
  i64 count = 0;
};

Rows rows_of(const std::vector<Target>& targets, const ProbeFrames& of) {
  Rows rows;
  for (i64 i = 0; i < of.frames.count(); ++i) {
    std::vector<double> row;
    for (const Target& target : targets) {
      row.push_back(target.of(of.states.at(target.quantity, i)[target.number]));
    }
    if (!std::all_of(row.begin(), row.end(), [](double x) { return std::isfinite(x); })) continue;
    const auto latent = of.frames.latent(i);
    rows.latents.insert(rows.latents.end(), latent.begin(), latent.end());
    rows.wanted.insert(rows.wanted.end(), row.begin(), row.end());
    ++rows.count;
  }
  return rows;
}

// sums for the errors and the correlation of one number
struct Sums {
  double error = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;

  void add(double predicted, double wanted) {
    error += (predicted - wanted) * (predicted - wanted);
    x += predicted;
    y += wanted;
    xx += predicted * predicted;
    yy += wanted * wanted;
    xy += predicted * wanted;
  }
  double correlation(double n) const {
    const double spread = (xx - x * x / n) * (yy - y * y / n);
    return spread > 0 ? (xy - x * y / n) / std::sqrt(spread) : 0.0;
  }
};

}  // namespace

std::vector<ProbeScore> probe(const ProbeFrames& learn, const ProbeFrames& judge, double penalty) {
  const auto& quantities = learn.states.quantities();
  check(quantities.size() == judge.states.quantities().size(), "probing: ", quantities.size(),
        " quantities to learn, ", judge.states.quantities().size(), " to judge by");
  const std::vector<Target> targets = targets_of(quantities);
  if (targets.empty()) return {};
  const Rows seen = rows_of(targets, learn), held_out = rows_of(targets, judge);
  if (seen.count == 0 || held_out.count == 0) return {};
  const i64 dim = learn.frames.latents.size(1);
  const auto width = static_cast<i64>(targets.size());
  const Ridge ridge(View<const float, 2>(seen.latents.data(), {seen.count, dim}),
                    View<const double, 2>(seen.wanted.data(), {seen.count, width}), penalty);

  const View<const float, 2> latents(held_out.latents.data(), {held_out.count, dim});
  std::vector<Sums> sums(targets.size());
  for (i64 i = 0; i < held_out.count; ++i) {
    const auto begin = held_out.wanted.begin() + i * width;
    std::vector<double> truth(begin, begin + width);
    ridge.standardise(truth);
    const auto predicted = ridge.predict(latents[i]);
    for (std::size_t k = 0; k < targets.size(); ++k) sums[k].add(predicted[k], truth[k]);
  }
  const auto count = static_cast<double>(held_out.count);
  std::vector<ProbeScore> scores;
  for (std::size_t k = 0; k < targets.size(); ++k) {
    const Target& target = targets[k];
    const std::string& name = quantities[target.quantity].name;
    if (k == 0 || targets[k - 1].quantity != target.quantity) scores.push_back({.name = name});
    scores.back().components.push_back(
        {target.name, sums[k].error / count, sums[k].correlation(count)});
  }
  for (ProbeScore& score : scores) {
    const auto share = 1 / static_cast<double>(score.components.size());
    for (const ProbeScore::Component& component : score.components) {
      score.mse += share * component.mse;
      score.r += share * component.r;
    }
  }
  return scores;
}

}  // namespace orrery
