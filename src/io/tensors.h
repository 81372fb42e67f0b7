#pragma once

#include <filesystem>

#include "tensor/tensor.h"

namespace orrery {

// Named tensors from any file that holds them: a PyTorch checkpoint, .npz, or safetensors, told
// apart by their contents and not by the name. A file of another type is an Error of one sentence.
TensorMap read_tensors(const std::filesystem::path& path);

}  // namespace orrery
