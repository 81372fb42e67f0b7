#include "io/tensors.h"

#include "base/atomic_file.h"
#include "io/npz.h"
#include "io/safetensors.h"
#include "io/torch_file.h"
#include "io/zip.h"

namespace orrery {

TensorMap read_tensors(const std::filesystem::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  if (looks_like_torch(bytes, path.string())) return parse_torch(bytes, path.string());
  if (looks_like_zip(bytes)) return parse_npz(bytes, path.string());
  // a safetensors file is known by the '{' that opens its header
  check(bytes.size() > 8 && bytes[8] == std::byte{'{'}, path.string(),
        " is neither a safetensors file, nor a PyTorch checkpoint (zip), nor .npz");
  return parse_safetensors(bytes, path.string());
}

}  // namespace orrery
