#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "tensor/tensor.h"

namespace orrery::train {

// Everything a run needs to go on as if it had not stopped, in one safetensors file that appears
// whole or not at all. All else is a function of the settings and the step.
struct Checkpoint {
  // what the run is: model, training, statistics, windows
  nlohmann::json description;
  // what the loop remembers: seconds so far, the best so far
  nlohmann::json notes;
  // what the learner holds, under names of its own; any may be added
  TensorMap tensors;
};

void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);
Checkpoint read_checkpoint(const std::filesystem::path& path);

// The first difference between two descriptions as words, "training.lr was 0.001 and is 0.002";
// empty when there is none. Settings in `free` may differ; a setting that one of them does not
// have, because it is older, counts as `defaults` tells it.
std::string difference(const nlohmann::json& was, const nlohmann::json& is,
                       const nlohmann::json& defaults, const std::set<std::string>& free);

// Parts of a checkpoint. `where` names the file in errors: missing, another type, another shape, a
// count below 0.
void restore_tensor(const TensorMap& tensors, const std::string& name, const std::string& where,
                    Tensor& into);
i64 count_from(const TensorMap& tensors, const std::string& name, const std::string& where);
Tensor tensor_of_count(i64 count);

}  // namespace orrery::train
