#include "data/drawing.h"

#include "base/error.h"
#include "io/json.h"

namespace orrery {

namespace {

using nlohmann::json;

template <typename T>
void take(const json& value, const std::string& key, const std::string& where, T& out) {
  try {
    out = value.get<T>();
  } catch (const json::exception&) {
    fail(where, ": ", key, " is ", value.dump(), ", which it cannot be");
  }
}

void take_whole(const json& value, const std::string& key, const std::string& where) {
  check(value.is_number_unsigned(), where, ": ", key, " is ", value.dump(),
        ", a whole number is needed");
}

}  // namespace

std::string text_from_drawing(const Drawing& drawing) {
  return json{{"environment", drawing.environment},   {"seed", drawing.seed},
              {"variation", drawing.reset.variation}, {"values", drawing.reset.values},
              {"image_size", drawing.image_size},     {"state", drawing.state}}
      .dump();
}

Drawing drawing_from_text(const std::string& characters, const std::string& where) {
  const json root = parse_json(characters, where);
  check(root.is_object(), where, ": it is ", root.type_name(), ", an object is needed");
  for (const char* key : {"environment", "seed", "variation", "values", "image_size", "state"}) {
    check(root.contains(key), where, ": ", key, " is missing");
  }
  Drawing drawing;
  for (const auto& [key, value] : root.items()) {
    if (key == "environment") {
      take(value, key, where, drawing.environment);
    } else if (key == "seed") {
      take_whole(value, key, where);
      take(value, key, where, drawing.seed);
    } else if (key == "variation") {
      take(value, key, where, drawing.reset.variation);
    } else if (key == "values") {
      take(value, key, where, drawing.reset.values);
    } else if (key == "image_size") {
      take_whole(value, key, where);
      take(value, key, where, drawing.image_size);
    } else if (key == "state") {
      take(value, key, where, drawing.state);
    } else {
      // what changes a picture must not be passed over
      fail(where, ": '", key, "' is unknown");
    }
  }
  check(drawing.image_size >= 1 && drawing.image_size <= 1024, where, ": pictures of ",
        drawing.image_size, " pixels a side, 1 to 1024 are possible");
  return drawing;
}

}  // namespace orrery
