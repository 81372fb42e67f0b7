#include "train/readout.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "nn/dense.h"
#include "ops/elementwise.h"
#include "ops/latent_terms.h"
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

namespace {

std::vector<ReadoutTarget> targets_of(const ReadoutSettings& settings,
                                      const ColumnStatistics& statistics) {
  const ZScore scale(statistics);
  for (const std::vector<i64>* places : {&settings.numbers, &settings.angles}) {
    for (const i64 place : *places) {
      check(place < scale.width(), "training.readout: column ", settings.column, " has ",
            scale.width(), " numbers in a row, number ", place, " was asked for (from 0)");
    }
  }
  std::vector<ReadoutTarget> targets;
  for (const i64 place : settings.numbers) {
    const auto at = static_cast<std::size_t>(place);
    targets.push_back(
        {.place = static_cast<i32>(place), .mean = scale.mean()[at], .scale = scale.scale()[at]});
  }
  for (const i64 place : settings.angles) {
    for (const auto kind : {ReadoutTarget::Kind::cosine, ReadoutTarget::Kind::sine}) {
      targets.push_back({.place = static_cast<i32>(place), .kind = kind});
    }
  }
  return targets;
}

}  // namespace

Readout::Readout(i64 latent, const ReadoutSettings& settings, const ColumnStatistics& scale)
    : latent_(latent),
      numbers_(scale.width()),
      targets_(targets_of(settings, scale)),
      parameters_(Tensor::zeros<float>({targets() * (latent + 1)})),
      optimiser_(kName, settings.lr, 0.0, parameters_) {}

void Readout::settle_on(Context& ctx) {
  working_.settle_on(ctx, parameters_);
  optimiser_.settle_on(ctx);
  asked_ = Placed<ReadoutTarget>(ctx, targets_);
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
  working_.push(parameters_);
  optimiser_.begin();
}

nn::Dense Readout::bound(float* block) const {
  return {.weight = {block, {targets(), latent_}},
          .bias = {block + targets() * latent_, {targets()}}};
}

void Readout::make_room(const Context& ctx, i64 rows) {
  if (rows == rows_) return;
  rows_ = rows;
  Arena measured;
  lay_out(measured, rows);
  memory_ = Block(ctx, measured.used());
  Arena arena(memory_);
  lay_out(arena, rows);
}

void Readout::lay_out(Arena& arena, i64 rows) {
  guess_ = arena.take<float, 2>({rows, targets()});
  wanted_ = arena.take<float, 2>({rows, targets()});
  dguess_ = arena.take<float, 2>({rows, targets()});
  dlatents_ = arena.take<float, 2>({rows, latent_});
}

double Readout::value_and_gradient(Context& ctx, const LossInputs& in, double weight,
                                   const LossSlopes& slopes) {
  must_be_cpu(ctx, "a read-out whose value is returned");
  double value = 0;
  measure(ctx, in, weight, slopes, View<double, 1>(&value, {1}));
  return value;
}

void Readout::measure(Context& ctx, const LossInputs& in, double weight, const LossSlopes& slopes,
                      View<double, 1> value) {
  const i64 windows = in.emb.size(0), frames = in.emb.size(1);
  check(in.emb.size(2) == latent_ && in.observations.size(0) == windows &&
            in.observations.size(1) == frames && in.observations.size(2) == numbers_,
        kName, ": latents are ", in.emb.shape(), " and observations ", in.observations.shape(),
        ", latents of ", latent_, " numbers and observations of ", numbers_, " were needed");
  make_room(ctx, windows * frames);
  if (asked_.count() == 0) asked_ = Placed<ReadoutTarget>(ctx, targets_);
  const nn::Dense layer = bound(working_.view(parameters_).data());
  const nn::Dense gradient = bound(optimiser_.gradient().data());
  const View<const float, 2> latents = in.emb.as_rows();
  nn::dense(ctx, Precision::f32, layer, latents, guess_);
  readout_targets(ctx, in.observations.as_rows(), asked_.view<1>({targets()}), guess_, wanted_);
  const auto by_window = [&](View<float, 2> rows) {
    return rows.reshaped<3>({windows, frames, targets()});
  };
  prediction_term(ctx, by_window(wanted_), by_window(guess_), 0,
                  {.weight = 1.0, .windows = in.share.whole(windows), .dz = {}, .value = value},
                  by_window(dguess_));
  nn::dense_backward(ctx, Precision::f32, layer, gradient, latents, dguess_, dlatents_);
  if (weight != 0) {
    add_scaled(ctx, static_cast<float>(weight), dlatents_.flat(), slopes.emb.flat());
  }
  if (in.share.sums != nullptr) in.share.sums->add_up(value);
}

void Readout::learn(Context& ctx, View<const double, 1> well) {
  optimiser_.learn(ctx, well, working_.view(parameters_));
}

TensorMap Readout::contents() const {
  TensorMap contents;
  contents.emplace(text(kName, ".parameters"), working_.copy(parameters_));
  optimiser_.add_contents(contents);
  return contents;
}

void Readout::restore(const TensorMap& contents, const std::string& where) {
  restore_tensor(contents, text(kName, ".parameters"), where, parameters_);
  working_.push(parameters_);
  optimiser_.restore(contents, where);
}

}  // namespace orrery::train
