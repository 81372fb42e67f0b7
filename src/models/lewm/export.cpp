#include "models/lewm/export.h"

#include "io/safetensors.h"
#include "io/torch_file.h"

namespace orrery::lewm {

namespace {

struct Renamed {
  const char* released;
  const char* now;
};
// the longer of two that begin alike first
constexpr Renamed kLayerParts[] = {
    {".attention.attention.query.", ".attention.q_proj."},
    {".attention.attention.key.", ".attention.k_proj."},
    {".attention.attention.value.", ".attention.v_proj."},
    {".attention.output.dense.", ".attention.o_proj."},
    {".intermediate.dense.", ".mlp.fc1."},
    {".output.dense.", ".mlp.fc2."},
};
constexpr const char* kReleasedLayers = "encoder.encoder.layer.";
constexpr const char* kLayers = "encoder.layers.";

}  // namespace

std::string name_in(Vocabulary vocabulary, const std::string& name) {
  if (vocabulary == Vocabulary::released || name.rfind(kReleasedLayers, 0) != 0) return name;
  std::string result = text(kLayers, name.substr(std::string(kReleasedLayers).size()));
  for (const Renamed& part : kLayerParts) {
    const std::size_t at = result.find(part.released);
    if (at == std::string::npos) continue;
    return result.replace(at, std::string(part.released).size(), part.now);
  }
  return result;
}

void write_weights(const std::filesystem::path& path, const Weights& weights,
                   Vocabulary vocabulary) {
  TensorMap tensors;
  for (auto& [name, tensor] : tensors_from_weights(weights)) {
    tensors.emplace(name_in(vocabulary, name), std::move(tensor));
  }
  const std::string end = path.extension().string();
  if (end == ".pt" || end == ".pth") return write_torch(path, tensors);
  check(end == ".safetensors", "cannot write ", path.string(),
        ": .pt, .pth or .safetensors was needed");
  write_safetensors(path, tensors);
}

}  // namespace orrery::lewm
