#include "models/lewm/distance_head.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "io/json.h"
#include "io/safetensors.h"

namespace orrery::lewm {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kWeightsFile = "distance_head.safetensors";
constexpr const char* kFactsFile = "distance_head.json";
constexpr float kNormEps = 1e-5f;
// larger than any that is of use, small enough that no product overflows
constexpr i64 kLargestHidden = 1 << 16;
constexpr i64 kLargestGap = 1 << 20;

HeadConfig config_of(const DistanceHead::Sizes& sizes) {
  return {.input = 3 * sizes.latent,
          .hidden = sizes.hidden,
          .output = 1,
          .norm = HeadConfig::Norm::layer};
}

float gelu(float x) {
  return 0.5f * x * (1.0f + std::erf(x * std::numbers::sqrt2_v<float> / 2.0f));
}
float gelu_slope(float x) {
  const float density =
      std::exp(-0.5f * x * x) * std::numbers::inv_sqrtpi_v<float> / std::numbers::sqrt2_v<float>;
  return 0.5f * (1.0f + std::erf(x * std::numbers::sqrt2_v<float> / 2.0f)) + x * density;
}

i64 whole(const json& facts, const char* key, i64 largest, const std::string& where) {
  check(facts.contains(key) && facts.at(key).is_number_integer() && facts.at(key) >= 1 &&
            facts.at(key) <= largest,
        where, ": ", key, " must be a whole number from 1 to ", largest);
  return facts.at(key).get<i64>();
}

}  // namespace

DistanceHead::DistanceHead(const Sizes& sizes)
    : sizes_(sizes),
      head_("distance", config_of(sizes)),
      by_input_(static_cast<std::size_t>(3 * sizes.latent * sizes.hidden)) {}

void DistanceHead::arrange() {
  const View<const float, 2> up = head_.tensors.up.weight;
  float* to = by_input_.data();
  for (i64 i = 0; i < up.size(1); ++i) {
    for (i64 h = 0; h < up.size(0); ++h) *to++ = up(h, i);
  }
}

void DistanceHead::begin_goal(const float* goal, float* from_goal) const {
  const i64 width = sizes_.latent, hidden = sizes_.hidden;
  std::copy_n(head_.tensors.up.bias.data(), hidden, from_goal);
  for (i64 i = 0; i < width; ++i) {
    const float* row = by_input_.data() + (width + i) * hidden;
    for (i64 h = 0; h < hidden; ++h) from_goal[h] += goal[i] * row[h];
  }
}

float DistanceHead::hidden_units(const float* latent, const float* goal, const float* from_goal,
                                 float* units) const {
  const i64 width = sizes_.latent, hidden = sizes_.hidden;
  std::copy_n(from_goal, hidden, units);
  // the latent and its distance from the goal, number by number: hidden units lie side by side
  for (i64 i = 0; i < width; ++i) {
    const float value = latent[i], away = std::abs(latent[i] - goal[i]);
    const float* by_value = by_input_.data() + i * hidden;
    const float* by_away = by_input_.data() + (2 * width + i) * hidden;
    for (i64 h = 0; h < hidden; ++h) units[h] += value * by_value[h] + away * by_away[h];
  }
  double mean = 0, square = 0;
  for (i64 h = 0; h < hidden; ++h) mean += static_cast<double>(units[h]);
  mean /= static_cast<double>(hidden);
  for (i64 h = 0; h < hidden; ++h) {
    const double from_mean = static_cast<double>(units[h]) - mean;
    square += from_mean * from_mean;
  }
  const auto rstd = static_cast<float>(
      1.0 / std::sqrt(square / static_cast<double>(hidden) + static_cast<double>(kNormEps)));
  for (i64 h = 0; h < hidden; ++h) units[h] = (units[h] - static_cast<float>(mean)) * rstd;
  return rstd;
}

float DistanceHead::distance(const float* latent, const float* goal, const float* from_goal,
                             float* units) const {
  hidden_units(latent, goal, from_goal, units);
  const Head& t = head_.tensors;
  float sum = t.down.bias[0];
  for (i64 h = 0; h < sizes_.hidden; ++h) {
    sum += t.down.weight(0, h) * gelu(units[h] * t.norm.weight[h] + t.norm.bias[h]);
  }
  return sum;
}

float DistanceHead::add_slope(const float* latent, const float* goal, const float* from_goal,
                              float factor, float* units, float* slope) const {
  const i64 width = sizes_.latent, hidden = sizes_.hidden;
  const float rstd = hidden_units(latent, goal, from_goal, units);
  const Head& t = head_.tensors;
  float* dunits = units + hidden;
  float sum = t.down.bias[0];
  double mean = 0, along = 0;  // of the slopes of the normed units, and with the units
  for (i64 h = 0; h < hidden; ++h) {
    const float entering = units[h] * t.norm.weight[h] + t.norm.bias[h];
    sum += t.down.weight(0, h) * gelu(entering);
    dunits[h] = factor * t.down.weight(0, h) * gelu_slope(entering) * t.norm.weight[h];
    mean += static_cast<double>(dunits[h]);
    along += static_cast<double>(dunits[h]) * static_cast<double>(units[h]);
  }
  const auto mean_slope = static_cast<float>(mean / static_cast<double>(hidden));
  const auto along_slope = static_cast<float>(along / static_cast<double>(hidden));
  for (i64 h = 0; h < hidden; ++h) {
    dunits[h] = rstd * (dunits[h] - mean_slope - units[h] * along_slope);
  }
  for (i64 i = 0; i < width; ++i) {
    const float* by_value = by_input_.data() + i * hidden;
    const float* by_away = by_input_.data() + (2 * width + i) * hidden;
    float value = 0, away = 0;
    for (i64 h = 0; h < hidden; ++h) {
      value += dunits[h] * by_value[h];
      away += dunits[h] * by_away[h];
    }
    const float difference = latent[i] - goal[i];
    slope[i] += value + (difference > 0 ? away : difference < 0 ? -away : 0.0f);
  }
  return sum;
}

void pair_of(const float* latent, const float* goal, i64 width, float* pair) {
  for (i64 i = 0; i < width; ++i) {
    pair[i] = latent[i];
    pair[width + i] = goal[i];
    pair[2 * width + i] = std::abs(latent[i] - goal[i]);
  }
}

void write_distance_head(const fs::path& folder, const DistanceHead& head) {
  write_safetensors(folder / kWeightsFile, tensors_from_head(head.head()));
  write_json(folder / kFactsFile, {{"latent", head.sizes().latent},
                                   {"hidden", head.sizes().hidden},
                                   {"largest_gap", head.sizes().largest_gap}});
}

DistanceHead read_distance_head(const fs::path& folder, i64 latent) {
  const fs::path facts_path = folder / kFactsFile;
  check(fs::exists(facts_path), facts_path.string(),
        " does not exist; `orrery distance` learns a distance head for a model");
  const json facts = read_json(facts_path);
  const std::string where = facts_path.string();
  check(facts.is_object(), where, " holds ", facts.type_name(), ", an object was needed");
  const DistanceHead::Sizes sizes{.latent = whole(facts, "latent", kLargestHidden, where),
                                  .hidden = whole(facts, "hidden", kLargestHidden, where),
                                  .largest_gap = whole(facts, "largest_gap", kLargestGap, where)};
  check(sizes.latent == latent, where, " is for latents of ", sizes.latent,
        " numbers, the model's have ", latent);
  const fs::path weights = folder / kWeightsFile;
  // a file can claim a head that does not fit memory: its tensors must be there first
  const TensorMap tensors = read_safetensors(weights);
  i64 numbers = 0;
  for (const auto& [name, tensor] : tensors) numbers += tensor.numel();
  check(3 * sizes.latent * sizes.hidden <= numbers, weights.string(), " holds ", numbers,
        " numbers, a head of ", sizes.hidden, " hidden units has more");
  DistanceHead head(sizes);
  read_head(head.head(), tensors, weights.string());
  head.arrange();
  return head;
}

}  // namespace orrery::lewm
