#pragma once

#include <filesystem>

#include "models/lewm/weights.h"

namespace orrery::lewm {

// How the vision transformer's layers are called: by the published checkpoints, or by transformers
// from version 5, whose models take no other names.
enum class Vocabulary { released, transformers5 };

// A released name in a vocabulary; canonical_name() leads back.
std::string name_in(Vocabulary vocabulary, const std::string& name);

// Writes the tensors of a model under the names of a vocabulary: a state dict for torch.load when
// the path ends in .pt or .pth, safetensors when it ends in .safetensors; other ends are an Error.
void write_weights(const std::filesystem::path& path, const Weights& weights,
                   Vocabulary vocabulary);

}  // namespace orrery::lewm
