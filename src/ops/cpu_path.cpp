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

std::vector<const char*> cpu_paths() {
  std::vector<const char*> names;
  // low bits are the better targets
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets())
    names.push_back(hwy::TargetName(target));
  return names;
}

void use_cpu_path(const char* name) {
  const std::int64_t all = hwy::SupportedTargets();
  if (name == nullptr) {
    hwy::GetChosenTarget().Update(all);
    return;
  }
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if (std::string(name) == hwy::TargetName(target)) {
      hwy::GetChosenTarget().Update(target);
      return;
    }
  }
  std::string known;
  for (const char* path : cpu_paths()) known += known.empty() ? path : std::string(", ") + path;
  fail("ORRERY_CPU is \"", name, "\", one of ", known, " was needed");
}

void choose_cpu_path() {
  [[maybe_unused]] static const bool chosen = [] {
    use_cpu_path(std::getenv("ORRERY_CPU"));
    return true;
  }();
}

}  // namespace orrery
#endif  // HWY_ONCE
