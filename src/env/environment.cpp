#include "env/environment.h"

#include "base/error.h"
#include "env/tworoom.h"

namespace orrery {

namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<Environment> (*make)();
};

template <typename Kind>
std::unique_ptr<Environment> make() {
  return std::make_unique<Kind>();
}

constexpr Entry kEnvironments[] = {
    {"tworoom", make<TwoRoom>},
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

std::unique_ptr<Environment> make_environment(std::string_view name) {
  std::string known;
  for (const Entry& entry : kEnvironments) {
    if (entry.name == name) return entry.make();
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  fail("unknown environment '", name, "'; known are ", known);
}

}  // namespace orrery
