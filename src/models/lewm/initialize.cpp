#include "models/lewm/initialize.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "base/random.h"

namespace orrery::lewm {

namespace {

bool contains(const std::string& name, const char* part) {
  return name.find(part) != std::string::npos;
}
bool ends_with(const std::string& name, const std::string& end) {
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

// FNV-1a, so that a tensor keeps its values when others come or go
u64 stream_of(const std::string& name) {
  u64 hash = 0xcbf29ce484222325ull;
  for (const char c : name) hash = (hash ^ static_cast<u8>(c)) * 0x100000001b3ull;
  return mix(static_cast<u64>(Stream::weights), hash);
}

void fill_scaled_normal(std::span<float> values, float deviation, u64 seed, u64 stream) {
  fill_normal(seed, stream, 0, static_cast<i64>(values.size()), values.data());
  for (float& value : values) value *= deviation;
}

void fill_uniform(std::span<float> values, float bound, u64 seed, u64 stream) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = bound * (2.0f * uniform(seed, stream, i) - 1.0f);
  }
}

}  // namespace

void initialize_tensors(const Layout& layout, float* parameters, float* buffers, u64 seed) {
  i64 inputs = 0;  // of the last matrix: its bias comes right behind it
  for (const TensorSpec& spec : layout.specs) {
    const std::string& name = spec.name;
    const std::span<float> values((spec.trained ? parameters : buffers) + spec.offset,
                                  static_cast<std::size_t>(spec.shape.numel()));
    const bool matrix = ends_with(name, ".weight") && spec.shape.rank() >= 2;
    if (matrix) inputs = spec.shape.numel() / spec.shape[0];

    if (ends_with(name, ".weight") && !matrix) {  // a norm; its bias is 0
      std::fill(values.begin(), values.end(), 1.0f);
      inputs = 0;
    } else if (ends_with(name, "running_var")) {
      std::fill(values.begin(), values.end(), 1.0f);
    } else if (ends_with(name, "running_mean") || contains(name, "adaLN_modulation")) {
      std::fill(values.begin(), values.end(), 0.0f);
    } else if (name == "predictor.pos_embedding") {
      fill_scaled_normal(values, 1.0f, seed, stream_of(name));
    } else if (name.rfind("encoder.", 0) == 0) {
      if (ends_with(name, ".bias")) {
        std::fill(values.begin(), values.end(), 0.0f);
      } else {
        fill_scaled_normal(values, 0.02f, seed, stream_of(name));
      }
    } else if (inputs == 0) {
      std::fill(values.begin(), values.end(), 0.0f);
    } else {
      const float bound = 1.0f / std::sqrt(static_cast<float>(inputs));
      fill_uniform(values, bound, seed, stream_of(name));
    }
  }
}

void initialize(Weights& weights, u64 seed) {
  initialize_tensors(layout_of(weights.config), weights.parameters.data<float>(),
                     weights.buffers.data<float>(), seed);
  weights.batches_tracked = 0;
}

void initialize_scaled(Weights& weights, u64 seed, const std::array<float, 3>& colour) {
  constexpr float kPublished = 0.02f;
  constexpr float kPositions = 0.3f;
  initialize(weights, seed);
  float* const block = weights.parameters.data<float>();
  const auto numbers = [&](const TensorSpec& spec) {
    return std::span<float>(block + spec.offset, static_cast<std::size_t>(spec.shape.numel()));
  };
  std::span<float> projection;
  for (const TensorSpec& spec : layout_of(weights.config).specs) {
    if (!spec.trained || spec.name.rfind("encoder.", 0) != 0) continue;
    const std::span<float> values = numbers(spec);
    if (ends_with(spec.name, ".weight") && spec.shape.rank() >= 2) {
      const i64 inputs = spec.shape.numel() / spec.shape[0];
      const float factor = 1.0f / (kPublished * std::sqrt(static_cast<float>(inputs)));
      for (float& value : values) value *= factor;
    } else if (ends_with(spec.name, "position_embeddings") || ends_with(spec.name, "_token")) {
      for (float& value : values) value *= kPositions / kPublished;
    }
    if (ends_with(spec.name, "patch_embeddings.projection.weight")) projection = values;
    if (ends_with(spec.name, "patch_embeddings.projection.bias")) {
      // [out, 3, patch, patch]
      const std::size_t inputs = projection.size() / values.size();
      for (std::size_t o = 0; o < values.size(); ++o) {
        double answer = 0;
        for (std::size_t i = 0; i < inputs; ++i) {
          answer += static_cast<double>(projection[o * inputs + i] * colour[i / (inputs / 3)]);
        }
        values[o] = static_cast<float>(-answer);
      }
    }
  }
}

}  // namespace orrery::lewm
