#include "train/checkpoint.h"

#include <cstdio>

#include "io/safetensors.h"

namespace orrery::train {

namespace {

const char* const kFingerprint = "fingerprint";

Tensor scalar(i64 value) { return Tensor::of<i64>(Shape{}, std::span<const i64>(&value, 1)); }

// a block of the file into a block of the same size
void restore(const TensorMap& file, const char* name, const std::string& path, Tensor& into) {
  const auto at = file.find(name);
  check(at != file.end(), path, ": ", name, " is missing");
  check(at->second.dtype() == into.dtype() && at->second.shape() == into.shape(), path, ": ", name,
        " is ", at->second.dtype(), " ", at->second.shape(), ", needed ", into.dtype(), " ",
        into.shape());
  into = at->second.clone();
}

i64 count(const TensorMap& file, const char* name, const std::string& path) {
  Tensor value = scalar(0);
  restore(file, name, path, value);
  const i64 number = value.data<i64>()[0];
  check(number >= 0, path, ": ", name, " is ", number, ", a number not below 0 was needed");
  return number;
}

}  // namespace

void write_checkpoint(const std::filesystem::path& path, const std::string& fingerprint,
                      const lewm::Weights& weights, const Optimiser& optimiser) {
  TensorMap file;
  file.emplace("parameters", weights.parameters.clone());
  file.emplace("buffers", weights.buffers.clone());
  file.emplace("m", optimiser.m.clone());
  file.emplace("v", optimiser.v.clone());
  file.emplace("steps", scalar(optimiser.steps));
  file.emplace("batches_tracked", scalar(weights.batches_tracked));
  write_safetensors(path, file, {{kFingerprint, fingerprint}});
}

void read_checkpoint(const std::filesystem::path& path, const std::string& fingerprint,
                     lewm::Weights& weights, Optimiser& optimiser) {
  const Metadata metadata = read_safetensors_metadata(path);
  const auto made_by = metadata.find(kFingerprint);
  check(made_by != metadata.end(), path.string(), " is not a checkpoint: it has no fingerprint");
  check(made_by->second == fingerprint, path.string(),
        " was made with another configuration, seed or data set (fingerprint ", made_by->second,
        ", this run has ", fingerprint, ")");
  const TensorMap file = read_safetensors(path);
  const std::string where = path.string();
  Tensor parameters = weights.parameters.clone(), buffers = weights.buffers.clone();
  restore(file, "parameters", where, parameters);
  restore(file, "buffers", where, buffers);
  restore(file, "m", where, optimiser.m);
  restore(file, "v", where, optimiser.v);
  optimiser.steps = count(file, "steps", where);
  weights.batches_tracked = count(file, "batches_tracked", where);
  weights.parameters = std::move(parameters);
  weights.buffers = std::move(buffers);
  weights.tensors =
      lewm::bind(weights.config, weights.parameters.data<float>(), weights.buffers.data<float>());
}

std::string fingerprint_of(const std::string& text) {
  u64 hash = 0xcbf29ce484222325ull;
  for (const char c : text) hash = (hash ^ static_cast<u8>(c)) * 0x100000001b3ull;
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

}  // namespace orrery::train
