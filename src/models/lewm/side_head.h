#pragma once

#include <string>

#include "models/lewm/weights.h"

namespace orrery::lewm {

// A head that is learned beside a model without being part of it, in one block: files of the model
// do not hold it, so official loaders are not disturbed. Its tensors are called <name>.net.0.weight
// and so on, as in the released vocabulary. BatchNorm is not for side heads: they have no buffers.
struct SideHead {
  std::string name;
  HeadConfig config;
  Tensor parameters;
  Head tensors;

  SideHead(std::string name, const HeadConfig& config);  // zeros

  // views of another block of the same layout: gradients
  Head bound(float* block) const;
};

// PyTorch's starting values, of (seed, tensor name, element). steady
void initialize(SideHead& head, u64 seed);

TensorMap tensors_from_head(const SideHead& head);
// Missing and unexpected tensors and other shapes are errors that name `where`.
void read_head(SideHead& head, const TensorMap& tensors, const std::string& where);

}  // namespace orrery::lewm
