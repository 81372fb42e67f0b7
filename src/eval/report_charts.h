#pragma once

#include <span>
#include <string>

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

}  // namespace orrery::report
