#pragma once

#include <string>

#include "env/variation.h"

namespace orrery {

// How the pictures of a recording are made anew from its states: what a recording without pixels
// says of itself.
//
// Episode number n (column ep_idx) was reset with the seed mix(seed, n) and the options below,
// which is where colours, shapes, doors and the drawn goal come from; the rest of a picture is the
// state.
struct Drawing {
  std::string environment;  // with its options, as make_environment() takes it
  u64 seed = 0;             // of the recording
  ResetOptions reset;
  i64 image_size = 0;  // a side; another size than the environment's is reduced as record() does
  std::string state;   // the column with Environment::state(), stored or played (played_episodes.h)

  bool operator==(const Drawing& other) const {
    return environment == other.environment && seed == other.seed &&
           reset.variation == other.reset.variation && reset.values == other.reset.values &&
           image_size == other.image_size && state == other.state;
  }
};

// A JSON object of one line: {"environment", "seed", "variation", "values", "image_size", "state"}.
std::string text_from_drawing(const Drawing& drawing);
// `where` begins the sentence of an error. Errors: not such an object, a key that is unknown or
// missing, a size outside 1 to 1024.
Drawing drawing_from_text(const std::string& text, const std::string& where);

}  // namespace orrery
