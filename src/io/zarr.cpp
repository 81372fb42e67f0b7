#include "io/zarr.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/function_ref.h"
#include "io/hdf5.h"
#include "io/json.h"
#include "io/values.h"
#include "io/zip.h"

namespace orrery {

namespace {

constexpr std::size_t kMaxMetadataBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxArrays = 4096;
constexpr i64 kMaxRows = i64{1} << 48;
// folders within folders: data/column needs two
constexpr int kMaxDepth = 8;

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

template <typename T>
void put(std::vector<std::byte>& out, T value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof(T));
}

template <typename T>
bool put_integer(std::vector<std::byte>& out, const nlohmann::json& told) {
  if (!told.is_number_integer()) return false;
  if (told.is_number_unsigned()) {
    const u64 value = told.get<u64>();
    if (value > static_cast<u64>(std::numeric_limits<T>::max())) return false;
    put(out, static_cast<T>(value));
    return true;
  }
  const i64 value = told.get<i64>();
  if (value < static_cast<i64>(std::numeric_limits<T>::min())) return false;
  put(out, static_cast<T>(value));
  return true;
}

// the fill value as one element, or nothing when it does not fit the type
std::optional<std::vector<std::byte>> fill_of(const nlohmann::json& told, DType dtype) {
  const auto size = static_cast<std::size_t>(element_bytes(dtype));
  // undefined: zeros serve
  if (told.is_null()) return std::vector<std::byte>(size);
  std::vector<std::byte> out;
  if (dtype == DType::f32 || dtype == DType::f64) {
    double value = 0;
    if (told.is_number()) {
      value = told.get<double>();
    } else if (told == "NaN") {
      value = std::numeric_limits<double>::quiet_NaN();
    } else if (told == "Infinity" || told == "-Infinity") {
      value = (told == "Infinity" ? 1 : -1) * std::numeric_limits<double>::infinity();
    } else {
      return std::nullopt;
    }
    if (dtype == DType::f32) {
      // what is too large for the type becomes infinite, as it does in NumPy
      put(out, std::abs(value) > static_cast<double>(std::numeric_limits<float>::max()) &&
                       std::isfinite(value)
                   ? std::copysign(std::numeric_limits<float>::infinity(),
                                   static_cast<float>(value > 0 ? 1 : -1))
                   : static_cast<float>(value));
    } else {
      put(out, value);
    }
    return out;
  }
  bool fits = false;
  switch (dtype) {
    case DType::int8:
      fits = put_integer<i8>(out, told);
      break;
    case DType::int16:
      fits = put_integer<i16>(out, told);
      break;
    case DType::int32:
      fits = put_integer<i32>(out, told);
      break;
    case DType::int64:
      fits = put_integer<i64>(out, told);
      break;
    case DType::uint8:
      fits = put_integer<u8>(out, told);
      break;
    case DType::uint16:
      fits = put_integer<u16>(out, told);
      break;
    case DType::uint32:
      fits = put_integer<u32>(out, told);
      break;
    case DType::uint64:
      fits = put_integer<u64>(out, told);
      break;
    case DType::boolean:
      if (told.is_boolean()) put(out, static_cast<u8>(told.get<bool>()));
      fits = told.is_boolean();
      break;
    default:
      // half precision: only its zero
      fits = told.is_number() && told.get<double>() == 0;
      if (fits) out.resize(size);
  }
  if (!fits) return std::nullopt;
  return out;
}

std::optional<std::vector<i64>> sizes_of(const nlohmann::json& told) {
  if (!told.is_array() || told.empty() || told.size() > Shape::kMaxRank) return std::nullopt;
  std::vector<i64> sizes;
  for (const auto& size : told) {
    if (!size.is_number_unsigned() || size.get<u64>() > static_cast<u64>(kMaxRows)) {
      return std::nullopt;
    }
    sizes.push_back(static_cast<i64>(size.get<u64>()));
  }
  return sizes;
}

std::optional<ZarrCompressor> compressor_of(const nlohmann::json& told) {
  if (told.is_null()) return ZarrCompressor::none;
  if (!told.is_object() || !told.contains("id")) return std::nullopt;
  const auto& id = told.at("id");
  if (id == "blosc") return ZarrCompressor::blosc;
  if (id == "zlib") return ZarrCompressor::zlib;
  if (id == "gzip") return ZarrCompressor::gzip;
  if (id == "zstd") return ZarrCompressor::zstd;
  return std::nullopt;
}

}  // namespace

ZarrArray parse_zarray(std::string_view characters, const std::string& path,
                       const std::string& name) {
  const nlohmann::json told = parse_json(characters, text(name, "/", path, "/.zarray"));
  ZarrArray array;
  array.path = path;
  const auto refuse = [&](std::string why) {
    array.refusal = std::move(why);
    return array;
  };
  const auto entry = [&](const char* key) {
    return told.is_object() && told.contains(key) ? told.at(key) : nlohmann::json();
  };
  if (entry("zarr_format") != 2) return refuse("it is not of zarr format 2");
  const auto sizes = sizes_of(entry("shape"));
  const auto chunks = sizes_of(entry("chunks"));
  if (!sizes || !chunks || sizes->size() != chunks->size()) {
    return refuse(text("its shape and chunks are not 1 to ", Shape::kMaxRank, " sizes"));
  }
  const nlohmann::json type = entry("dtype");
  const auto known =
      std::find_if(kTypeNames.begin(), kTypeNames.end(),
                   [&](const TypeName& candidate) { return type == candidate.name; });
  if (known == kTypeNames.end()) {
    return refuse(text("its elements are of type ",
                       type.is_string() ? type.get<std::string>() : "that is no word"));
  }
  array.dtype = known->dtype;
  if (entry("order") != "C" && sizes->size() > 1) return refuse("it is stored column by column");
  const nlohmann::json filters = entry("filters");
  if (!filters.is_null() && !(filters.is_array() && filters.empty())) {
    return refuse("it goes through filters");
  }
  const auto compressor = compressor_of(entry("compressor"));
  if (!compressor) {
    return refuse("its compressor is none of Blosc, zlib, gzip and zstd");
  }
  array.compressor = *compressor;
  const nlohmann::json separator = entry("dimension_separator");
  if (separator == "/") {
    array.separator = '/';
  } else if (!separator.is_null() && separator != ".") {
    return refuse("its chunks are named in an unknown way");
  }
  auto fill = fill_of(entry("fill_value"), array.dtype);
  if (!fill) return refuse("its fill value does not fit its type");
  array.fill = std::move(*fill);

  array.rows = sizes->front();
  array.chunk_rows = chunks->front();
  array.row = Shape(std::span(*sizes).subspan(1));
  array.chunk_row = Shape(std::span(*chunks).subspan(1));
  // a chunk, and the rows of a chunk when it takes several chunks to make them
  const auto chunk_bytes = checked_bytes_of(array.dtype, *chunks);
  std::vector<i64> whole = *sizes;
  whole.front() = array.chunk_rows;
  const auto rows_bytes = checked_bytes_of(array.dtype, whole);
  if (!chunk_bytes || *chunk_bytes == 0 || *chunk_bytes > kMaxChunkBytes || !rows_bytes ||
      *rows_bytes == 0 || *rows_bytes > kMaxChunkBytes) {
    return refuse(text("its chunks have no bytes or more than ", kMaxChunkBytes));
  }
  // pieces that one row is cut into
  i64 pieces = 1;
  for (int d = 0; d < array.row.rank(); ++d) {
    pieces *= (array.row[d] + array.chunk_row[d] - 1) / array.chunk_row[d];
    if (pieces > (i64{1} << 20)) return refuse("its rows are cut into too many chunks");
  }
  return array;
}

// Where files of a store come from.
class ZarrReader::Store {
 public:
  explicit Store(const std::filesystem::path& path) : path_(path) {
    if (std::filesystem::is_directory(path)) return;
    mapped_.emplace(path);
    zip_.emplace(mapped_->bytes(), path.string());
    // the store may lie in a folder of the zip file
    for (const ZipReader::Member& member : zip_->members()) {
      const std::string& file = member.name;
      constexpr std::string_view kGroup = ".zgroup";
      if (file.size() < kGroup.size() || file.substr(file.size() - kGroup.size()) != kGroup) {
        continue;
      }
      const std::string before = file.substr(0, file.size() - kGroup.size());
      if (!found_ || before.size() < prefix_.size()) prefix_ = before;
      found_ = true;
    }
  }

  // paths of all arrays
  std::vector<std::string> arrays() const {
    std::vector<std::string> found;
    if (zip_) {
      constexpr std::string_view kArray = "/.zarray";
      for (const ZipReader::Member& member : zip_->members()) {
        const std::string& file = member.name;
        if (file.size() <= prefix_.size() + kArray.size() ||
            file.compare(0, prefix_.size(), prefix_) != 0 ||
            file.substr(file.size() - kArray.size()) != kArray) {
          continue;
        }
        found.push_back(file.substr(prefix_.size(), file.size() - prefix_.size() - kArray.size()));
      }
    } else {
      collect(path_, "", 0, found);
    }
    check(found.size() <= kMaxArrays, path_.string(), " has more than ", kMaxArrays, " arrays");
    std::sort(found.begin(), found.end());
    return found;
  }

  std::string metadata(const std::string& file) const {
    if (!zip_) return read_file(path_ / file, kMaxMetadataBytes);
    const i64 member = zip_->find(prefix_ + file);
    check(member >= 0, path_.string(), " has no ", file);
    check(zip_->members()[static_cast<std::size_t>(member)].bytes <= kMaxMetadataBytes,
          path_.string(), ": ", file, " is too long");
    const auto bytes = zip_->read(static_cast<std::size_t>(member));
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // calls body with the bytes of a file, or with nothing when there is none
  void with(const std::string& file,
            FunctionRef<void(const std::span<const std::byte>*)> body) const {
    if (zip_) {
      std::vector<std::byte> bytes;
      {
        const std::lock_guard guard(mutex_);  // libzip reads one member at a time
        const i64 member = zip_->find(prefix_ + file);
        if (member < 0) return body(nullptr);
        bytes = zip_->read(static_cast<std::size_t>(member));
      }
      const std::span<const std::byte> span = bytes;
      return body(&span);
    }
    const std::filesystem::path full = path_ / file;
    if (!std::filesystem::exists(full)) return body(nullptr);
    const MappedFile mapped(full);
    const std::span<const std::byte> span = mapped.bytes();
    body(&span);
  }

 private:
  static void collect(const std::filesystem::path& folder, const std::string& path, int depth,
                      std::vector<std::string>& found) {
    if (std::filesystem::exists(folder / ".zarray")) {
      found.push_back(path);
      return;  // what lies below are chunks
    }
    if (depth == kMaxDepth || found.size() > kMaxArrays) return;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (!entry.is_directory()) continue;
      const std::string below = entry.path().filename().string();
      collect(entry.path(), path.empty() ? below : text(path, "/", below), depth + 1, found);
    }
  }

  std::filesystem::path path_;
  std::optional<MappedFile> mapped_;
  std::optional<ZipReader> zip_;
  std::string prefix_;
  bool found_ = false;
  mutable std::mutex mutex_;
};

ZarrReader::ZarrReader(const std::filesystem::path& path)
    : name_(path.string()), store_(std::make_unique<Store>(path)) {
  for (const std::string& array : store_->arrays()) {
    const std::string file = array.empty() ? ".zarray" : array + "/.zarray";
    arrays_.push_back(parse_zarray(store_->metadata(file), array, name_));
  }
}

ZarrReader::~ZarrReader() = default;

i64 ZarrReader::find(std::string_view path) const {
  for (std::size_t i = 0; i < arrays_.size(); ++i) {
    if (arrays_[i].path == path) return static_cast<i64>(i);
  }
  return -1;
}

const ZarrArray& ZarrReader::readable(i64 index) const {
  check(index >= 0 && index < static_cast<i64>(arrays_.size()), name_, " has no array ", index);
  const ZarrArray& array = arrays_[static_cast<std::size_t>(index)];
  check(array.refusal.empty(), "cannot read ", array.path, " of ", name_, ": ", array.refusal);
  return array;
}

namespace {

// zlib's and gzip's streams into exactly `bytes` bytes
bool inflate_exactly(std::span<const std::byte> from, bool gzip, std::byte* out, i64 bytes) {
  z_stream stream = {};
  // 15: the largest window; 16 more: a gzip header
  if (inflateInit2(&stream, gzip ? 15 + 16 : 15) != Z_OK) return false;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from.data()));
  stream.avail_in = static_cast<uInt>(from.size());
  stream.next_out = reinterpret_cast<Bytef*>(out);
  stream.avail_out = static_cast<uInt>(bytes);
  const int code = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  return code == Z_STREAM_END && stream.avail_out == 0;
}

}  // namespace

void ZarrReader::decode(const ZarrArray& array, const std::string& file, std::byte* out) const {
  const i64 bytes = array.chunk_bytes();
  const auto size = static_cast<std::size_t>(bytes);
  store_->with(file, [&](const std::span<const std::byte>* stored) {
    if (stored == nullptr) {
      for (std::size_t at = 0; at < size; at += array.fill.size()) {
        std::memcpy(out + at, array.fill.data(), array.fill.size());
      }
      return;
    }
    const std::string where = text("cannot read ", file, " of ", name_, ": ");
    check(stored->size() <= std::numeric_limits<u32>::max(), where, "it has ", stored->size(),
          " bytes");
    switch (array.compressor) {
      case ZarrCompressor::none:
        check(stored->size() == size, where, "it has ", stored->size(), " bytes, ", size,
              " are needed");
        std::memcpy(out, stored->data(), size);
        break;
      case ZarrCompressor::blosc:
        BloscFrame(*stored, bytes, where).decode(out);
        break;
      case ZarrCompressor::zlib:
      case ZarrCompressor::gzip:
        check(inflate_exactly(*stored, array.compressor == ZarrCompressor::gzip, out, bytes), where,
              "it is damaged or does not hold ", size, " bytes");
        break;
      case ZarrCompressor::zstd:
        check(ZSTD_decompress(out, size, stored->data(), stored->size()) == size, where,
              "it is damaged or does not hold ", size, " bytes");
        break;
    }
  });
}

namespace {

// Copies a chunk's part of its rows into them: dimension d of shapes without the first axis.
void scatter(const ZarrArray& array, std::span<const i64> corner, int d, const std::byte* chunk,
             std::byte* row) {
  const i64 element = element_bytes(array.dtype);
  i64 inner_chunk = element, inner_row = element;
  for (int k = d + 1; k < array.row.rank(); ++k) {
    inner_chunk *= array.chunk_row[k];
    inner_row *= array.row[k];
  }
  const i64 first = corner[static_cast<std::size_t>(d)];
  const i64 count = std::min(array.chunk_row[d], array.row[d] - first);
  const bool last = d == array.row.rank() - 1;
  if (last) {
    std::memcpy(row + first * element, chunk, static_cast<std::size_t>(count * element));
    return;
  }
  for (i64 i = 0; i < count; ++i) {
    scatter(array, corner, d + 1, chunk + i * inner_chunk, row + (first + i) * inner_row);
  }
}

}  // namespace

void ZarrReader::read_chunk(i64 index, i64 chunk, std::byte* out) const {
  const ZarrArray& array = readable(index);
  check(chunk >= 0 && array.rows > 0 && chunk <= (array.rows - 1) / array.chunk_rows, array.path,
        " of ", name_, " has no chunk ", chunk);
  const std::string folder = array.path.empty() ? "" : array.path + "/";
  const int rank = array.row.rank();
  bool whole = true;
  for (int d = 0; d < rank; ++d) whole = whole && array.chunk_row[d] == array.row[d];

  const auto file_of = [&](std::span<const i64> corner) {
    std::string file = text(folder, chunk);
    for (int d = 0; d < rank; ++d) {
      file += array.separator;
      file += std::to_string(corner[static_cast<std::size_t>(d)] / array.chunk_row[d]);
    }
    return file;
  };
  std::array<i64, Shape::kMaxRank> corner = {};
  if (whole) {
    decode(array, file_of(corner), out);
  } else {
    // every piece of these rows, the last dimension fastest
    std::vector<std::byte> piece(static_cast<std::size_t>(array.chunk_bytes()));
    const i64 piece_row = array.chunk_row.numel() * element_bytes(array.dtype);
    for (bool more = true; more;) {
      decode(array, file_of(corner), piece.data());
      for (i64 r = 0; r < array.chunk_rows; ++r) {
        scatter(array, corner, 0, piece.data() + r * piece_row, out + r * array.row_bytes());
      }
      more = false;
      for (int d = rank - 1; d >= 0 && !more; --d) {
        auto& at = corner[static_cast<std::size_t>(d)];
        at += array.chunk_row[d];
        more = at < array.row[d];
        if (!more) at = 0;
      }
    }
  }
  if (array.dtype == DType::boolean) {
    for (i64 i = 0; i < array.chunk_rows * array.row_bytes(); ++i) {
      out[i] = out[i] == std::byte{0} ? std::byte{0} : std::byte{1};
    }
  }
}

std::vector<std::byte> ZarrReader::read_all(i64 index) const {
  const ZarrArray& array = readable(index);
  const auto bytes = checked_product(array.rows, array.row_bytes());
  check(bytes && *bytes <= kMaxChunkBytes, array.path, " of ", name_, " has ", array.rows,
        " rows, too many to be read at once");
  std::vector<std::byte> values(static_cast<std::size_t>(*bytes));
  std::vector<std::byte> rows(static_cast<std::size_t>(array.chunk_rows * array.row_bytes()));
  for (i64 first = 0; first < array.rows; first += array.chunk_rows) {
    read_chunk(index, first / array.chunk_rows, rows.data());
    const i64 count = std::min(array.chunk_rows, array.rows - first);
    std::memcpy(values.data() + first * array.row_bytes(), rows.data(),
                static_cast<std::size_t>(count * array.row_bytes()));
  }
  return values;
}

}  // namespace orrery
