#include "eval/distance_curve.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iomanip>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/random.h"
#include "eval/decisions.h"
#include "eval/evaluation.h"

namespace orrery {

namespace {

using nlohmann::json;

constexpr u64 kPairs = 0xD157;  // keeps this use of a seed apart
constexpr double kNoEnd = std::numeric_limits<double>::infinity();

struct Pair {
  i64 now = 0, goal = 0;  // frames
  bool steps = false;     // whether the frame after `now` comes before the goal, in one episode
};

// Pairs of both kinds. A kind that the frames have none of stays empty.
class Draw {
 public:
  Draw(const EncodedFrames& frames, u64 seed) : frames_(frames), random_(mix(seed, kPairs), 0) {
    for (std::size_t p = 0; p < frames.pieces.size(); ++p) {
      for (i64 k = 0; k < frames.pieces[p].frames; ++k) piece_of_.push_back(p);
    }
  }

  std::vector<Pair> within(i64 count) {
    const bool any = std::any_of(frames_.pieces.begin(), frames_.pieces.end(),
                                 [](const EncodedFrames::Piece& p) { return p.frames >= 2; });
    std::vector<Pair> pairs;
    while (any && static_cast<i64>(pairs.size()) < count) {
      const i64 now = frame();
      const auto& piece = piece_of(now);
      const i64 after = piece.first + piece.frames - now - 1;
      if (after == 0) continue;
      const i64 goal = now + 1 + static_cast<i64>(random_.below(static_cast<u64>(after)));
      pairs.push_back({now, goal, goal > now + 1});
    }
    return pairs;
  }

  std::vector<Pair> across(i64 count) {
    std::vector<Pair> pairs;
    while (frames_.pieces.size() >= 2 && static_cast<i64>(pairs.size()) < count) {
      const i64 now = frame(), goal = frame();
      if (piece_of(now).first != piece_of(goal).first) pairs.push_back({now, goal, false});
    }
    return pairs;
  }

 private:
  i64 frame() { return static_cast<i64>(random_.below(static_cast<u64>(frames_.count()))); }
  const EncodedFrames::Piece& piece_of(i64 frame) const {
    return frames_.pieces[piece_of_[static_cast<std::size_t>(frame)]];
  }

  const EncodedFrames& frames_;
  Random random_;
  std::vector<std::size_t> piece_of_;  // of every frame
};

using Distance = std::function<double(i64, i64)>;

// A distance in the world and the edges of its bins.
struct Ruler {
  std::string name, unit;
  std::vector<double> edges;  // from 0 up; the last bin has no end
  Distance distance;
};

// doubling up to `largest`
std::vector<double> doubling_edges(double largest) {
  std::vector<double> edges = {0};
  for (int k = 6; k >= 1; --k) edges.push_back(std::ldexp(largest, -k));
  return edges;
}

// the largest distance among the pairs, for a measure whose unit says nothing
double largest_of(const Distance& distance, const std::vector<Pair>& a,
                  const std::vector<Pair>& b) {
  double largest = 0;
  for (const auto* pairs : {&a, &b}) {
    for (const Pair& pair : *pairs) {
      const double one = distance(pair.now, pair.goal);
      if (std::isfinite(one)) largest = std::max(largest, one);
    }
  }
  return largest > 0 ? largest : 1;
}

std::vector<Ruler> rulers_of(const EncodedFrames& frames, const StateTable& states) {
  // 8 pixels: a fourth of PushT's agent, half of a patch
  const std::vector<double> kPixels = {0, 8, 16, 32, 64, 128, 256, 512};
  const std::vector<double> kDegrees = {0, 5, 10, 20, 45, 90};
  std::vector<Ruler> rulers;
  std::vector<std::size_t> positions;
  std::string together;
  for (std::size_t q = 0; q < states.quantities().size(); ++q) {
    const StateQuantity& quantity = states.quantities()[q];
    if (quantity.unit == "px") {
      positions.push_back(q);
      together += (together.empty() ? "" : " and ") + quantity.name;
    }
    rulers.push_back({quantity.name, quantity.unit,
                      quantity.angle          ? kDegrees
                      : quantity.unit == "px" ? kPixels
                                              : std::vector<double>(),
                      [&states, q](i64 i, i64 j) { return states.distance(q, i, j); }});
  }
  if (positions.size() >= 2) {
    rulers.insert(rulers.begin(), {together, "px", kPixels, [&states, positions](i64 i, i64 j) {
                                     double sum = 0;
                                     for (const std::size_t q : positions) {
                                       const double one = states.distance(q, i, j);
                                       sum += one * one;
                                     }
                                     return std::sqrt(sum);
                                   }});
  }
  std::vector<double> times;
  for (const i64 blocks : {1, 2, 3, 5, 9, 17, 33}) {
    times.push_back(static_cast<double>(blocks * frames.stride));
  }
  rulers.push_back({"time", "rows", times, [&frames](i64 i, i64 j) {
                      return static_cast<double>(frames.rows[static_cast<std::size_t>(j)] -
                                                 frames.rows[static_cast<std::size_t>(i)]);
                    }});
  return rulers;
}

DistanceCurve::Line line_of(const EncodedFrames& frames, const Ruler& ruler,
                            const std::vector<Pair>& pairs) {
  DistanceCurve::Line line;
  std::vector<std::vector<double>> costs(ruler.edges.size());
  std::vector<DistanceCurve::Bin> bins(ruler.edges.size());
  std::vector<float> all_costs, all_distances;
  for (const Pair& pair : pairs) {
    const double distance = ruler.distance(pair.now, pair.goal);
    if (!std::isfinite(distance)) continue;
    const auto goal = frames.latent(pair.goal);
    const double cost = squared_distance(frames.latent(pair.now), goal);
    const auto above = std::upper_bound(ruler.edges.begin(), ruler.edges.end(), distance);
    const auto at =
        static_cast<std::size_t>(std::max<std::ptrdiff_t>(0, above - ruler.edges.begin() - 1));
    costs[at].push_back(cost);
    all_costs.push_back(static_cast<float>(cost));
    all_distances.push_back(static_cast<float>(distance));
    if (!pair.steps) continue;
    DistanceCurve::Bin& bin = bins[at];
    ++bin.steps;
    bin.cost_falls += squared_distance(frames.latent(pair.now + 1), goal) < cost ? 1 : 0;
    bin.distance_falls += ruler.distance(pair.now + 1, pair.goal) < distance ? 1 : 0;
  }
  for (std::size_t b = 0; b < bins.size(); ++b) {
    std::vector<double>& values = costs[b];
    if (values.empty()) continue;
    std::sort(values.begin(), values.end());
    DistanceCurve::Bin& bin = bins[b];
    bin.from = ruler.edges[b];
    bin.to = b + 1 < bins.size() ? ruler.edges[b + 1] : kNoEnd;
    bin.pairs = static_cast<i64>(values.size());
    const auto count = static_cast<double>(values.size());
    for (const double value : values) bin.mean += value;
    bin.mean /= count;
    for (const double value : values) {
      bin.deviation += (value - bin.mean) * (value - bin.mean);
    }
    bin.deviation = std::sqrt(bin.deviation / count);
    bin.low = quantile(values, 0.1);
    bin.median = quantile(values, 0.5);
    bin.high = quantile(values, 0.9);
    if (bin.steps > 0) {
      bin.cost_falls /= static_cast<double>(bin.steps);
      bin.distance_falls /= static_cast<double>(bin.steps);
    }
    line.bins.push_back(bin);
  }
  if (!line.bins.empty()) line.rank_correlation = rank_correlation(all_distances, all_costs);
  return line;
}

json json_from_line(const DistanceCurve::Line& line) {
  json bins = json::array();
  for (const DistanceCurve::Bin& bin : line.bins) {
    const auto share = [&](double value) { return bin.steps > 0 ? json(value) : json(); };
    bins.push_back({{"from", bin.from},
                    {"to", std::isfinite(bin.to) ? json(bin.to) : json()},
                    {"pairs", bin.pairs},
                    {"mean", bin.mean},
                    {"std", bin.deviation},
                    {"p10", bin.low},
                    {"p50", bin.median},
                    {"p90", bin.high},
                    {"steps", bin.steps},
                    {"cost_falls", share(bin.cost_falls)},
                    {"distance_falls", share(bin.distance_falls)}});
  }
  return {{"rank_correlation", line.rank_correlation}, {"bins", bins}};
}

void print(std::ostringstream& out, const char* kind, const DistanceCurve::Line& line) {
  if (line.bins.empty()) return;
  out << "  " << kind << ", rank correlation " << std::setprecision(2) << line.rank_correlation
      << "\n        distance   pairs   squared latent distance     p10     p90   "
         "falls one block on: cost  distance\n";
  for (const DistanceCurve::Bin& bin : line.bins) {
    const std::string range =
        std::isfinite(bin.to) ? text(bin.from, "-", bin.to) : text(bin.from, "+");
    out << std::setw(16) << range << std::setw(8) << bin.pairs << std::setprecision(3)
        << std::setw(14) << bin.mean << " +- " << std::setw(8) << bin.deviation << std::setw(8)
        << bin.low << std::setw(8) << bin.high;
    if (bin.steps > 0) {
      out << std::setprecision(0) << std::setw(22) << 100 * bin.cost_falls << " %" << std::setw(8)
          << 100 * bin.distance_falls << " %";
    }
    out << "\n";
  }
}

}  // namespace

double DistanceCurve::cost_falls() const {
  if (measures.empty()) return 0;
  double falls = 0, steps = 0;
  for (const Bin& bin : measures.back().within.bins) {
    falls += bin.cost_falls * static_cast<double>(bin.steps);
    steps += static_cast<double>(bin.steps);
  }
  return steps > 0 ? falls / steps : 0.0;
}

DistanceCurve distance_curve(const EncodedFrames& frames, const StateTable& states, i64 pairs,
                             u64 seed) {
  check(pairs >= 1, "distance curve: ", pairs, " pairs, at least one was needed");
  DistanceCurve curve;
  curve.frames = frames.count();
  curve.stride = frames.stride;
  curve.pairs = pairs;
  Draw draw(frames, seed);
  const auto within = draw.within(pairs), across = draw.across(pairs);
  for (Ruler& ruler : rulers_of(frames, states)) {
    if (ruler.edges.empty()) {
      ruler.edges = doubling_edges(largest_of(ruler.distance, within, across));
    }
    // frames of two episodes have no time between them
    const bool is_time = ruler.name == "time";
    curve.measures.push_back({ruler.name, ruler.unit, line_of(frames, ruler, within),
                              is_time ? DistanceCurve::Line() : line_of(frames, ruler, across)});
  }
  return curve;
}

json json_from_distance_curve(const DistanceCurve& curve) {
  json measures = json::array();
  for (const DistanceCurve::Measure& measure : curve.measures) {
    measures.push_back({{"name", measure.name},
                        {"unit", measure.unit},
                        {"within", json_from_line(measure.within)},
                        {"across", json_from_line(measure.across)}});
  }
  return {{"frames", curve.frames},
          {"stride", curve.stride},
          {"pairs", curve.pairs},
          {"measures", measures}};
}

std::string lines_of(const DistanceCurve& curve) {
  std::ostringstream out;
  out << std::fixed;
  for (const DistanceCurve::Measure& measure : curve.measures) {
    out << "latent distance by distance of " << measure.name;
    if (!measure.unit.empty()) out << " (" << measure.unit << ")";
    out << "\n";
    print(out, "within an episode", measure.within);
    print(out, "across episodes", measure.across);
  }
  return out.str();
}

std::string sentence_of(const DistanceCurve& curve) {
  const DistanceCurve::Measure* measure = curve.main();
  if (measure == nullptr || measure->within.bins.empty()) return {};
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << "latent distance by distance of " << measure->name
      << ": rank correlation " << measure->within.rank_correlation << " within episodes, "
      << measure->across.rank_correlation << " across; a block along the demonstration lowers the "
      << "cost in " << std::setprecision(0) << 100 * curve.cost_falls() << " % of cases\n";
  return out.str();
}

}  // namespace orrery
