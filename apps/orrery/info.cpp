#include <iostream>

#include "device/context.h"
#include "verbs.h"

namespace orrery::cli {

void add_info(CLI::App& app, int&) {
  auto* verb = app.add_subcommand("info", "what this machine and this build offer");
  verb->callback([] {
    const CpuFacts facts = cpu_facts();
    std::cout << "cpu       " << facts.name << ", " << facts.cores << " cores\n";
    std::cout << "features  " << facts.features << "\n";
  });
}

}  // namespace orrery::cli
