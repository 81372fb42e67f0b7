#include "train/checkpoint.h"

#include "io/json.h"
#include "io/safetensors.h"

namespace orrery::train {

namespace {

using nlohmann::json;

// keys of the file's metadata
const char* const kDescription = "description";
const char* const kNotes = "notes";

json metadata_value(const Metadata& metadata, const char* key, const std::string& where) {
  const auto at = metadata.find(key);
  check(at != metadata.end(), where, " is not a checkpoint: it has no ", key);
  const json value = parse_json(at->second, where + ": " + key);
  check(value.is_object(), where, ": ", key, " is ", value.type_name(), ", an object was needed");
  return value;
}

std::string shown(const json* value) {
  return value == nullptr ? std::string("not there") : value->dump().substr(0, 60);
}

const json* entry(const json& object, const std::string& key) {
  const auto at = object.is_object() ? object.find(key) : object.end();
  return at == object.end() ? nullptr : &*at;
}

// the first difference below a key; `defaults` may be null
std::string difference_at(const std::string& name, const json* was, const json* is,
                          const json* defaults, const std::set<std::string>& free) {
  if (was == nullptr) was = defaults;
  if (is == nullptr) is = defaults;
  const bool inside = was != nullptr && is != nullptr && was->is_object() && is->is_object();
  if (!inside) {
    const bool same = was == is || (was != nullptr && is != nullptr && *was == *is);
    return same ? std::string() : text(name, " was ", shown(was), " and is ", shown(is));
  }
  std::set<std::string> keys;
  for (const auto& item : was->items()) keys.insert(item.key());
  for (const auto& item : is->items()) keys.insert(item.key());
  for (const std::string& key : keys) {
    const std::string full = name.empty() ? key : name + "." + key;
    if (free.contains(full)) continue;
    const std::string found = difference_at(full, entry(*was, key), entry(*is, key),
                                            defaults ? entry(*defaults, key) : nullptr, free);
    if (!found.empty()) return found;
  }
  return {};
}

}  // namespace

void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  write_safetensors(
      path, checkpoint.tensors,
      {{kDescription, checkpoint.description.dump()}, {kNotes, checkpoint.notes.dump()}});
}

Checkpoint read_checkpoint(const std::filesystem::path& path) {
  const std::string where = path.string();
  const Metadata metadata = read_safetensors_metadata(path);
  Checkpoint checkpoint;
  checkpoint.description = metadata_value(metadata, kDescription, where);
  checkpoint.notes = metadata_value(metadata, kNotes, where);
  checkpoint.tensors = read_safetensors(path);
  return checkpoint;
}

std::string difference(const json& was, const json& is, const json& defaults,
                       const std::set<std::string>& free) {
  return difference_at("", &was, &is, &defaults, free);
}

void restore_tensor(const TensorMap& tensors, const std::string& name, const std::string& where,
                    Tensor& into) {
  const auto at = tensors.find(name);
  check(at != tensors.end(), where, ": ", name, " is missing");
  check(at->second.dtype() == into.dtype() && at->second.shape() == into.shape(), where, ": ", name,
        " is ", at->second.dtype(), " ", at->second.shape(), ", needed ", into.dtype(), " ",
        into.shape());
  // into the memory that is there: views of it stay valid
  if (into.numel() > 0) {
    std::memcpy(into.bytes(), at->second.bytes(), static_cast<std::size_t>(into.byte_count()));
  }
}

i64 count_from(const TensorMap& tensors, const std::string& name, const std::string& where) {
  Tensor value = tensor_of_count(0);
  restore_tensor(tensors, name, where, value);
  const i64 number = value.data<i64>()[0];
  check(number >= 0, where, ": ", name, " is ", number, ", a number not below 0 was needed");
  return number;
}

Tensor tensor_of_count(i64 count) {
  return Tensor::of<i64>(Shape{}, std::span<const i64>(&count, 1));
}

}  // namespace orrery::train
