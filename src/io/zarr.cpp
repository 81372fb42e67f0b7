#include "io/zarr.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/function_ref.h"
#include "io/hdf5.h"
#include "io/inflate.h"
#include "io/pieces.h"
#include "io/values.h"
#include "io/zip.h"

namespace orrery {

namespace {

constexpr std::size_t kMaxMetadataBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxArrays = 4096;
// folders within folders: data/column needs two
constexpr int kMaxDepth = 8;

}  // namespace

// Where files of a store come from.
class ZarrReader::Store {
 public:
  explicit Store(const std::filesystem::path& path) : path_(path) {
    if (std::filesystem::is_directory(path)) return;
    mapped_.emplace(path);
    zip_.emplace(mapped_->bytes(), path.string());
    // the store may lie in a folder of the zip file: that of the outermost group
    for (const ZipReader::Member& member : zip_->members()) {
      for (const std::string_view group : {".zgroup", "zarr.json"}) {
        const std::string before = folder_of(member.name, group);
        if (before == member.name) continue;
        if (!found_ || before.size() < prefix_.size()) prefix_ = before;
        found_ = true;
      }
    }
  }

  // all arrays, also those that cannot be read; `name` begins the sentences of errors
  std::vector<ZarrArray> arrays(const std::string& name) const {
    std::vector<ZarrArray> found;
    if (zip_) {
      for (const ZipReader::Member& member : zip_->members()) {
        const std::string& file = member.name;
        if (file.compare(0, prefix_.size(), prefix_) != 0) continue;
        for (const bool third : {false, true}) {
          const std::string folder = folder_of(file, third ? kThird : kSecond);
          if (folder == file) continue;
          // without the '/' behind it
          std::string path = folder.substr(std::min(folder.size(), prefix_.size()));
          if (!path.empty()) path.pop_back();
          add(path, third, name, found);
        }
      }
    } else {
      collect(path_, "", 0, name, found);
    }
    std::sort(found.begin(), found.end(),
              [](const ZarrArray& a, const ZarrArray& b) { return a.path < b.path; });
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
  static constexpr std::string_view kSecond = ".zarray", kThird = "zarr.json";

  // "data/a/.zarray" -> "data/a/"; what is called otherwise comes back whole
  static std::string folder_of(const std::string& file, std::string_view last) {
    if (file.size() < last.size()) return file;
    const std::string folder = file.substr(0, file.size() - last.size());
    const bool is_it = file.compare(folder.size(), last.size(), last) == 0 &&
                       (folder.empty() || folder.back() == '/');
    return is_it ? folder : file;
  }

  // the array of a folder; false: it is a group
  bool add(const std::string& path, bool third, const std::string& name,
           std::vector<ZarrArray>& found) const {
    const std::string file = text(path, path.empty() ? "" : "/", third ? kThird : kSecond);
    const auto array = third ? parse_zarr_json(metadata(file), path, name)
                             : parse_zarray(metadata(file), path, name);
    if (!array) return false;
    check(found.size() < kMaxArrays, name, " has more than ", kMaxArrays, " arrays");
    found.push_back(*array);
    return true;
  }

  void collect(const std::filesystem::path& folder, const std::string& path, int depth,
               const std::string& name, std::vector<ZarrArray>& found) const {
    // what lies below an array are chunks
    for (const bool third : {false, true}) {
      if (std::filesystem::exists(folder / (third ? kThird : kSecond)) &&
          add(path, third, name, found)) {
        return;
      }
    }
    if (depth == kMaxDepth) return;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (!entry.is_directory()) continue;
      const std::string below = entry.path().filename().string();
      collect(entry.path(), path.empty() ? below : text(path, "/", below), depth + 1, name, found);
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
    : name_(path.string()), store_(std::make_unique<Store>(path)), arrays_(store_->arrays(name_)) {}

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

// CRC-32C (Castagnoli), as RFC 3720 has it: polynomial 0x1edc6f41, its bits reversed.
u32 crc32c(std::span<const std::byte> bytes) {
  static const std::array<u32, 256> table = [] {
    std::array<u32, 256> made = {};
    for (u32 i = 0; i < made.size(); ++i) {
      u32 rest = i;
      for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ ((rest & 1u) != 0 ? 0x82f63b78u : 0u);
      made[i] = rest;
    }
    return made;
  }();
  u32 sum = ~u32{0};
  for (const std::byte b : bytes) sum = table[(sum ^ static_cast<u32>(b)) & 0xff] ^ (sum >> 8);
  return ~sum;
}

// What stands before a checksum of four bytes.
std::span<const std::byte> without_checksum(std::span<const std::byte> bytes,
                                            const std::string& where) {
  u32 sum = 0;
  check(bytes.size() >= sizeof(sum), where, "it is shorter than its checksum");
  const auto body = bytes.first(bytes.size() - sizeof(sum));
  std::memcpy(&sum, bytes.data() + body.size(), sizeof(sum));
  check(crc32c(body) == sum, where, "it is damaged: its checksum is another");
  return body;
}

}  // namespace

std::optional<std::span<const std::byte>> chunk_in_shard(const ZarrArray& array,
                                                         std::span<const std::byte> shard, i64 slot,
                                                         const std::string& where) {
  i64 together = 1;
  for (const i64 count : array.shard) together *= count;
  ORRERY_ASSERT(slot >= 0 && slot < together);
  // offset and length of each chunk, two numbers of 64 bits
  constexpr std::size_t kEntry = 16;
  const std::size_t bytes =
      static_cast<std::size_t>(together) * kEntry + (array.index_checksum ? 4 : 0);
  check(shard.size() >= bytes, where, "it has ", shard.size(), " bytes, its index alone has ",
        bytes);
  auto index = array.index_first ? shard.first(bytes) : shard.last(bytes);
  if (array.index_checksum) index = without_checksum(index, where);
  std::array<u64, 2> entry = {};
  std::memcpy(entry.data(), index.data() + static_cast<std::size_t>(slot) * kEntry, kEntry);
  constexpr u64 kMissing = ~u64{0};
  if (entry[0] == kMissing && entry[1] == kMissing) return std::nullopt;
  check(entry[0] <= shard.size() && entry[1] <= shard.size() - entry[0], where, "chunk ", slot,
        " lies outside of it");
  return shard.subspan(static_cast<std::size_t>(entry[0]), static_cast<std::size_t>(entry[1]));
}

void ZarrReader::decode(const ZarrArray& array, const Place& place, std::byte* out) const {
  const i64 bytes = array.chunk_bytes();
  const auto size = static_cast<std::size_t>(bytes);
  store_->with(place.file, [&](const std::span<const std::byte>* file) {
    const std::string where = text("cannot read ", place.file, " of ", name_, ": ");
    std::optional<std::span<const std::byte>> stored;
    if (file != nullptr) {
      stored = array.shard.empty() ? *file : chunk_in_shard(array, *file, place.slot, where);
    }
    if (!stored) {
      for (std::size_t at = 0; at < size; at += array.fill.size()) {
        std::memcpy(out + at, array.fill.data(), array.fill.size());
      }
      return;
    }
    check(stored->size() <= std::numeric_limits<u32>::max(), where, "it has ", stored->size(),
          " bytes");
    if (array.checksum) stored = without_checksum(*stored, where);
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
        check(inflate_exactly(*stored,
                              array.compressor == ZarrCompressor::gzip ? DeflateHeader::gzip
                                                                       : DeflateHeader::zlib,
                              {out, size}),
              where, "it is damaged or does not hold ", size, " bytes");
        break;
      case ZarrCompressor::zstd:
        check(ZSTD_decompress(out, size, stored->data(), stored->size()) == size, where,
              "it is damaged or does not hold ", size, " bytes");
        break;
    }
  });
}

void ZarrReader::read_chunk(i64 index, i64 chunk, std::byte* out) const {
  const ZarrArray& array = readable(index);
  check(chunk >= 0 && array.rows > 0 && chunk <= (array.rows - 1) / array.chunk_rows, array.path,
        " of ", name_, " has no chunk ", chunk);
  const std::string folder = array.path.empty() ? "" : array.path + "/";
  const Pieces pieces = {array.row, array.chunk_row, element_bytes(array.dtype)};

  // the file of a piece, and its place there, the last dimension fastest
  const auto place_of = [&](const Pieces::Corner& corner) {
    Place place = {.file = folder + array.before_chunk};
    for (int d = -1; d < array.row.rank(); ++d) {
      i64 at = d < 0 ? chunk : corner[static_cast<std::size_t>(d)] / array.chunk_row[d];
      if (!array.shard.empty()) {
        const i64 together = array.shard[static_cast<std::size_t>(d + 1)];
        place.slot = place.slot * together + at % together;
        at /= together;
      }
      if (d >= 0) place.file += array.separator;
      place.file += std::to_string(at);
    }
    return place;
  };
  if (pieces.whole()) {
    decode(array, place_of({}), out);
  } else {
    std::vector<std::byte> piece(static_cast<std::size_t>(array.chunk_bytes()));
    for (i64 p = 0; p < pieces.count(); ++p) {
      decode(array, place_of(pieces.corner(p)), piece.data());
      pieces.scatter(p, array.chunk_rows, piece.data(), out);
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
