#include "env/pusht_options.h"

#include <algorithm>

#include "base/error.h"

namespace orrery {

using pusht::PoseOrder;

namespace {

struct Name {
  std::string_view name;
  PushTVariant variant;
};

constexpr Name kNames[] = {
    {"pusht", PushTVariant::relative},          {"pusht-discrete", PushTVariant::discrete},
    {"pusht-absolute", PushTVariant::absolute}, {"pusht-keypoints", PushTVariant::keypoints},
    {"pusht-dino", PushTVariant::dino},
};

void apply_option(std::string_view option, PushTOptions& options) {
  if (option == "size=96") return void(options.size = 96);
  if (option == "size=224") return void(options.size = 224);
  if (option == "size=512") return void(options.size = 512);
  if (option == "size=680") return void(options.size = 680);
  if (option == "order=angle") return void(options.order = PoseOrder::angle_first);
  if (option == "order=position") return void(options.order = PoseOrder::position_first);
  if (option == "motion=kept") return void(options.keeps_motion = true);
  if (option == "motion=none") return void(options.keeps_motion = false);
  if (option == "goal=drawn") return void(options.draws_goal = true);
  if (option == "goal=hidden") return void(options.draws_goal = false);
  if (option == "action=drawn") return void(options.draws_action = true);
  if (option == "action=hidden") return void(options.draws_action = false);
  if (option == "control=float32") return void(options.control = pusht::Control::float32);
  if (option == "control=float64") return void(options.control = pusht::Control::float64);
  if (option == "polygons=integer") return void(options.polygons = pusht::PolygonRule::integer);
  if (option == "polygons=real") return void(options.polygons = pusht::PolygonRule::real);
  fail("unknown option '", option,
       "' of pusht; known are size=96|224|512|680, order=angle|position, motion=kept|none, "
       "goal=drawn|hidden, action=drawn|hidden, control=float32|float64, polygons=integer|real");
}

}  // namespace

std::string_view pusht_name(PushTVariant variant) {
  return kNames[static_cast<std::size_t>(variant)].name;
}

PushTOptions pusht_options(std::string_view name) {
  const std::size_t colon = std::min(name.find(':'), name.size());
  const std::string_view variant = name.substr(0, colon);
  PushTOptions options;
  const auto* const found = std::find_if(std::begin(kNames), std::end(kNames),
                                         [&](const Name& entry) { return entry.name == variant; });
  check(found != std::end(kNames), "unknown variant '", variant, "' of pusht");
  options.variant = found->variant;
  if (options.variant == PushTVariant::absolute || options.variant == PushTVariant::keypoints) {
    options.size = 96;
    options.order = PoseOrder::position_first;
  }
  std::string_view rest = colon == name.size() ? std::string_view() : name.substr(colon + 1);
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    apply_option(rest.substr(0, comma), options);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return options;
}

}  // namespace orrery
