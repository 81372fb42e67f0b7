#include "verbs.h"

namespace orrery::cli {

std::span<const AddVerb> verbs() {
  static constexpr AddVerb table[] = {
      add_info,  add_parity, add_encode, add_plan,  add_eval,     add_record,  add_simulate,
      add_train, add_bench,  add_data,   add_probe, add_distance, add_convert, add_curves,
  };
  return table;
}

}  // namespace orrery::cli
