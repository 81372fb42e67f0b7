#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "tensor/tensor.h"

namespace orrery {

// Files of named tensors, the format of the safetensors project: 8 bytes header length (little
// endian), a JSON object name -> {dtype, shape, data_offsets}, then the values.
//
// Readers are strict: the header must fit into the file, every shape times its element size must be
// its range of bytes, and the ranges must cover the rest of the file without gap or overlap. What
// does not fit is an Error of one sentence that names the file and the tensor. A boolean that is
// not 0 becomes true. exact
TensorMap read_safetensors(const std::filesystem::path& path);
TensorMap parse_safetensors(std::span<const std::byte> file, const std::string& name);

// The header's `__metadata__`; empty when there is none.
using Metadata = std::map<std::string, std::string>;
Metadata read_safetensors_metadata(const std::filesystem::path& path);

// Writes the tensors atomically: the widest element types first, then by name, so that every tensor
// is aligned; the header is padded with spaces to a multiple of 8 bytes. The same tensors give the
// same bytes.
void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const Metadata& metadata = {});

}  // namespace orrery
