#include "io/json.h"

#include <set>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"

namespace orrery {
namespace {

constexpr std::size_t kMaxJsonBytes = std::size_t{256} << 20;

// Watches the parser: depth, and the keys of every object that is open.
class Watch {
 public:
  explicit Watch(const std::string& name) : name_(name) {}

  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    check(depth <= kMaxJsonDepth, name_, " is nested deeper than ", kMaxJsonDepth, " levels");
    if (event == Event::object_start) {
      open_.emplace_back();
    } else if (event == Event::object_end) {
      open_.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      check(open_.back().insert(key).second, name_, " has the key '", key, "' twice in one object");
    }
    return true;
  }

 private:
  const std::string& name_;
  std::vector<std::set<std::string>> open_;
};

}  // namespace

nlohmann::json parse_json(std::string_view characters, const std::string& name) {
  try {
    Watch watch(name);
    return nlohmann::json::parse(characters.begin(), characters.end(), std::ref(watch));
  } catch (const nlohmann::json::parse_error& error) {
    fail(name, " is not valid JSON at byte ", error.byte);
  } catch (const nlohmann::json::exception&) {
    fail(name, " has a number that is too large for JSON");
  }
}

nlohmann::json read_json(const std::filesystem::path& path) {
  return parse_json(read_file(path, kMaxJsonBytes), path.string());
}

void write_json(const std::filesystem::path& path, const nlohmann::json& value) {
  std::string characters;
  try {
    characters = value.dump(2);
  } catch (const nlohmann::json::exception&) {
    fail("cannot write ", path.string(), ": a string in it is not UTF-8");
  }
  characters += '\n';
  write_file(path, characters);
}

}  // namespace orrery
