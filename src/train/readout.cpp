#include "train/readout.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "nn/dense.h"
#include "ops/elementwise.h"
#include "ops/strided.h"
#include "train/checkpoint.h"

namespace orrery::train {

namespace {

using nlohmann::json;

constexpr i64 kMostNumbers = 65536;
constexpr u64 kStream = 0x726561646f7574;  // apart from the draws of a model's tensors

std::vector<i64> places_from(const json& node, const std::string& name) {
  check(node.is_array(), name, " is ", node.type_name(), ", a list was needed");
  std::vector<i64> places;
  for (const json& place : node) {
    check(place.is_number_integer() && place >= 0 && place < kMostNumbers, name, " holds ",
          place.dump().substr(0, 40), ", places in a row, from 0, were needed");
    places.push_back(place.get<i64>());
  }
  return places;
}

double number_from(const json& value, const std::string& name, double most) {
  check(value.is_number() && value.get<double>() >= 0 && value.get<double>() <= most, name, " is ",
        value.dump().substr(0, 40), ", a number from 0 to ", most, " was needed");
  return value.get<double>();
}

}  // namespace

ReadoutSettings readout_from_json(const json& node, const std::string& where) {
  check(node.is_object(), where, " is ", node.type_name(), ", an object was needed");
  ReadoutSettings settings;
  for (const auto& [key, value] : node.items()) {
    const std::string name = where + "." + key;
    if (key == "column") {
      check(value.is_string() && !value.get<std::string>().empty(), name,
            " has no name of a column");
      settings.column = value.get<std::string>();
    } else if (key == "numbers") {
      settings.numbers = places_from(value, name);
    } else if (key == "angles") {
      settings.angles = places_from(value, name);
    } else if (key == "weight") {
      settings.weight = number_from(value, name, 1e6);
    } else if (key == "lr") {
      settings.lr = number_from(value, name, 10.0);
    } else {
      fail(name, " is unknown; column, numbers, angles, weight and lr were expected");
    }
  }
  check(settings.asked(), where, " has no column");
  check(!settings.numbers.empty() || !settings.angles.empty(), where,
        " has neither numbers nor angles");
  return settings;
}

json json_from_readout(const ReadoutSettings& settings) {
  return {{"column", settings.column},
          {"numbers", settings.numbers},
          {"angles", settings.angles},
          {"weight", settings.weight},
          {"lr", settings.lr}};
}

Readout::Readout(i64 latent, const ReadoutSettings& settings, const ColumnStatistics& scale)
    : latent_(latent),
      settings_(settings),
      scale_(scale),
      parameters_(Tensor::zeros<float>({targets() * (latent + 1)})),
      optimiser_(kName, settings.lr, 0.0, parameters_) {
  for (const std::vector<i64>* places : {&settings_.numbers, &settings_.angles}) {
    for (const i64 place : *places) {
      check(place < scale_.width(), "training.readout: column ", settings_.column, " has ",
            scale_.width(), " numbers in a row, number ", place, " was asked for (from 0)");
    }
  }
}

i64 Readout::targets() const {
  return static_cast<i64>(settings_.numbers.size() + 2 * settings_.angles.size());
}

// Rows of W begin with length 1 on average. With zeros latents would feel nothing of a target that
// they do not hold yet, and W nothing of it either: neither would ever begin.
void Readout::begin(u64 seed) {
  parameters_ = Tensor::zeros<float>(parameters_.shape());
  const View<float, 1> matrix = bound(parameters_.data<float>()).weight.flat();
  fill_normal(seed, mix(static_cast<u64>(Stream::weights), kStream), 0, matrix.numel(),
              matrix.data());
  const float deviation = 1.0f / std::sqrt(static_cast<float>(latent_));
  for (i64 i = 0; i < matrix.numel(); ++i) matrix(i) *= deviation;
  optimiser_.begin();
}

void Readout::begin_step(Context& ctx) { optimiser_.begin_step(ctx); }

nn::Dense Readout::bound(float* block) const {
  return {.weight = {block, {targets(), latent_}},
          .bias = {block + targets() * latent_, {targets()}}};
}

void Readout::make_room(i64 rows) {
  if (rows == rows_) return;
  rows_ = rows;
  Arena measure;
  lay_out(measure, rows);
  memory_ = Block(measure.used());
  Arena arena(memory_);
  lay_out(arena, rows);
}

void Readout::lay_out(Arena& arena, i64 rows) {
  guess_ = arena.take<float, 2>({rows, targets()});
  dguess_ = arena.take<float, 2>({rows, targets()});
  dlatents_ = arena.take<float, 2>({rows, latent_});
}

void Readout::targets_of(const float* row, std::span<float> out) const {
  std::size_t next = 0;
  for (const i64 place : settings_.numbers) {
    const auto at = static_cast<std::size_t>(place);
    out[next++] = (row[at] - scale_.mean()[at]) / scale_.scale()[at];
  }
  for (const i64 place : settings_.angles) {
    const double angle = row[place];
    out[next++] = static_cast<float>(std::sqrt(2.0) * std::cos(angle));
    out[next++] = static_cast<float>(std::sqrt(2.0) * std::sin(angle));
  }
}

double Readout::value_and_gradient(Context& ctx, const LossInputs& in, double weight,
                                   const LossSlopes& slopes) {
  const i64 windows = in.emb.size(0), frames = in.emb.size(1);
  check(in.emb.size(2) == latent_ && in.observations.size(0) == windows &&
            in.observations.size(1) == frames && in.observations.size(2) == scale_.width(),
        kName, ": latents are ", in.emb.shape(), " and observations ", in.observations.shape(),
        ", latents of ", latent_, " numbers and observations of ", scale_.width(), " were needed");
  make_room(windows * frames);
  const nn::Dense layer = bound(parameters_.data<float>());
  const nn::Dense gradient = bound(optimiser_.gradient().data());
  const View<const float, 2> latents = in.emb.as_rows();
  nn::dense(ctx, Precision::f32, layer, latents, guess_);

  const auto count = static_cast<double>(in.share.whole(windows) * frames * targets());
  std::vector<float> wanted(static_cast<std::size_t>(targets()));
  double sum = 0;
  for (i64 row = 0; row < rows_; ++row) {
    targets_of(in.observations.data() + row * scale_.width(), wanted);
    for (i64 y = 0; y < targets(); ++y) {
      const float target = wanted[static_cast<std::size_t>(y)];
      const double error = std::isnan(target)
                               ? 0.0
                               : static_cast<double>(guess_(row, y)) - static_cast<double>(target);
      sum += error * error;
      dguess_(row, y) = static_cast<float>(2.0 * error / count);
    }
  }
  nn::dense_backward(ctx, Precision::f32, layer, gradient, latents, dguess_, dlatents_);
  if (weight != 0) {
    add_scaled(ctx, static_cast<float>(weight), dlatents_.flat(), slopes.emb.flat());
  }
  if (in.share.sums != nullptr) in.share.sums->add_up(View<double, 1>(&sum, {1}));
  return sum / count;
}

void Readout::end_step(Context& ctx, const LearningStep& step) {
  optimiser_.end_step(ctx, step, parameters_.view<float, 1>());
}

TensorMap Readout::contents() const {
  TensorMap contents;
  contents.emplace(text(kName, ".parameters"), parameters_.clone());
  optimiser_.add_contents(contents);
  return contents;
}

void Readout::restore(const TensorMap& contents, const std::string& where) {
  restore_tensor(contents, text(kName, ".parameters"), where, parameters_);
  optimiser_.restore(contents, where);
}

}  // namespace orrery::train
