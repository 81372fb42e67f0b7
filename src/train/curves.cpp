#include "train/curves.h"

#include <cmath>
#include <string_view>

#include "base/atomic_file.h"
#include "base/error.h"
#include "io/json.h"

namespace orrery::train {

namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::size_t kMostBytes = std::size_t{1} << 30;
constexpr int kMostDepth = 4;

void add_numbers(const json& object, const std::string& prefix, double step, double seconds,
                 int depth, RunCurves& run) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object() && depth < kMostDepth) {
      add_numbers(value, prefix + key + ".", step, seconds, depth + 1, run);
    } else if (value.is_number() && std::isfinite(value.get<double>())) {
      run.measures[prefix + key].push_back({step, seconds, value.get<double>()});
    }
  }
}

}  // namespace

RunCurves read_curves(const fs::path& given, std::string name) {
  const fs::path path = fs::is_directory(given) ? given / "metrics.jsonl" : given;
  RunCurves run;
  run.name = name.empty() ? given.string() : std::move(name);
  const std::string contents = read_file(path, kMostBytes);
  bool any = false;
  double seconds = 0;
  for (std::size_t begin = 0; begin < contents.size();) {
    const std::size_t end = contents.find('\n', begin);
    if (end == std::string::npos) break;  // still being written
    const std::string_view characters(contents.data() + begin, end - begin);
    begin = end + 1;
    json line = json::parse(characters, nullptr, false);
    if (line.is_discarded() || !line.is_object()) continue;
    const auto step = line.find("step");
    if (step == line.end() || !step->is_number()) continue;
    any = true;
    run.steps = step->get<double>();
    line.erase(step);
    if (const auto passed = line.find("seconds"); passed != line.end() && passed->is_number()) {
      seconds = passed->get<double>();
      line.erase(passed);
    }
    add_numbers(line, "", run.steps, seconds, 0, run);
  }
  check(any, path.string(), " has no line with a number `step`");
  return run;
}

}  // namespace orrery::train
