#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace orrery {

// PyTorch checkpoints (.pt, .pth, .ckpt): a zip file with a pickle `<stem>/data.pkl` and the values
// in `<stem>/data/<key>`. The pickle is read as data (io/pickle.h): nothing in it is ever executed,
// whatever it names.
//
// The result is the state dict: the entry `state_dict` or `model` of the dictionary in the file
// when it has one, else the dictionary itself. A pickled module instead of a dictionary gives its
// parameters and persistent buffers under the names that its state dict would have. Names are kept
// as they are; entries that are no tensors are left out. A view of a larger storage becomes a
// contiguous tensor. exact
//
// Errors, one sentence: no zip file, no state dict, an element type that is not supported, a tensor
// that reaches out of its storage, a storage of another size than the pickle says, tensors that
// would take far more memory than the file has bytes.
TensorMap read_torch(const std::filesystem::path& path);
TensorMap parse_torch(std::span<const std::byte> file, const std::string& name);

// The same from the pickle alone. `storage` gives the bytes of the storage of a key; it is called
// once for each. The tensors may take at most max_bytes together.
using StorageSource = std::function<std::vector<std::byte>(const std::string& key)>;
TensorMap tensors_from_pickle(std::span<const std::byte> pickle, const StorageSource& storage,
                              i64 max_bytes, const std::string& name);

// Writes what torch.load reads, also with weights_only: an OrderedDict of contiguous tensors in
// name order. The same tensors give the same bytes. Unsigned types of more than a byte have no
// storage class in PyTorch and are refused.
void write_torch(const std::filesystem::path& path, const TensorMap& tensors);

// AdamW's state in a Lightning checkpoint: `optimizer_states[0]`, whose parameters are numbered in
// the order of the state dict. Names are those of the state dict.
struct TorchOptimiser {
  i64 steps = 0;
  TensorMap first;   // exp_avg
  TensorMap second;  // exp_avg_sq
};
// Nothing when the file has no optimiser state; an Error when it has one whose parameters cannot be
// told apart: another number of them than the state dict has parameters (running statistics,
// counters and `sigreg.` constants are none), or of other shapes.
std::optional<TorchOptimiser> read_torch_optimiser(const std::filesystem::path& path);

// whether a zip file in memory is such a checkpoint
bool looks_like_torch(std::span<const std::byte> file, const std::string& name);

}  // namespace orrery
