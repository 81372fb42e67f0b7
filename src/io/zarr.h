#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/blosc.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace orrery {

// zarr, as Diffusion Policy's replay buffers are kept in: a folder, or a zip file of one, of
// arrays. First axis: time.
//
// - format 2, read and written: an array is a folder with `.zarray` (JSON) and a file for each
//   chunk, "2.0.0"
// - format 3, read: a folder with `zarr.json` and files "c/2/0/0", each a chunk or a shard of
//   several with an index at its end or beginning
//
// Numbers and booleans, little-endian, row-major; chunks plain or compressed by Blosc (any codec),
// zlib (format 2), gzip or zstd, in format 3 also with a CRC-32C behind, which is checked; a
// missing chunk holds the fill value. Arrays of other kinds carry a refusal. What a file claims is
// bounded by kMaxChunkBytes and by what its chunk can decode to.
//
// Formats: https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html and .../v3/core/index.html

enum class ZarrCompressor { none, blosc, zlib, gzip, zstd };

struct ZarrArray {
  std::string path;  // within the store: "data/action"
  DType dtype = DType::f32;
  i64 rows = 0;
  Shape row;           // of one row; rank 0: a single number
  i64 chunk_rows = 1;  // rows of a chunk; edge chunks are stored whole
  Shape chunk_row;     // of one row within a chunk; smaller than `row` where chunks cut rows
  ZarrCompressor compressor = ZarrCompressor::none;
  bool checksum = false;        // behind what is compressed
  std::string before_chunk;     // a chunk's name begins so: "c/" in format 3
  char separator = '.';         // between the numbers of a chunk's name
  std::vector<i64> shard;       // chunks of a file along each axis; empty: one chunk a file
  bool index_first = false;     // of a shard: where its index lies,
  bool index_checksum = false;  // and whether a checksum is behind it
  std::vector<std::byte> fill;  // one element
  std::string refusal;          // why it cannot be read, when it cannot; empty otherwise

  i64 row_bytes() const { return row.numel() * element_bytes(dtype); }
  i64 chunk_bytes() const { return chunk_rows * chunk_row.numel() * element_bytes(dtype); }
};

// What `.zarray` says. Error: not JSON. What is not supported is the array's refusal.
ZarrArray parse_zarray(std::string_view json, const std::string& path, const std::string& name);

// What `zarr.json` says; nothing when it is no array but a group.
std::optional<ZarrArray> parse_zarr_json(std::string_view json, const std::string& path,
                                         const std::string& name);
// The bytes of a chunk in a shard, by its place in the index; nothing when it is not there. `where`
// begins the sentence of an error.
std::optional<std::span<const std::byte>> chunk_in_shard(const ZarrArray& array,
                                                         std::span<const std::byte> shard, i64 slot,
                                                         const std::string& where);

class ZarrReader {
 public:
  // a folder, or a zip file of one
  explicit ZarrReader(const std::filesystem::path& path);
  ~ZarrReader();
  ZarrReader(const ZarrReader&) = delete;
  ZarrReader& operator=(const ZarrReader&) = delete;

  const std::string& name() const { return name_; }
  // in the order of their paths, also those that cannot be read
  const std::vector<ZarrArray>& arrays() const { return arrays_; }
  // index of an array, or -1
  i64 find(std::string_view path) const;

  // Rows [chunk * chunk_rows, ...) of an array: chunk_rows rows, also where the array ends inside.
  // Any number of threads.
  void read_chunk(i64 array, i64 chunk, std::byte* out) const;
  // All rows, one after the other.
  std::vector<std::byte> read_all(i64 array) const;

 private:
  class Store;

  const ZarrArray& readable(i64 array) const;
  struct Place {
    std::string file;
    i64 slot = 0;  // in a shard
  };
  void decode(const ZarrArray& array, const Place& place, std::byte* out) const;

  std::string name_;
  std::unique_ptr<Store> store_;
  std::vector<ZarrArray> arrays_;
};

// Writes arrays of a new store into a folder, rows after rows. Files that do not change again
// appear whole; `.zarray` of an array is rewritten by flush(), after the chunks it counts, so that
// the folder can be read at any moment, also after the process was killed.
class ZarrWriter {
 public:
  // makes the folder, which may not exist
  explicit ZarrWriter(std::filesystem::path folder);

  // Adds an array and returns its index; missing groups on the way are made. Without `blosc` chunks
  // are plain.
  i64 add_array(const std::string& path, DType dtype, const Shape& row, i64 chunk_rows,
                const std::optional<BloscSettings>& blosc);
  // values [rows, row], in the array's type
  void append(i64 array, i64 rows, const void* values);
  // Everything appended so far can be read.
  void flush();

 private:
  struct Array {
    ZarrArray about;
    std::optional<BloscSettings> blosc;
    std::vector<std::byte> pending;  // rows of the chunk that is not full yet
    bool changed = true;
  };

  void write_chunk(const Array& array, i64 chunk);

  std::filesystem::path folder_;
  std::vector<Array> arrays_;
};

// Packs a folder into a zip file, members stored as they are: a store in one file.
void zip_folder(const std::filesystem::path& folder, const std::filesystem::path& zip_file);

}  // namespace orrery
