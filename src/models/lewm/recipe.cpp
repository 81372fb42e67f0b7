#include "models/lewm/recipe.h"

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"

namespace orrery::lewm {

namespace {

u64 fnv1a(const std::string& bytes) {
  u64 hash = 0xCBF29CE484222325ull;
  for (const char byte : bytes) hash = (hash ^ static_cast<u8>(byte)) * 0x100000001B3ull;
  return hash;
}

void fill(const std::string& salt, const std::string& name, float base, float scale, i64 count,
          float* out) {
  constexpr u64 kGolden = 0x9E3779B97F4A7C15ull;
  const u64 start = fnv1a(salt + ":" + name);
  for (i64 i = 0; i < count; ++i) {
    u64 x = start + static_cast<u64>(i) * kGolden;
    x += kGolden;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    x ^= x >> 31;
    const float u = static_cast<float>(static_cast<double>(x >> 40) * 0x1p-23 - 1.0);
    out[i] = base + u * scale;
  }
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

Weights weights_from_recipe(const Config& config, const std::filesystem::path& path) {
  const nlohmann::json recipe = read_json(path);
  const std::string where = path.string();
  try {
    const std::string salt = recipe.at("salt").get<std::string>();
    TensorMap tensors;
    for (const auto& [name, entry] : recipe.at("tensors").items()) {
      if (ends_with(name, "num_batches_tracked")) continue;
      const auto sizes = entry.at("shape").get<std::vector<i64>>();
      Tensor tensor(DType::f32, Shape(std::span<const i64>(sizes)));
      const u32 bits =
          static_cast<u32>(std::stoul(entry.at("scale_bits").get<std::string>(), nullptr, 16));
      fill(salt, name, entry.at("base").get<float>(), std::bit_cast<float>(bits), tensor.numel(),
           tensor.data<float>());
      tensors.emplace(name, std::move(tensor));
    }
    return weights_from_tensors(config, tensors, where);
  } catch (const nlohmann::json::exception& error) {
    fail(where, " is no weight recipe: ", error.what());
  }
}

Weights seeded_weights(const Config& config, const std::string& salt) {
  Weights weights(config);
  for (const TensorSpec& spec : layout_of(config).specs) {
    float* values =
        (spec.trained ? weights.parameters : weights.buffers).data<float>() + spec.offset;
    float base = 0.0f;
    float scale = 0.125f;  // biases and running means
    if (ends_with(spec.name, "running_var")) {
      base = 1.0f;
      scale = 0.5f;
    } else if (ends_with(spec.name, ".weight") && spec.shape.rank() == 1) {
      base = 1.0f;  // norms
    } else if (spec.shape.rank() >= 2) {
      // uniform in [-s, s] has deviation s / sqrt 3: twice 1 / sqrt(inputs) keeps the size of what
      // goes through
      const i64 inputs = spec.shape.numel() / spec.shape[0];
      const bool table = ends_with(spec.name, "embeddings") || ends_with(spec.name, "embedding") ||
                         ends_with(spec.name, "cls_token");
      scale = table ? 0.5f : 2.0f / std::sqrt(static_cast<float>(inputs));
    }
    fill(salt, spec.name, base, scale, spec.shape.numel(), values);
  }
  return weights;
}

}  // namespace orrery::lewm
