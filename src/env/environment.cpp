#include "env/environment.h"

#include "base/error.h"
#include "base/text.h"
#include "env/pusht.h"
#include "env/tworoom.h"

namespace orrery {

namespace {

// makes an environment by the name it was asked for, options and all
using Make = std::unique_ptr<Environment> (*)(std::string_view name);

std::unique_ptr<Environment> make_tworoom(std::string_view name) {
  check(name == "tworoom", "tworoom has no options, '", name, "' was asked for");
  return std::make_unique<TwoRoom>();
}

std::unique_ptr<Environment> make_pusht(std::string_view name) {
  return std::make_unique<PushT>(pusht_options(name));
}

struct Entry {
  std::string_view name;  // up to a colon
  Make make;
};

constexpr Entry kEnvironments[] = {
    {"tworoom", make_tworoom},      {"pusht", make_pusht},           {"pusht-discrete", make_pusht},
    {"pusht-absolute", make_pusht}, {"pusht-keypoints", make_pusht}, {"pusht-dino", make_pusht},
};

}  // namespace

i64 Environment::info_width() const {
  i64 total = 0;
  for (const InfoColumn& column : info_columns()) total += column.width();
  return total;
}

std::vector<std::string_view> environment_names() {
  std::vector<std::string_view> names;
  for (const Entry& entry : kEnvironments) names.push_back(entry.name);
  return names;
}

std::string environment_of_size(std::string_view name, i64 side) {
  std::string sized(name);
  if (name.substr(0, 5) != "pusht" || !pusht::Painter::draws(side)) return sized;
  // of an option that is there twice the last one counts
  return sized + (name.find(':') == std::string_view::npos ? ":" : ",") + text("size=", side);
}

std::unique_ptr<Environment> make_environment(std::string_view name) {
  std::string known;
  for (const Entry& entry : kEnvironments) {
    if (entry.name == name.substr(0, name.find(':'))) return entry.make(name);
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  fail("unknown environment '", name, "'; known are ", known);
}

}  // namespace orrery
