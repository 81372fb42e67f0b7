#include "reset_options.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"

namespace orrery::cli {

namespace {

std::vector<double> numbers_of(const std::string& argument, std::string_view list) {
  std::vector<double> numbers;
  for (;;) {
    const std::size_t comma = std::min(list.find(','), list.size());
    double number = 0;
    const auto [end, error] = std::from_chars(list.data(), list.data() + comma, number);
    check(error == std::errc() && end == list.data() + comma, "--set ", argument,
          ": numbers with commas between are needed after =");
    numbers.push_back(number);
    if (comma == list.size()) return numbers;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace

void ResetArguments::add_to(CLI::App& verb) {
  verb.add_option("--set", sets, "a factor of variation, such as wall.axis=0; may be repeated");
  verb.add_option("--variation", variation,
                  "factors or groups to draw at each reset, or all; may be repeated");
  verb.add_option("--config", config, "JSON file with variation and variation_values");
}

ResetOptions ResetArguments::parse() const {
  ResetOptions options;
  if (!config.empty()) {
    const nlohmann::json json = read_json(config);
    check(json.is_object(), config, ": an object is needed");
    for (const auto& [key, value] : json.items()) {
      if (key == "variation") {
        check(value.is_array(), config, ": variation is a list of names");
        for (const auto& name : value) {
          check(name.is_string(), config, ": variation is a list of names");
          options.variation.push_back(name.get<std::string>());
        }
      } else if (key == "variation_values") {
        check(value.is_object(), config, ": variation_values is an object of numbers");
        for (const auto& [name, given] : value.items()) {
          std::vector<double> numbers;
          for (const auto& number : given.is_array() ? given : nlohmann::json::array({given})) {
            check(number.is_number(), config, ": variation_values.", name, " is not a number");
            numbers.push_back(number.get<double>());
          }
          options.values[name] = std::move(numbers);
        }
      } else {
        fail(config, ": unknown key '", key, "'; known are variation, variation_values");
      }
    }
  }
  if (!variation.empty()) options.variation = variation;
  for (const std::string& argument : sets) {
    const std::size_t equals = argument.find('=');
    check(equals != std::string::npos && equals > 0, "--set ", argument, ": name=value is needed");
    options.values[argument.substr(0, equals)] =
        numbers_of(argument, std::string_view(argument).substr(equals + 1));
  }
  return options;
}

}  // namespace orrery::cli
