#include "ops/cpu_path.h"

#include <cstdlib>
#include <string>

#include "base/error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu_path.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace orrery {
namespace HWY_NAMESPACE {

const char* PathName() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace orrery
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery {

HWY_EXPORT(PathName);

const char* cpu_path() { return ORRERY_KERNEL(PathName)(); }

namespace {

// asked once: in some versions of Highway the question itself resets the choice
const std::vector<std::int64_t>& targets() {
  static const std::vector<std::int64_t> all = hwy::SupportedAndGeneratedTargets();
  return all;
}

void take(const char* name) {
  // low bits are the better targets
  for (const std::int64_t target : targets()) {
    if (name == nullptr || std::string(name) == hwy::TargetName(target)) {
      hwy::GetChosenTarget().Update(target);
      return;
    }
  }
  std::string known;
  for (const char* path : cpu_paths()) known += known.empty() ? path : std::string(", ") + path;
  fail("ORRERY_CPU asks for \"", name, "\", one of ", known, " was needed");
}

}  // namespace

std::vector<const char*> cpu_paths() {
  std::vector<const char*> names;
  for (const std::int64_t target : targets()) names.push_back(hwy::TargetName(target));
  return names;
}

void choose_cpu_path() {
  [[maybe_unused]] static const bool chosen = [] {
    take(std::getenv("ORRERY_CPU"));
    return true;
  }();
}

void use_cpu_path(const char* name) {
  // or the first kernel would choose again
  choose_cpu_path();
  take(name != nullptr ? name : std::getenv("ORRERY_CPU"));
}

}  // namespace orrery
#endif  // HWY_ONCE
