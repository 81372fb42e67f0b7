#pragma once

#include <span>
#include <string>

#include "eval/distance_curve.h"
#include "eval/evaluation.h"

namespace orrery::report {

// Figures of a page as inline SVG; colours come from the page's style. Empty when there is nothing
// to draw.

// cost over the planner's iterations: median of all plans and the band from the 10th to the 90th
// percentile
std::string cost_chart(std::span<const Evaluation> evaluations);
// how long plans took, with median and 99th percentile marked
std::string latency_chart(std::span<const Evaluation> evaluations);
// squared distance of imagined and seen latents, by blocks since the plan
std::string surprise_chart(std::span<const Evaluation> evaluations);
// share of goals reached by the distance at the start, with Wilson's 95 % intervals
std::string start_distance_chart(std::span<const Evaluation> evaluations);

// of the curve's main measure: squared latent distance by distance in the world, mean and the band
// from the 10th to the 90th percentile, within episodes and across
std::string distance_chart(const DistanceCurve& curve);
// of the same: how often one block along the demonstration lowers the cost, and the distance
std::string slope_chart(const DistanceCurve& curve);

}  // namespace orrery::report
