#include "verbs.h"

namespace orrery::cli {

std::span<const AddVerb> verbs() {
  static constexpr AddVerb table[] = {
      add_info,
      add_parity,
  };
  return table;
}

}  // namespace orrery::cli
