#include "dist/device_sums.h"

#include "base/error.h"

namespace orrery::dist {

SumsBy sums_by_from(const std::string& name) {
  if (name == "auto") return SumsBy::automatic;
  if (name == "nccl") return SumsBy::nccl;
  if (name == "host") return SumsBy::host;
  fail("sums over ranks are to be taken by \"", name, "\", needed auto, nccl or host");
}

#if !ORRERY_CUDA
std::string nccl_build() { return "no: this build has no CUDA"; }
#endif

}  // namespace orrery::dist
