#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "eval/encoded.h"
#include "eval/state_columns.h"

namespace orrery {

// Latent distance against distance in the world: what the planner's cost, |z - z_goal|^2, says of
// how far a goal is. Where the curve is flat, the planner sees no slope.
//
// Two kinds of pairs of frames: a frame and a later one of its episode (`within`), and frames of
// two episodes (`across`).
struct DistanceCurve {
  struct Bin {
    double from = 0, to = 0;  // distance in the world, [from, to); to is infinite in a last bin
    i64 pairs = 0;
    double mean = 0, deviation = 0;        // of the squared latent distance; population
    double low = 0, median = 0, high = 0;  // its 10th, 50th and 90th percentile
    // Pairs within an episode that are two or more frames apart: the share in which the cost is
    // lower one frame later, along the demonstration; and in which the world's distance is.
    i64 steps = 0;
    double cost_falls = 0, distance_falls = 0;
  };
  // pairs of one kind, by one distance; bins without pairs are left out
  struct Line {
    std::vector<Bin> bins;
    double rank_correlation = 0;  // Spearman's, of the two distances
  };
  struct Measure {
    std::string name;  // "agent and block": of all positions together; "agent", "block", "angle";
                       // "time": rows between two frames of an episode
    std::string unit;
    Line within, across;
  };
  i64 frames = 0;
  i64 stride = 0;  // rows between frames
  i64 pairs = 0;   // of each kind, at most
  std::vector<Measure> measures;

  // the measure of all positions, or the first; null without measures
  const Measure* main() const { return measures.empty() ? nullptr : measures.data(); }
  // of all steps within episodes, the share in which the cost falls; 0 without steps
  double cost_falls() const;
};

// `pairs` pairs of each kind, drawn by the seed; those without a distance (NaN) do not count. Lines
// without pairs are empty; without quantities of the state time is the only measure. steady
DistanceCurve distance_curve(const EncodedFrames& frames, const StateTable& states, i64 pairs,
                             u64 seed);

// {"frames", "stride", "pairs", "measures": [{"name", "unit", "within": line, "across": line}]};
// a line is {"rank_correlation", "bins": [{"from", "to" (null: no end), "pairs", "mean", "std",
// "p10", "p50", "p90", "steps", "cost_falls", "distance_falls"}]}; the shares are null without
// steps
nlohmann::json json_from_distance_curve(const DistanceCurve& curve);
// For people: a table per measure; and one line of the main measure, or nothing.
std::string lines_of(const DistanceCurve& curve);
std::string sentence_of(const DistanceCurve& curve);

}  // namespace orrery
