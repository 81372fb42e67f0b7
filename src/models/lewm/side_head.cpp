#include "models/lewm/side_head.h"

#include <algorithm>
#include <cstring>

#include "models/lewm/initialize.h"

namespace orrery::lewm {

SideHead::SideHead(std::string given_name, const HeadConfig& given)
    : name(std::move(given_name)), config(given) {
  check(config.present && config.norm != HeadConfig::Norm::batch, name,
        ": a side head has LayerNorm or no norm");
  parameters = Tensor::zeros<float>({layout_of_head(name, config).parameters});
  tensors = bound(parameters.data<float>());
}

Head SideHead::bound(float* block) const { return bind_head(config, block); }

void initialize(SideHead& head, u64 seed) {
  initialize_tensors(layout_of_head(head.name, head.config), head.parameters.data<float>(), nullptr,
                     seed);
}

TensorMap tensors_from_head(const SideHead& head) {
  TensorMap tensors;
  for (const TensorSpec& spec : layout_of_head(head.name, head.config).specs) {
    const float* from = head.parameters.data<float>() + spec.offset;
    tensors.emplace(
        spec.name,
        Tensor::of<float>(spec.shape, {from, static_cast<std::size_t>(spec.shape.numel())}));
  }
  return tensors;
}

void read_head(SideHead& head, const TensorMap& tensors, const std::string& where) {
  const Layout layout = layout_of_head(head.name, head.config);
  for (const TensorSpec& spec : layout.specs) {
    const auto at = tensors.find(spec.name);
    check(at != tensors.end(), where, ": ", spec.name, " is missing");
    check(at->second.shape() == spec.shape, where, ": ", spec.name, " has shape ",
          at->second.shape(), ", needed ", spec.shape);
  }
  check(tensors.size() == layout.specs.size(), where, " holds ", tensors.size(),
        " tensors, a head of its form has ", layout.specs.size());
  for (const TensorSpec& spec : layout.specs) {
    const Tensor values = tensors.at(spec.name).converted(DType::f32);
    std::memcpy(head.parameters.data<float>() + spec.offset, values.data<float>(),
                static_cast<std::size_t>(values.byte_count()));
  }
}

}  // namespace orrery::lewm
