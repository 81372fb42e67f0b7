#pragma once

#include <CLI/CLI.hpp>

#include <string>

#include "dist/world.h"

namespace orrery::cli {

// The options of verbs that several ranks share: mpirun -n N orrery VERB ...
struct RankOptions {
  double silence_s = 15;

  void add_to(CLI::App& verb);

  // how many threads this rank takes when `asked`, 0 for what suits, were asked for
  int threads(const dist::World& world, int asked) const;
};

// A sentence on standard error, between lines of progress.
void tell_user(const std::string& sentence);

}  // namespace orrery::cli
