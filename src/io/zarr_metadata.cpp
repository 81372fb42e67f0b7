#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "io/hdf5.h"
#include "io/json.h"
#include "io/values.h"
#include "io/zarr.h"

namespace orrery {

namespace {

constexpr i64 kMaxRows = i64{1} << 48;
constexpr i64 kMaxShardChunks = i64{1} << 24;

struct TypeName {
  DType dtype;
  const char* second;  // in format 2,
  const char* third;   // and in format 3
};
constexpr std::array<TypeName, 12> kTypeNames = {{
    {DType::f32, "<f4", "float32"},
    {DType::f64, "<f8", "float64"},
    {DType::f16, "<f2", "float16"},
    {DType::int8, "|i1", "int8"},
    {DType::int16, "<i2", "int16"},
    {DType::int32, "<i4", "int32"},
    {DType::int64, "<i8", "int64"},
    {DType::uint8, "|u1", "uint8"},
    {DType::uint16, "<u2", "uint16"},
    {DType::uint32, "<u4", "uint32"},
    {DType::uint64, "<u8", "uint64"},
    {DType::boolean, "|b1", "bool"},
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

// "0x7fc00000": the bits of a float, which format 3 may write
std::optional<std::vector<std::byte>> bits_of(const nlohmann::json& told, DType dtype) {
  if (!told.is_string()) return std::nullopt;
  const std::string words = told.get<std::string>();
  const auto digits = static_cast<std::size_t>(element_bytes(dtype) * 2);
  if (words.size() != digits + 2 || words.compare(0, 2, "0x") != 0) return std::nullopt;
  u64 bits = 0;
  const char* end = words.data() + words.size();
  if (std::from_chars(words.data() + 2, end, bits, 16).ptr != end) return std::nullopt;
  std::vector<std::byte> out;
  if (dtype == DType::f32) {
    put(out, static_cast<u32>(bits));
  } else {
    put(out, bits);
  }
  return out;
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
    } else if (const auto bits = bits_of(told, dtype)) {
      return bits;
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

// Shapes and chunks, as far as they can be handled; why not, otherwise.
std::string set_shapes(const std::vector<i64>& sizes, const std::vector<i64>& chunks,
                       ZarrArray& array) {
  array.rows = sizes.front();
  array.chunk_rows = chunks.front();
  array.row = Shape(std::span(sizes).subspan(1));
  array.chunk_row = Shape(std::span(chunks).subspan(1));
  // a chunk, and the rows of a chunk when it takes several chunks to make them
  const auto chunk_bytes = checked_bytes_of(array.dtype, chunks);
  std::vector<i64> whole = sizes;
  whole.front() = array.chunk_rows;
  const auto rows_bytes = checked_bytes_of(array.dtype, whole);
  if (!chunk_bytes || *chunk_bytes == 0 || *chunk_bytes > kMaxChunkBytes || !rows_bytes ||
      *rows_bytes == 0 || *rows_bytes > kMaxChunkBytes) {
    return text("its chunks have no bytes or more than ", kMaxChunkBytes);
  }
  // pieces that one row is cut into
  i64 pieces = 1;
  for (int d = 0; d < array.row.rank(); ++d) {
    pieces *= (array.row[d] + array.chunk_row[d] - 1) / array.chunk_row[d];
    if (pieces > (i64{1} << 20)) return "its rows are cut into too many chunks";
  }
  return "";
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
                   [&](const TypeName& candidate) { return type == candidate.second; });
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

  array.refusal = set_shapes(*sizes, *chunks, array);
  return array;
}

namespace {

// The codecs of a chunk after the one that makes numbers bytes: a compressor, a checksum, either or
// none. Why not, otherwise.
std::string set_codecs(const nlohmann::json& told, ZarrArray& array) {
  if (!told.is_array() || told.empty()) return "it has no codecs";
  bool bytes = false, compressed = false;
  for (const auto& codec : told) {
    const nlohmann::json name = codec.is_string()                             ? codec
                                : codec.is_object() && codec.contains("name") ? codec.at("name")
                                                                              : "";
    const nlohmann::json settings = codec.is_object() && codec.contains("configuration")
                                        ? codec.at("configuration")
                                        : nlohmann::json::object();
    if (name == "bytes" && !bytes) {
      bytes = true;
      // single bytes have no order, and may say so by silence
      const bool little =
          settings.is_object() && settings.contains("endian") && settings.at("endian") == "little";
      if (!little && element_bytes(array.dtype) > 1) return "its bytes are in the other order";
    } else if (name == "crc32c" && bytes && !array.checksum) {
      array.checksum = true;
    } else if (const auto compressor = compressor_of(nlohmann::json{{"id", name}});
               bytes && compressor && !compressed && !array.checksum) {
      array.compressor = *compressor;
      compressed = true;
    } else {
      return text(
          "its codecs are other than bytes, one of Blosc, gzip and zstd, and crc32c, in this "
          "order");
    }
  }
  return bytes ? "" : "it has no codec of bytes";
}

// "sharding_indexed": files of several chunks with a table of where they lie.
std::string set_shards(const nlohmann::json& told, std::vector<i64>& chunks, ZarrArray& array) {
  const auto entry = [&](const char* key) {
    return told.is_object() && told.contains(key) ? told.at(key) : nlohmann::json();
  };
  const auto inner = sizes_of(entry("chunk_shape"));
  if (!inner || inner->size() != chunks.size()) return "its shards hold chunks of another rank";
  i64 together = 1;
  for (std::size_t d = 0; d < chunks.size(); ++d) {
    if ((*inner)[d] == 0 || chunks[d] == 0 || chunks[d] % (*inner)[d] != 0) {
      return "its shards do not hold whole chunks";
    }
    array.shard.push_back(chunks[d] / (*inner)[d]);
    const auto product = checked_product(together, array.shard.back());
    if (!product || *product > kMaxShardChunks) return "its shards hold too many chunks";
    together = *product;
  }
  chunks = *inner;
  const nlohmann::json place = entry("index_location");
  if (!place.is_null() && place != "end" && place != "start")
    return "its shards have no known index";
  array.index_first = place == "start";
  // the index: pairs of 64 bits
  ZarrArray index;
  index.dtype = DType::uint64;
  const std::string why = set_codecs(entry("index_codecs"), index);
  if (!why.empty() || index.compressor != ZarrCompressor::none) {
    return "the index of its shards is compressed";
  }
  array.index_checksum = index.checksum;
  return set_codecs(entry("codecs"), array);
}

}  // namespace

std::optional<ZarrArray> parse_zarr_json(std::string_view characters, const std::string& path,
                                         const std::string& name) {
  const nlohmann::json told = parse_json(characters, text(name, "/", path, "/zarr.json"));
  const auto entry = [](const nlohmann::json& object, const char* key) {
    return object.is_object() && object.contains(key) ? object.at(key) : nlohmann::json();
  };
  if (entry(told, "node_type") != "array") return std::nullopt;
  ZarrArray array;
  array.path = path;
  const auto refuse = [&](std::string why) {
    array.refusal = std::move(why);
    return array;
  };
  if (entry(told, "zarr_format") != 3) return refuse("it is not of zarr format 3");
  const auto sizes = sizes_of(entry(told, "shape"));
  const nlohmann::json grid = entry(told, "chunk_grid");
  auto chunks = sizes_of(entry(entry(grid, "configuration"), "chunk_shape"));
  if (entry(grid, "name") != "regular" || !sizes || !chunks || sizes->size() != chunks->size()) {
    return refuse(text("its shape and chunks are not 1 to ", Shape::kMaxRank, " sizes"));
  }
  const nlohmann::json type = entry(told, "data_type");
  const auto known =
      std::find_if(kTypeNames.begin(), kTypeNames.end(),
                   [&](const TypeName& candidate) { return type == candidate.third; });
  if (known == kTypeNames.end()) {
    return refuse(text("its elements are of type ",
                       type.is_string() ? type.get<std::string>() : "that is no word"));
  }
  array.dtype = known->dtype;
  const nlohmann::json keys = entry(told, "chunk_key_encoding");
  const nlohmann::json separator = entry(entry(keys, "configuration"), "separator");
  const bool usual = entry(keys, "name") == "default";
  if ((!usual && entry(keys, "name") != "v2") ||
      (!separator.is_null() && separator != "/" && separator != ".")) {
    return refuse("its chunks are named in an unknown way");
  }
  array.separator = separator.is_null() ? (usual ? '/' : '.') : separator.get<std::string>()[0];
  if (usual) array.before_chunk = text("c", array.separator);
  auto fill = fill_of(entry(told, "fill_value"), array.dtype);
  if (!fill) return refuse("its fill value does not fit its type");
  array.fill = std::move(*fill);
  const nlohmann::json transformers = entry(told, "storage_transformers");
  if (!transformers.is_null() && !(transformers.is_array() && transformers.empty())) {
    return refuse("its storage is transformed");
  }

  const nlohmann::json codecs = entry(told, "codecs");
  const bool sharded =
      codecs.is_array() && codecs.size() == 1 && entry(codecs[0], "name") == "sharding_indexed";
  std::string why = sharded ? set_shards(entry(codecs[0], "configuration"), *chunks, array)
                            : set_codecs(codecs, array);
  if (why.empty()) why = set_shapes(*sizes, *chunks, array);
  return refuse(std::move(why));
}

}  // namespace orrery
