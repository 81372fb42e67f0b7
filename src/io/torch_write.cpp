#include <limits>
#include <vector>

#include "io/torch_file.h"
#include "io/zip.h"

namespace orrery {
namespace {

// The opcodes of protocol 2 that a state dict takes.
class PickleWriter {
 public:
  PickleWriter() { out_ = "\x80\x02"; }

  void mark() { out_ += '('; }
  void tuple() { out_ += 't'; }  // of everything since the mark
  void global(const char* module, const char* name) {
    out_ += 'c';
    out_ += text(module, "\n", name, "\n");
  }
  // an OrderedDict without entries
  void ordered_dict() {
    global("collections", "OrderedDict");
    out_ += ")R";
  }
  void characters(const std::string& value) {
    out_ += 'X';
    little_endian(value.size(), 4);
    out_ += value;
  }
  void integer(i64 value) {
    if (value <= std::numeric_limits<i32>::max()) {
      out_ += 'J';
      little_endian(static_cast<u64>(value), 4);
    } else {
      out_ += "\x8a\x08";
      little_endian(static_cast<u64>(value), 8);
    }
  }
  void falsehood() { out_ += '\x89'; }
  void persistent() { out_ += 'Q'; }
  void reduce() { out_ += 'R'; }
  void set_items() { out_ += 'u'; }
  std::string finish() { return out_ + "."; }

 private:
  void little_endian(u64 value, int bytes) {
    for (int i = 0; i < bytes; ++i) out_ += static_cast<char>(value >> (8 * i) & 0xff);
  }
  std::string out_;
};

const char* storage_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "FloatStorage";
    case DType::f64:
      return "DoubleStorage";
    case DType::f16:
      return "HalfStorage";
    case DType::bf16:
      return "BFloat16Storage";
    case DType::int8:
      return "CharStorage";
    case DType::int16:
      return "ShortStorage";
    case DType::int32:
      return "IntStorage";
    case DType::int64:
      return "LongStorage";
    case DType::uint8:
      return "ByteStorage";
    case DType::boolean:
      return "BoolStorage";
    default:
      fail("element type ", dtype, " has no storage class in PyTorch files");
  }
}

// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)
void write_tensor(PickleWriter& pickle, const Tensor& tensor, i64 key) {
  pickle.global("torch._utils", "_rebuild_tensor_v2");
  pickle.mark();
  pickle.mark();
  pickle.characters("storage");
  pickle.global("torch", storage_of(tensor.dtype()));
  pickle.characters(std::to_string(key));
  pickle.characters("cpu");
  pickle.integer(tensor.numel());
  pickle.tuple();
  pickle.persistent();
  pickle.integer(0);
  pickle.mark();
  for (const i64 size : tensor.shape().sizes()) pickle.integer(size);
  pickle.tuple();
  std::vector<i64> strides(static_cast<std::size_t>(tensor.rank()), 1);
  for (int d = tensor.rank() - 2; d >= 0; --d) {
    const auto at = static_cast<std::size_t>(d);
    strides[at] = strides[at + 1] * tensor.size(d + 1);
  }
  pickle.mark();
  for (const i64 stride : strides) pickle.integer(stride);
  pickle.tuple();
  pickle.falsehood();
  pickle.ordered_dict();
  pickle.tuple();
  pickle.reduce();
}

}  // namespace

void write_torch(const std::filesystem::path& path, const TensorMap& tensors) {
  PickleWriter pickle;
  pickle.ordered_dict();
  pickle.mark();
  i64 key = 0;
  for (const auto& [name, tensor] : tensors) {
    pickle.characters(name);
    write_tensor(pickle, tensor, key++);
  }
  pickle.set_items();
  const std::string data = pickle.finish(), order = "little", version = "3\n";

  const auto bytes_of = [](const std::string& value) { return std::as_bytes(std::span(value)); };
  std::vector<ZipParts> members = {{"archive/data.pkl", {bytes_of(data)}},
                                   {"archive/byteorder", {bytes_of(order)}}};
  key = 0;
  for (const auto& [name, tensor] : tensors) {
    members.push_back({text("archive/data/", key++),
                       {{tensor.bytes(), static_cast<std::size_t>(tensor.byte_count())}}});
  }
  members.push_back({"archive/version", {bytes_of(version)}});
  write_zip(path, members);
}

}  // namespace orrery
