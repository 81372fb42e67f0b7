#include "bench/figure.h"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "base/error.h"

namespace orrery::bench {

namespace {

bool asks_for(const std::string& name, const Figure& figure) {
  return figure.name == name || figure.name.rfind(name + "/", 0) == 0;
}

std::string groups_of(const std::vector<Figure>& figures) {
  std::vector<std::string> groups;
  for (const Figure& figure : figures) {
    const std::string group = figure.name.substr(0, figure.name.find('/'));
    if (std::find(groups.begin(), groups.end(), group) == groups.end()) groups.push_back(group);
  }
  std::string list;
  for (const std::string& group : groups) list += (list.empty() ? "" : ", ") + group;
  return list;
}

}  // namespace

std::vector<Figure> all_figures(const std::string& folder) {
  std::vector<Figure> figures = operation_figures();
  const auto add = [&](std::vector<Figure> more) {
    std::move(more.begin(), more.end(), std::back_inserter(figures));
  };
  add(model_figures());
  if (std::filesystem::exists(std::filesystem::path(folder) / "weights.safetensors")) {
    add(folder_figures(folder));
  }
  add(world_figures());
  return figures;
}

std::vector<Figure> chosen_figures(const std::vector<Figure>& figures,
                                   const std::vector<std::string>& names, bool slow_too) {
  for (const std::string& name : names) {
    const bool known = std::any_of(figures.begin(), figures.end(),
                                   [&](const Figure& figure) { return asks_for(name, figure); });
    check(known, "bench: no figure is called ", name, "; there are those of ", groups_of(figures));
  }
  std::vector<Figure> chosen;
  for (const Figure& figure : figures) {
    const bool named = std::any_of(names.begin(), names.end(),
                                   [&](const std::string& name) { return asks_for(name, figure); });
    if (names.empty() ? (slow_too || !figure.slow) : named) chosen.push_back(figure);
  }
  return chosen;
}

}  // namespace orrery::bench
