#include "bench/machine.h"

#include "base/text.h"
#include "commit.h"  // made when configuring
#include "device/context.h"
#include "ops/cpu_path.h"

namespace orrery::bench {

Machine this_machine(int threads) {
  const CpuFacts facts = cpu_facts();
#if defined(__clang__)
  const char* compiler = "clang++ " __clang_version__;
#else
  const char* compiler = "g++ " __VERSION__;
#endif
  return {text(facts.name, ", ", facts.cores, facts.cores == 1 ? " core" : " cores"), compiler,
          ORRERY_COMMIT, cpu_path(), threads};
}

}  // namespace orrery::bench
