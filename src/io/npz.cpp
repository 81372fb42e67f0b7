#include "io/npz.h"

#include <zip.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "io/values.h"
#include "io/zip.h"

namespace orrery {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::string_view kExtension = ".npy";

struct TypeName {
  DType dtype;
  const char* name;
};
constexpr std::array<TypeName, 12> kTypeNames = {{
    {DType::f32, "<f4"},
    {DType::f64, "<f8"},
    {DType::f16, "<f2"},
    {DType::int8, "|i1"},
    {DType::int16, "<i2"},
    {DType::int32, "<i4"},
    {DType::int64, "<i8"},
    {DType::uint8, "|u1"},
    {DType::uint16, "<u2"},
    {DType::uint32, "<u4"},
    {DType::uint64, "<u8"},
    {DType::boolean, "|b1"},
}};

struct NpyHeader {
  std::string type;
  bool fortran_order = false;
  std::vector<i64> sizes;
};

// Reads the header, a Python dict literal such as {'descr': '<f4', 'fortran_order': False,
// 'shape': (2, 3), }. Only what NumPy writes is understood.
class HeaderParser {
 public:
  HeaderParser(std::string_view rest, const std::string& where) : rest_(rest), where_(where) {}

  NpyHeader parse() {
    NpyHeader header;
    bool has_type = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !has_type) {
        check(peek() == '\'' || peek() == '"', where_, " holds records, which are not supported");
        header.type = quoted();
        has_type = true;
      } else if (key == "fortran_order" && !has_order) {
        header.fortran_order = truth();
        has_order = true;
      } else if (key == "shape" && !has_shape) {
        header.sizes = sizes();
        has_shape = true;
      } else {
        give_up();
      }
      if (!accept(',') && peek() != '}') give_up();
    }
    // spaces and one line feed fill the header up
    skip_space();
    if (!rest_.empty() || !has_type || !has_order || !has_shape) give_up();
    return header;
  }

 private:
  [[noreturn]] void give_up() const { fail(where_, " has an array header that is not understood"); }
  void skip_space() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n"), rest_.size()));
  }
  char peek() {
    skip_space();
    return rest_.empty() ? '\0' : rest_.front();
  }
  bool accept(char wanted) {
    if (peek() != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) give_up();
  }
  std::string quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') give_up();
    const std::size_t end = rest_.find(quote, 1);
    if (end == std::string_view::npos) give_up();
    const std::string result(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return result;
  }
  bool truth() {
    skip_space();
    for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true},
                                      std::pair<std::string_view, bool>{"False", false}}) {
      if (rest_.substr(0, word.size()) == word) {
        rest_.remove_prefix(word.size());
        return value;
      }
    }
    give_up();
  }
  std::vector<i64> sizes() {
    std::vector<i64> result;
    expect('(');
    while (!accept(')')) {
      i64 size = 0;
      bool any = false;
      for (skip_space(); !rest_.empty() && rest_[0] >= '0' && rest_[0] <= '9';
           rest_.remove_prefix(1)) {
        any = true;
        if (__builtin_mul_overflow(size, 10, &size) ||
            __builtin_add_overflow(size, rest_[0] - '0', &size)) {
          give_up();
        }
      }
      if (!any) give_up();
      result.push_back(size);
      if (!accept(',') && peek() != ')') give_up();
    }
    check(result.size() <= Shape::kMaxRank, where_, " has ", result.size(), " dimensions, at most ",
          Shape::kMaxRank, " are supported");
    return result;
  }

  std::string_view rest_;
  const std::string& where_;
};

DType dtype_from(const std::string& type, const std::string& where) {
  for (const TypeName& entry : kTypeNames) {
    if (type == entry.name) return entry.dtype;
  }
  // one byte has no order, but some writers give one
  if (type.size() == 3 && type[2] == '1') {
    for (const TypeName& entry : kTypeNames) {
      if (type.substr(1) == entry.name + 1) return entry.dtype;
    }
  }
  fail(where, " holds elements of NumPy type '", type, "', which are not supported");
}

std::string npy_header_of(const Tensor& tensor, const std::string& where) {
  const auto* entry = std::find_if(kTypeNames.begin(), kTypeNames.end(), [&](const TypeName& type) {
    return type.dtype == tensor.dtype();
  });
  check(entry != kTypeNames.end(), "cannot write ", where, ": NumPy has no type for ",
        tensor.dtype());
  std::string shape;
  for (const i64 size : tensor.shape().sizes()) shape += text(shape.empty() ? "" : " ", size, ",");
  // (3,) but (2, 3)
  if (tensor.rank() > 1) shape.pop_back();
  std::string dict =
      text("{'descr': '", entry->name, "', 'fortran_order': False, 'shape': (", shape, "), }");

  // magic, version 1.0, u16 length, then the dict filled up so that the values begin at 64 bytes
  constexpr std::size_t kBefore = 10;
  const std::size_t total = (kBefore + dict.size() + 1 + 63) / 64 * 64;
  dict.resize(total - kBefore - 1, ' ');
  dict += '\n';
  std::string header(kMagic);
  header += {1, 0, static_cast<char>(dict.size() & 255), static_cast<char>(dict.size() >> 8)};
  return header + dict;
}

}  // namespace

Tensor parse_npy(std::span<const std::byte> file, const std::string& name) {
  const std::string_view characters(reinterpret_cast<const char*>(file.data()), file.size());
  check(characters.substr(0, kMagic.size()) == kMagic && file.size() >= 10, name,
        " is no NumPy array file or is cut short");
  const int version = characters[6];
  check(version >= 1 && version <= 3, name, " has NumPy format ", version, ", 1 to 3 are known");

  // the length is u16 in version 1 and u32 later
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  const std::size_t before = kMagic.size() + 2 + length_bytes;
  u32 length = 0;
  check(file.size() >= before, name, " is cut short in its header");
  std::memcpy(&length, file.data() + kMagic.size() + 2, length_bytes);
  check(length <= file.size() - before, name, " is cut short in its header");

  const NpyHeader header = HeaderParser(characters.substr(before, length), name).parse();
  const DType dtype = dtype_from(header.type, name);
  const Shape shape{std::span<const i64>(header.sizes)};
  const auto values = file.subspan(before + length);
  const std::optional<i64> bytes = checked_bytes_of(dtype, header.sizes);
  check(bytes && *bytes == static_cast<i64>(values.size()), name, " has ", values.size(),
        " bytes of values, which is not what shape ", shape, " of ", dtype, " takes");

  // column-major: the first dimension is the one whose values are neighbours
  std::vector<i64> strides(header.sizes.size());
  i64 stride = 1;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    const std::size_t d = header.fortran_order ? i : strides.size() - 1 - i;
    strides[d] = stride;
    stride *= header.sizes[d];
  }
  return gather_strided(dtype, shape, values.data(), strides);
}

Tensor read_npy(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_npy(file.bytes(), path.string());
}

TensorMap parse_npz(std::span<const std::byte> file, const std::string& name,
                    const NameFilter& wanted) {
  const ZipReader zip(file, name);
  TensorMap tensors;
  for (std::size_t i = 0; i < zip.members().size(); ++i) {
    std::string array = zip.members()[i].name;
    const bool is_array = array.size() >= kExtension.size() &&
                          array.substr(array.size() - kExtension.size()) == kExtension;
    if (is_array) array.resize(array.size() - kExtension.size());
    if (wanted && !wanted(array)) continue;
    check(is_array, name, ": member '", array, "' is not a NumPy array");
    const auto [place, is_new] =
        tensors.emplace(array, parse_npy(zip.read(i), text(name, ": array '", array, "'")));
    check(is_new, name, " has the array '", array, "' twice");
  }
  return tensors;
}

TensorMap read_npz(const std::filesystem::path& path, const NameFilter& wanted) {
  const MappedFile file(path);
  return parse_npz(file.bytes(), path.string(), wanted);
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  AtomicFile file(path);
  file.write(npy_header_of(tensor, path.string()));
  file.write({tensor.bytes(), static_cast<std::size_t>(tensor.byte_count())});
  file.commit();
}

void write_npz(const std::filesystem::path& path, const TensorMap& tensors, bool deflate) {
  std::vector<std::string> headers;
  headers.reserve(tensors.size());
  std::vector<ZipParts> members;
  for (const auto& [name, tensor] : tensors) {
    headers.push_back(npy_header_of(tensor, path.string()));
    const std::string& header = headers.back();
    members.push_back({name + std::string(kExtension),
                       {std::as_bytes(std::span(header)),
                        {tensor.bytes(), static_cast<std::size_t>(tensor.byte_count())}}});
  }
  write_zip(path, members, deflate);
}

}  // namespace orrery
