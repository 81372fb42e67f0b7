#include "plan/gradient.h"

namespace orrery {

GradientPlanner::GradientPlanner(const DescentConfig& config, const PlanSizes& sizes, Noise& noise)
    : Descent("gradient", config, sizes, noise) {}

}  // namespace orrery
