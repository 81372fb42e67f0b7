#pragma once

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "plan/categorical_cem.h"
#include "plan/cem.h"
#include "plan/icem.h"
#include "plan/mppi.h"
#include "plan/predictive_sampling.h"
#include "tensor/tensor.h"

// What the tests of recorded planner runs share: reading the records.
namespace orrery {

using nlohmann::json;

// Python writes NaN and Infinity into JSON, which has neither: here they are read as null and "inf"
inline json read_python_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  std::string content = text.str();
  for (const auto& [python, standard] :
       {std::pair<std::string, std::string>{" NaN", " null"},
        std::pair<std::string, std::string>{" Infinity", " \"inf\""},
        std::pair<std::string, std::string>{"[NaN", "[null"}}) {
    for (std::size_t at = 0; (at = content.find(python, at)) != std::string::npos;) {
      content.replace(at, python.size(), standard);
    }
  }
  return json::parse(content);
}

// a number of such a file
inline double number_of(const json& value) {
  if (value.is_null()) return std::nan("");
  if (value.is_string()) return std::numeric_limits<double>::infinity();
  return value.get<double>();
}

// row `index` of the first axis, as a tensor of its own
template <typename T>
Tensor row_of(const Tensor& whole, i64 index) {
  const Shape row(whole.shape().sizes().subspan(1));
  return Tensor::of<T>(row, whole.span<T>().subspan(static_cast<std::size_t>(index * row.numel()),
                                                    static_cast<std::size_t>(row.numel())));
}

inline CemConfig cem_config_of(const json& args) {
  return {.samples = args.at("num_samples").get<i64>(),
          .elites = args.at("topk").get<i64>(),
          .iterations = args.at("n_steps").get<i64>(),
          .initial_std = args.value("var_scale", 1.0),
          .elite_std = EliteStd::sample,
          .batch_size = args.value("batch_size", i64{1}),
          .nan = NanCosts::as_released};
}

// `bound` limits every number of the block, unscaled, as the original takes it
inline IcemConfig icem_config_of(const json& args, double bound, i64 action_dim) {
  const std::vector<double> high(static_cast<std::size_t>(action_dim), bound);
  const std::vector<double> low(high.size(), -bound);
  return {.samples = args.at("num_samples").get<i64>(),
          .elites = args.at("topk").get<i64>(),
          .iterations = args.at("n_steps").get<i64>(),
          .initial_std = args.value("var_scale", 1.0),
          .elite_std = EliteStd::sample,
          .batch_size = args.value("batch_size", i64{1}),
          .nan = NanCosts::as_released,
          .noise_beta = args.value("noise_beta", 2.0),
          .momentum = args.value("alpha", 0.1),
          .keep = args.value("n_elite_keep", i64{5}),
          .answer =
              args.value("return_mean", true) ? IcemAnswer::mean : IcemAnswer::best_with_mean_cost,
          .bounds = action_bounds(low, high, {}, 1, BoundScale::none)};
}

inline MppiConfig mppi_config_of(const json& args) {
  return {.samples = args.at("num_samples").get<i64>(),
          .elites = args.at("topk").get<i64>(),
          .iterations = args.at("n_steps").get<i64>(),
          .initial_std = args.value("var_scale", 1.0),
          .temperature = args.value("temperature", 0.5),
          .batch_size = args.value("batch_size", i64{1}),
          .nan = NanCosts::as_released};
}

inline PredictiveSamplingConfig predictive_sampling_config_of(const json& args) {
  return {.samples = args.at("num_samples").get<i64>(),
          .noise_scale = args.value("noise_scale", 1.0),
          .batch_size = args.value("batch_size", i64{1}),
          .nan = NanCosts::as_released};
}

inline CategoricalCemConfig categorical_cem_config_of(const json& args, i64 categories) {
  return {.categories = categories,
          .samples = args.at("num_samples").get<i64>(),
          .elites = args.at("topk").get<i64>(),
          .iterations = args.at("n_steps").get<i64>(),
          .smoothing = args.value("smoothing", 0.0),
          .momentum = args.value("alpha", 0.0),
          .batch_size = args.value("batch_size", i64{1}),
          .nan = NanCosts::as_released};
}

}  // namespace orrery
