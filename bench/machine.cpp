#include "bench/machine.h"

#include "base/text.h"
#include "commit.h"  // made when configuring
#include "ops/cpu_path.h"

namespace orrery::bench {

Machine this_machine(const Context& ctx) {
#if defined(__clang__)
  const char* compiler = "clang++ " __clang_version__;
#else
  const char* compiler = "g++ " __VERSION__;
#endif
  if (ctx.device() == Device::cuda) {
    const CudaFacts facts = cuda_facts().at(static_cast<std::size_t>(ctx.device_index()));
    const auto version = [](int v) { return text(v / 1000, ".", v % 1000 / 10); };
    return {
        text(facts.name, ", CUDA ", version(facts.runtime), ", driver for ", version(facts.driver)),
        compiler, ORRERY_COMMIT, text("sm_", facts.major, facts.minor), ctx.threads()};
  }
  const CpuFacts facts = cpu_facts();
  return {text(facts.name, ", ", facts.cores, facts.cores == 1 ? " core" : " cores"), compiler,
          ORRERY_COMMIT, cpu_path(), ctx.threads()};
}

}  // namespace orrery::bench
