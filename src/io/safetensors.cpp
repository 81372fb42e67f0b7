#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <vector>

#include "base/atomic_file.h"
#include "io/json.h"
#include "io/values.h"

namespace orrery {
namespace {

static_assert(std::endian::native == std::endian::little, "files hold little-endian values");

constexpr std::size_t kLengthBytes = 8;
// the limit of the reference implementation
constexpr u64 kMaxHeaderBytes = 100'000'000;
constexpr const char* kMetadataKey = "__metadata__";

struct TypeName {
  DType dtype;
  const char* name;
};
constexpr std::array<TypeName, 13> kTypeNames = {{
    {DType::f32, "F32"},
    {DType::f64, "F64"},
    {DType::f16, "F16"},
    {DType::bf16, "BF16"},
    {DType::int8, "I8"},
    {DType::int16, "I16"},
    {DType::int32, "I32"},
    {DType::int64, "I64"},
    {DType::uint8, "U8"},
    {DType::uint16, "U16"},
    {DType::uint32, "U32"},
    {DType::uint64, "U64"},
    {DType::boolean, "BOOL"},
}};

const char* file_name_of(DType dtype) {
  for (const TypeName& entry : kTypeNames) {
    if (entry.dtype == dtype) return entry.name;
  }
  fail("element type ", dtype, " has no name in safetensors files");
}

std::optional<DType> dtype_from(const std::string& name) {
  for (const TypeName& entry : kTypeNames) {
    if (name == entry.name) return entry.dtype;
  }
  return std::nullopt;
}

struct Header {
  nlohmann::json entries;
  std::span<const std::byte> values;
};

Header header_of(std::span<const std::byte> file, const std::string& name) {
  check(file.size() >= kLengthBytes, name, " has ", file.size(),
        " bytes, a safetensors file has at least 8");
  u64 length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  const std::size_t rest = file.size() - kLengthBytes;
  check(length <= kMaxHeaderBytes && length <= rest, name,
        " is no safetensors file or is cut short: its header would take ", length, " of ", rest,
        " bytes");
  const auto header = file.subspan(kLengthBytes, static_cast<std::size_t>(length));
  Header result;
  result.entries =
      parse_json({reinterpret_cast<const char*>(header.data()), header.size()}, name + " (header)");
  check(result.entries.is_object(), name, " is no safetensors file: its header is not an object");
  result.values = file.subspan(kLengthBytes + header.size());
  return result;
}

// a list of whole numbers that are not negative
std::vector<i64> sizes_from(const nlohmann::json& list, const std::string& where) {
  check(list.is_array(), where, " is not a list");
  std::vector<i64> sizes;
  for (const auto& item : list) {
    check(item.is_number_unsigned() &&
              item.get<u64>() <= static_cast<u64>(std::numeric_limits<i64>::max()),
          where, " holds something that is not a size");
    sizes.push_back(item.get<i64>());
  }
  return sizes;
}

struct Entry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  i64 begin = 0;
  i64 end = 0;
};

Entry entry_from(const std::string& key, const nlohmann::json& value, const std::string& file) {
  const std::string where = text(file, ": tensor '", key, "'");
  check(value.is_object() && value.size() == 3 && value.contains("dtype") &&
            value.contains("shape") && value.contains("data_offsets"),
        where, " is not described by dtype, shape and data_offsets");
  check(value["dtype"].is_string(), where, " has a dtype that is not text");
  const auto& type = value["dtype"].get_ref<const std::string&>();
  const std::optional<DType> dtype = dtype_from(type);
  check(dtype.has_value(), where, " has element type ", type, ", which is not supported");
  const std::vector<i64> sizes = sizes_from(value["shape"], where + ": shape");
  check(sizes.size() <= Shape::kMaxRank, where, " has ", sizes.size(), " dimensions, at most ",
        Shape::kMaxRank, " are supported");
  const std::vector<i64> offsets = sizes_from(value["data_offsets"], where + ": data_offsets");
  check(offsets.size() == 2 && offsets[0] <= offsets[1], where,
        " has data_offsets that are not a beginning and an end");

  Entry entry = {key, *dtype, Shape(std::span<const i64>(sizes)), offsets[0], offsets[1]};
  const std::optional<i64> bytes = checked_bytes_of(*dtype, sizes);
  check(bytes && *bytes == entry.end - entry.begin, where, " of type ", type, " and shape ",
        entry.shape, " does not fill its ", entry.end - entry.begin, " bytes");
  return entry;
}

}  // namespace

TensorMap parse_safetensors(std::span<const std::byte> file, const std::string& name) {
  const Header header = header_of(file, name);
  std::vector<Entry> entries;
  for (const auto& [key, value] : header.entries.items()) {
    if (key != kMetadataKey) entries.push_back(entry_from(key, value, name));
  }

  // in file order every tensor begins where the one before ended
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  i64 position = 0;
  for (const Entry& entry : entries) {
    check(entry.begin == position, name, ": tensor '", entry.name, "' begins at byte ", entry.begin,
          ", the one before it ends at ", position);
    position = entry.end;
  }
  check(position == static_cast<i64>(header.values.size()), name, " has ", header.values.size(),
        " bytes of values, its tensors take ", position);

  TensorMap tensors;
  for (const Entry& entry : entries) {
    Tensor tensor(entry.dtype, entry.shape);
    const auto source = header.values.subspan(static_cast<std::size_t>(entry.begin),
                                              static_cast<std::size_t>(entry.end - entry.begin));
    if (!source.empty()) std::memcpy(tensor.bytes(), source.data(), source.size());
    make_booleans_valid(tensor);
    tensors.emplace(entry.name, std::move(tensor));
  }
  return tensors;
}

TensorMap read_safetensors(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_safetensors(file.bytes(), path.string());
}

Metadata read_safetensors_metadata(const std::filesystem::path& path) {
  const MappedFile file(path);
  const Header header = header_of(file.bytes(), path.string());
  Metadata metadata;
  if (!header.entries.contains(kMetadataKey)) return metadata;
  const auto& entries = header.entries[kMetadataKey];
  check(entries.is_object(), path.string(), ": __metadata__ is not an object");
  for (const auto& [key, value] : entries.items()) {
    check(value.is_string(), path.string(), ": __metadata__ '", key, "' is not text");
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const Metadata& metadata) {
  std::vector<const TensorMap::value_type*> order;
  for (const auto& entry : tensors) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return element_bytes(a->second.dtype()) > element_bytes(b->second.dtype());
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  i64 position = 0;
  for (const auto* entry : order) {
    const auto& [name, tensor] = *entry;
    check(name != kMetadataKey, "cannot write ", path.string(), ": a tensor is named ", name);
    const auto sizes = tensor.shape().sizes();
    header[name] = {{"dtype", file_name_of(tensor.dtype())},
                    {"shape", std::vector<i64>(sizes.begin(), sizes.end())},
                    {"data_offsets", {position, position + tensor.byte_count()}}};
    position += tensor.byte_count();
  }

  std::string characters;
  try {
    characters = header.dump();
  } catch (const nlohmann::json::exception&) {
    fail("cannot write ", path.string(), ": the name of a tensor is not UTF-8");
  }
  characters.resize((characters.size() + 7) / 8 * 8, ' ');
  const u64 length = characters.size();

  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(characters);
  for (const auto* entry : order) {
    const Tensor& tensor = entry->second;
    file.write({tensor.bytes(), static_cast<std::size_t>(tensor.byte_count())});
  }
  file.commit();
}

}  // namespace orrery
