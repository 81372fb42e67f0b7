#include "io/torch_file.h"

#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/atomic_file.h"
#include "io/pickle.h"
#include "io/values.h"
#include "io/zip.h"

namespace orrery {
namespace {

constexpr std::string_view kPickleName = "data.pkl";
// a tensor may repeat its storage (strides of 0, weights under two names), but not without end
constexpr i64 kMaxExpansion = 64;
constexpr int kMaxModuleDepth = 64;

struct TypeName {
  const char* storage;  // torch.FloatStorage
  const char* dtype;    // torch.float32
  DType value;
};
constexpr std::array<TypeName, 13> kTypeNames = {{
    {"torch.FloatStorage", "torch.float32", DType::f32},
    {"torch.DoubleStorage", "torch.float64", DType::f64},
    {"torch.HalfStorage", "torch.float16", DType::f16},
    {"torch.BFloat16Storage", "torch.bfloat16", DType::bf16},
    {"torch.CharStorage", "torch.int8", DType::int8},
    {"torch.ShortStorage", "torch.int16", DType::int16},
    {"torch.IntStorage", "torch.int32", DType::int32},
    {"torch.LongStorage", "torch.int64", DType::int64},
    {"torch.ByteStorage", "torch.uint8", DType::uint8},
    {"torch.BoolStorage", "torch.bool", DType::boolean},
    {"", "torch.uint16", DType::uint16},
    {"", "torch.uint32", DType::uint32},
    {"", "torch.uint64", DType::uint64},
}};

// A tensor as the pickle describes it, checked against what the pickle says of its storage.
struct TensorDescription {
  std::string key;
  i64 storage_bytes = 0;
  DType dtype = DType::f32;
  i64 offset = 0;  // elements
  Shape shape;
  std::vector<i64> strides;  // elements
};

// Finds the tensors in the graph of a checkpoint's pickle.
class Checkpoint {
 public:
  Checkpoint(const Pickle& pickle, const std::string& name) : pickle_(pickle), name_(name) {}

  // names of the state dict in the file's order, after state_dict()
  const std::vector<std::string>& order() const { return order_; }

  struct OptimiserDescription {
    i64 steps = 0;
    std::map<std::string, TensorDescription> first, second;
  };
  std::optional<OptimiserDescription> optimiser();

  std::map<std::string, TensorDescription> state_dict() {
    for (const char* key : {"state_dict", "model"}) {
      if (const auto inner = entry(pickle_.root, key)) collect(*inner, "", 0);
      if (!found_.empty()) return std::move(found_);
    }
    collect(pickle_.root, "", 0);
    check(!found_.empty(), name_,
          " holds no state dict: neither the object in it nor its 'state_dict' or 'model' has "
          "tensors");
    return std::move(found_);
  }

 private:
  const PickleNode& at(u32 node) const { return pickle_.at(node); }
  bool is_text(u32 node) const { return at(node).kind == PickleKind::text; }

  // the name of what a call would call; empty for other nodes
  std::string_view called(u32 node) const {
    const PickleNode& call = at(node);
    if (call.kind != PickleKind::call || at(call.callee).kind != PickleKind::global) return {};
    return at(call.callee).text;
  }
  bool is_dict(u32 node) const {
    return at(node).kind == PickleKind::dict || called(node) == "collections.OrderedDict";
  }
  // the value of a key, the last one that was set
  std::optional<u32> entry(u32 dict, std::string_view key) const {
    if (!is_dict(dict)) return std::nullopt;
    const auto& items = at(dict).items;
    for (std::size_t i = items.size() / 2; i-- > 0;) {
      if (is_text(items[2 * i]) && at(items[2 * i]).text == key) return items[2 * i + 1];
    }
    return std::nullopt;
  }
  // argument i of a call, which must be there
  u32 argument(u32 call, std::size_t i, const std::string& where) const {
    const u32 arguments = at(call).arguments;
    check(at(arguments).kind == PickleKind::tuple && i < at(arguments).items.size(), name_, ": '",
          where, "' is rebuilt from too few values");
    return at(arguments).items[i];
  }
  i64 integer(u32 node, const std::string& where) const {
    check(at(node).kind == PickleKind::integer && at(node).integer >= 0, name_, ": '", where,
          "' has a size, stride or offset that is not a whole number from 0 up");
    return at(node).integer;
  }
  std::vector<i64> integers(u32 node, const std::string& where) const {
    check(at(node).kind == PickleKind::tuple, name_, ": '", where,
          "' has a shape or strides that are not a tuple");
    std::vector<i64> values;
    for (const u32 item : at(node).items) values.push_back(integer(item, where));
    return values;
  }

  // The call of _rebuild_tensor_v2 or _v3 behind a value, through any parameter around it.
  std::optional<u32> rebuild_call(u32 node) const {
    for (int depth = 0; depth < 4; ++depth) {
      const std::string_view callee = called(node);
      if (callee == "torch._utils._rebuild_tensor_v2" ||
          callee == "torch._utils._rebuild_tensor_v3") {
        return node;
      }
      if (callee != "torch._utils._rebuild_parameter" &&
          callee != "torch._utils._rebuild_parameter_with_state") {
        return std::nullopt;
      }
      node = argument(node, 0, "parameter");
    }
    return std::nullopt;
  }

  // the value of a number in a dictionary
  std::optional<u32> numbered(u32 dict, i64 number) const {
    const auto& items = at(dict).items;
    for (std::size_t i = items.size() / 2; i-- > 0;) {
      const PickleNode& key = at(items[2 * i]);
      if (key.kind == PickleKind::integer && key.integer == number) return items[2 * i + 1];
    }
    return std::nullopt;
  }

  TensorDescription describe(u32 call, const std::string& where) const;
  void collect(u32 node, const std::string& prefix, int depth);
  void collect_module(u32 state, const std::string& prefix, int depth);

  const Pickle& pickle_;
  const std::string& name_;
  std::map<std::string, TensorDescription> found_;
  std::vector<std::string> order_;
  std::size_t modules_ = 0;  // visited; more than there are nodes means that they are shared
};

// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks), _v3 also with a dtype;
// storage: persistent id ("storage", class, key, device, count)
TensorDescription Checkpoint::describe(u32 call, const std::string& where) const {
  const u32 storage = argument(call, 0, where);
  check(at(storage).kind == PickleKind::persistent, name_, ": '", where, "' has no storage");
  const PickleNode& id = at(at(storage).items[0]);
  check(id.kind == PickleKind::tuple && id.items.size() >= 5 && is_text(id.items[0]) &&
            at(id.items[0]).text == "storage" && at(id.items[1]).kind == PickleKind::global &&
            is_text(id.items[2]),
        name_, ": '", where, "' has a storage that is not described as PyTorch does");

  TensorDescription tensor;
  tensor.key = at(id.items[2]).text;
  // version 3 names the element type itself and counts its storage in bytes
  const bool typed = called(call) == "torch._utils._rebuild_tensor_v2";
  const u32 type_node = typed ? id.items[1] : argument(call, 6, where);
  check(at(type_node).kind == PickleKind::global, name_, ": '", where, "' has no element type");
  const std::string& type = at(type_node).text;
  std::optional<DType> dtype;
  for (const TypeName& entry : kTypeNames) {
    if (type == (typed ? entry.storage : entry.dtype)) dtype = entry.value;
  }
  check(dtype.has_value(), name_, ": '", where, "' has elements of type ", type,
        ", which is not supported");
  tensor.dtype = *dtype;
  const i64 element = element_bytes(tensor.dtype);
  const auto storage_bytes = checked_product(integer(id.items[4], where), typed ? element : 1);
  check(storage_bytes.has_value(), name_, ": '", where, "' has a storage too large to count");
  tensor.storage_bytes = *storage_bytes;

  tensor.offset = integer(argument(call, 1, where), where);
  const std::vector<i64> sizes = integers(argument(call, 2, where), where);
  tensor.strides = integers(argument(call, 3, where), where);
  check(sizes.size() == tensor.strides.size(), name_, ": '", where, "' has ", sizes.size(),
        " sizes and ", tensor.strides.size(), " strides");
  check(sizes.size() <= Shape::kMaxRank, name_, ": '", where, "' has ", sizes.size(),
        " dimensions, at most ", Shape::kMaxRank, " are supported");
  tensor.shape = Shape(std::span<const i64>(sizes));
  const auto bytes = checked_bytes_of(tensor.dtype, sizes);
  check(bytes.has_value(), name_, ": '", where, "' of shape ", tensor.shape, " is too large");
  if (*bytes == 0) return tensor;

  // the last element that is read must lie in the storage
  i64 last = tensor.offset;
  bool fits = true;
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    const auto step = checked_product(sizes[d] - 1, tensor.strides[d]);
    fits = fits && step && !__builtin_add_overflow(last, *step, &last);
  }
  check(fits && last < tensor.storage_bytes / element, name_, ": '", where, "' of shape ",
        tensor.shape, " reaches out of its storage of ", tensor.storage_bytes, " bytes");
  return tensor;
}

void Checkpoint::collect(u32 node, const std::string& prefix, int depth) {
  if (is_dict(node)) {
    const auto& items = at(node).items;
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      const std::optional<u32> call = rebuild_call(items[i + 1]);
      if (!call) continue;
      check(is_text(items[i]), name_, " has a tensor whose name is not text");
      const std::string where = prefix + at(items[i]).text;
      found_[where] = describe(*call, where);
      order_.push_back(where);
    }
    return;
  }
  // a pickled module: its attributes are the state that the pickle gives it
  const PickleNode& object = at(node);
  if (object.kind == PickleKind::call && object.state != PickleNode::kNothing) {
    collect_module(object.state, prefix, depth);
  }
}

void Checkpoint::collect_module(u32 state, const std::string& prefix, int depth) {
  check(depth < kMaxModuleDepth && ++modules_ <= pickle_.nodes.size(), name_,
        " holds a module that contains itself or far too many others");
  if (const auto parameters = entry(state, "_parameters")) collect(*parameters, prefix, depth);
  if (const auto buffers = entry(state, "_buffers"); buffers && is_dict(*buffers)) {
    // buffers that a state dict leaves out: set([names])
    std::set<std::string> left_out;
    if (const auto names = entry(state, "_non_persistent_buffers_set")) {
      const u32 list = at(*names).kind == PickleKind::call
                           ? argument(*names, 0, prefix + "_non_persistent_buffers_set")
                           : *names;
      for (const u32 item : at(list).items) left_out.insert(at(item).text);
    }
    const auto& items = at(*buffers).items;
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      const std::optional<u32> call = rebuild_call(items[i + 1]);
      if (!call || !is_text(items[i]) || left_out.contains(at(items[i]).text)) continue;
      const std::string where = prefix + at(items[i]).text;
      found_[where] = describe(*call, where);
    }
  }
  const auto modules = entry(state, "_modules");
  if (!modules || !is_dict(*modules)) return;
  const auto& items = at(*modules).items;
  for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
    const PickleNode& module = at(items[i + 1]);
    if (!is_text(items[i]) || module.kind != PickleKind::call ||
        module.state == PickleNode::kNothing) {
      continue;
    }
    collect_module(module.state, prefix + at(items[i]).text + ".", depth + 1);
  }
}

// no parameter of an optimiser: running statistics, counters, and the constants of a loss
bool is_buffer(const std::string& name) {
  const std::string end = name.substr(name.rfind('.') + 1);
  return end == "running_mean" || end == "running_var" || end == "num_batches_tracked" ||
         name.rfind("sigreg.", 0) == 0;
}

std::optional<Checkpoint::OptimiserDescription> Checkpoint::optimiser() {
  const auto states = entry(pickle_.root, "optimizer_states");
  if (!states || at(*states).kind != PickleKind::list || at(*states).items.empty()) {
    return std::nullopt;
  }
  const auto state = entry(at(*states).items[0], "state");
  if (!state || !is_dict(*state) || at(*state).items.empty()) return std::nullopt;
  const auto shapes = state_dict();
  std::vector<std::string> names;
  for (const std::string& name : order_) {
    if (!is_buffer(name)) names.push_back(name);
  }
  check(at(*state).items.size() / 2 == names.size(), name_, ": the optimiser has ",
        at(*state).items.size() / 2, " parameters, the state dict ", names.size());

  OptimiserDescription result;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string& name = names[i];
    const auto one = numbered(*state, static_cast<i64>(i));
    check(one && is_dict(*one), name_, ": the optimiser has no state for parameter ", i);
    const auto tensor = [&](const char* key) {
      const auto value = entry(*one, key);
      const auto call = value ? rebuild_call(*value) : std::nullopt;
      check(call.has_value(), name_, ": the optimiser has no ", key, " for '", name, "'");
      return describe(*call, name + "." + key);
    };
    TensorDescription first = tensor("exp_avg"), second = tensor("exp_avg_sq");
    check(first.shape == shapes.at(name).shape && second.shape == shapes.at(name).shape, name_,
          ": the optimiser's moments of '", name, "' have shape ", first.shape, ", the tensor has ",
          shapes.at(name).shape);
    result.first.emplace(name, std::move(first));
    result.second.emplace(name, std::move(second));
  }
  if (const auto steps = entry(pickle_.root, "global_step")) {
    result.steps = integer(*steps, "global_step");
  }
  return result;
}

// the folder of data.pkl with its slash ("archive/", or empty); nothing when there is no data.pkl
std::optional<std::string> folder_of_pickle(const ZipReader& zip) {
  for (const ZipReader::Member& member : zip.members()) {
    const std::size_t slash = member.name.find('/');
    const std::size_t start = slash == std::string::npos ? 0 : slash + 1;
    if (member.name.compare(start, std::string::npos, kPickleName) == 0) {
      return member.name.substr(0, start);
    }
  }
  return std::nullopt;
}

// the values of described tensors, at most max_bytes of them
TensorMap load(const std::map<std::string, TensorDescription>& state, const StorageSource& storage,
               i64 max_bytes, const std::string& name) {
  // storage by storage, so that each is in memory once and only while it is needed
  std::map<std::string, std::vector<const std::pair<const std::string, TensorDescription>*>> users;
  i64 total = 0;
  for (const auto& item : state) {
    const TensorDescription& tensor = item.second;
    const i64 bytes = *checked_bytes_of(tensor.dtype, tensor.shape.sizes());
    check(!__builtin_add_overflow(total, bytes, &total) && total <= max_bytes, name,
          ": the tensors up to '", item.first, "' take ", total,
          " bytes, far more than the file can hold");
    users[tensor.key].push_back(&item);
  }

  TensorMap tensors;
  for (const auto& [key, items] : users) {
    const std::vector<std::byte> bytes = storage(key);
    for (const auto* item : items) {
      const auto& [tensor_name, tensor] = *item;
      check(static_cast<i64>(bytes.size()) == tensor.storage_bytes, name, ": the storage of '",
            tensor_name, "' has ", bytes.size(), " bytes, the pickle says ", tensor.storage_bytes);
      const bool empty = tensor.shape.numel() == 0;
      const i64 begin = empty ? 0 : tensor.offset * element_bytes(tensor.dtype);
      tensors.emplace(tensor_name, gather_strided(tensor.dtype, tensor.shape, bytes.data() + begin,
                                                  tensor.strides));
    }
  }
  return tensors;
}

// A checkpoint in a zip file: where its members are.
class Archive {
 public:
  Archive(std::span<const std::byte> file, const std::string& name)
      : zip_(zipped(file, name), name),
        name_(name),
        // a tensor may repeat its storage, within reason
        max_bytes_(static_cast<i64>(file.size()) * kMaxExpansion + (1 << 20)) {
    const std::optional<std::string> folder = folder_of_pickle(zip_);
    check(folder.has_value(), name, " is a zip file without data.pkl, so no PyTorch checkpoint");
    folder_ = *folder;
    if (zip_.find(folder_ + "byteorder") >= 0) {
      const std::vector<std::byte> order = read("byteorder");
      check(std::string_view(reinterpret_cast<const char*>(order.data()), order.size()) == "little",
            name, " holds values in big-endian order, which is not supported");
    }
  }

  std::vector<std::byte> read(const std::string& member) const {
    const i64 place = zip_.find(folder_ + member);
    check(place >= 0, name_, " has no member '", folder_, member, "'");
    return zip_.read(static_cast<std::size_t>(place));
  }
  std::vector<std::byte> pickle() const { return read(std::string(kPickleName)); }
  StorageSource storage() const {
    return [this](const std::string& key) { return read("data/" + key); };
  }
  i64 max_bytes() const { return max_bytes_; }

 private:
  static std::span<const std::byte> zipped(std::span<const std::byte> file,
                                           const std::string& name) {
    check(looks_like_zip(file), name,
          " is no PyTorch checkpoint in the zip format (torch.save writes it since version 1.6)");
    return file;
  }

  ZipReader zip_;
  std::string name_;
  std::string folder_;
  i64 max_bytes_;
};

}  // namespace

TensorMap tensors_from_pickle(std::span<const std::byte> pickle, const StorageSource& storage,
                              i64 max_bytes, const std::string& name) {
  const Pickle graph = parse_pickle(pickle, name);
  return load(Checkpoint(graph, name).state_dict(), storage, max_bytes, name);
}

TensorMap parse_torch(std::span<const std::byte> file, const std::string& name) {
  const Archive archive(file, name);
  return tensors_from_pickle(archive.pickle(), archive.storage(), archive.max_bytes(), name);
}

std::optional<TorchOptimiser> read_torch_optimiser(const std::filesystem::path& path) {
  const MappedFile file(path);
  const std::string name = path.string();
  const Archive archive(file.bytes(), name);
  const std::vector<std::byte> pickle = archive.pickle();
  const Pickle graph = parse_pickle(pickle, name);
  const auto described = Checkpoint(graph, name).optimiser();
  if (!described) return std::nullopt;
  TorchOptimiser optimiser;
  optimiser.steps = described->steps;
  optimiser.first = load(described->first, archive.storage(), archive.max_bytes(), name);
  optimiser.second = load(described->second, archive.storage(), archive.max_bytes(), name);
  return optimiser;
}

TensorMap read_torch(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_torch(file.bytes(), path.string());
}

bool looks_like_torch(std::span<const std::byte> file, const std::string& name) {
  return looks_like_zip(file) && folder_of_pickle(ZipReader(file, name)).has_value();
}

}  // namespace orrery
