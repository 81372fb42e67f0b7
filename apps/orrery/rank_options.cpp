#include "rank_options.h"

#include <cstdlib>
#include <iostream>

#include "base/text.h"

namespace orrery::cli {

void RankOptions::add_to(CLI::App& verb) {
  verb.add_option("--rank-silence", silence_s,
                  "under mpirun: seconds after which a rank that says nothing is given up")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

int RankOptions::threads(const dist::World& world, int asked) const {
  if (asked > 0 || world.size() == 1 || std::getenv("ORRERY_THREADS") != nullptr) return asked;
  return world.threads();
}

void tell_user(const std::string& sentence) {
  // one write, so that lines of several processes do not mix
  std::cerr << text("orrery: ", sentence, "\n");
}

}  // namespace orrery::cli
