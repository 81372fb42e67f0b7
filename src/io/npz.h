#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "tensor/tensor.h"

namespace orrery {

// NumPy files: .npy, one array (format 1.0, 2.0 and 3.0), and .npz, a zip of them. Little-endian
// bool, integer and floating point arrays; column-major ones are turned. An array of another kind
// (text, objects, records) is an Error that names it. exact
//
// `wanted`, when given, says which arrays to read by name (without ".npy"); the others may be of
// any kind.
using NameFilter = std::function<bool(const std::string&)>;
TensorMap read_npz(const std::filesystem::path& path, const NameFilter& wanted = {});
TensorMap parse_npz(std::span<const std::byte> file, const std::string& name,
                    const NameFilter& wanted = {});
Tensor read_npy(const std::filesystem::path& path);
Tensor parse_npy(std::span<const std::byte> file, const std::string& name);

// Writes atomically what NumPy reads. Members are stored, or deflated when asked for; their dates
// are fixed, so that the same tensors give the same bytes. bf16 has no NumPy type and is refused.
void write_npz(const std::filesystem::path& path, const TensorMap& tensors, bool deflate = false);
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace orrery
