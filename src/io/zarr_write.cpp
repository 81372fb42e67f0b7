#include <zip.h>

#include <algorithm>
#include <fstream>
#include <memory>

#include "base/atomic_file.h"
#include "base/error.h"
#include "io/hdf5.h"
#include "io/json.h"
#include "io/zarr.h"

namespace orrery {

namespace {

const char* type_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "<f4";
    case DType::f64:
      return "<f8";
    case DType::f16:
      return "<f2";
    case DType::int8:
      return "|i1";
    case DType::int16:
      return "<i2";
    case DType::int32:
      return "<i4";
    case DType::int64:
      return "<i8";
    case DType::uint8:
      return "|u1";
    case DType::uint16:
      return "<u2";
    case DType::uint32:
      return "<u4";
    case DType::uint64:
      return "<u8";
    case DType::boolean:
      return "|b1";
    case DType::bf16:
      break;
  }
  fail("zarr has no type for ", dtype);
}

nlohmann::json metadata_of(const ZarrArray& array, const std::optional<BloscSettings>& blosc) {
  std::vector<i64> shape = {array.rows}, chunks = {array.chunk_rows};
  for (const i64 size : array.row.sizes()) {
    shape.push_back(size);
    chunks.push_back(size);
  }
  nlohmann::json compressor;
  if (blosc) {
    compressor = {{"id", "blosc"},
                  {"cname", name_of(blosc->codec)},
                  {"clevel", blosc->level},
                  {"shuffle", static_cast<int>(blosc->shuffle)},
                  {"blocksize", 0}};
  }
  nlohmann::json fill = 0;
  if (array.dtype == DType::boolean) fill = false;
  if (array.dtype == DType::f32 || array.dtype == DType::f64) fill = 0.0;
  return {{"zarr_format", 2},         {"shape", shape},
          {"chunks", chunks},         {"dtype", type_name(array.dtype)},
          {"compressor", compressor}, {"fill_value", fill},
          {"filters", nullptr},       {"order", "C"}};
}

// The file is there whole or not at all when the process is killed. Waiting for the disk chunk by
// chunk would cost more than all the rest; who makes the folder does that once.
void write_whole(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(temporary, path, error);
  const bool done = out && !error;
  if (!done) std::filesystem::remove(temporary, error);
  check(done, "cannot write ", path.string(), ": is the disk full?");
}

void write_metadata(const std::filesystem::path& path, const nlohmann::json& told) {
  const std::string characters = told.dump(4) + "\n";
  write_whole(path, std::as_bytes(std::span(characters)));
}

}  // namespace

ZarrWriter::ZarrWriter(std::filesystem::path folder) : folder_(std::move(folder)) {
  std::error_code error;
  const bool made = std::filesystem::create_directory(folder_, error);
  check(made, "cannot make the folder ", folder_.string(), ": ",
        error ? error.message() : "it exists");
  write_metadata(folder_ / ".zgroup", {{"zarr_format", 2}});
}

i64 ZarrWriter::add_array(const std::string& path, DType dtype, const Shape& row, i64 chunk_rows,
                          const std::optional<BloscSettings>& blosc) {
  check(chunk_rows > 0 && row.numel() > 0, "array ", path, ": chunks of ", chunk_rows,
        " rows of shape ", row);
  Array array;
  array.about.path = path;
  array.about.dtype = dtype;
  array.about.row = array.about.chunk_row = row;
  array.about.chunk_rows = chunk_rows;
  array.blosc = blosc;
  check(array.about.chunk_bytes() <= kMaxChunkBytes, "array ", path, ": chunks of ",
        array.about.chunk_bytes(), " bytes, at most ", kMaxChunkBytes, " are supported");
  std::filesystem::create_directories(folder_ / path);
  // groups between the store and the array
  for (auto group = std::filesystem::path(path).parent_path(); !group.empty();
       group = group.parent_path()) {
    if (!std::filesystem::exists(folder_ / group / ".zgroup")) {
      write_metadata(folder_ / group / ".zgroup", {{"zarr_format", 2}});
    }
  }
  arrays_.push_back(std::move(array));
  return static_cast<i64>(arrays_.size()) - 1;
}

void ZarrWriter::append(i64 index, i64 rows, const void* values) {
  Array& array = arrays_[static_cast<std::size_t>(index)];
  const auto* bytes = static_cast<const std::byte*>(values);
  const i64 row_bytes = array.about.row_bytes();
  array.changed = array.changed || rows > 0;
  while (rows > 0) {
    const i64 held = static_cast<i64>(array.pending.size()) / row_bytes;
    const i64 taken = std::min(rows, array.about.chunk_rows - held);
    array.pending.insert(array.pending.end(), bytes, bytes + taken * row_bytes);
    array.about.rows += taken;
    bytes += taken * row_bytes;
    rows -= taken;
    if (held + taken == array.about.chunk_rows) {
      write_chunk(array, array.about.rows / array.about.chunk_rows - 1);
      array.pending.clear();
    }
  }
}

void ZarrWriter::write_chunk(const Array& array, i64 chunk) {
  std::string file = std::to_string(chunk);
  for (int d = 0; d < array.about.row.rank(); ++d) file += ".0";
  // edge chunks are stored whole, zeros after their last row
  std::vector<std::byte> values = array.pending;
  values.resize(static_cast<std::size_t>(array.about.chunk_bytes()));
  if (array.blosc) {
    values = blosc_frame_of(values, element_bytes(array.about.dtype), *array.blosc);
  }
  write_whole(folder_ / array.about.path / file, values);
}

void ZarrWriter::flush() {
  for (Array& array : arrays_) {
    if (!array.changed) continue;
    if (!array.pending.empty()) write_chunk(array, array.about.rows / array.about.chunk_rows);
    write_metadata(folder_ / array.about.path / ".zarray", metadata_of(array.about, array.blosc));
    array.changed = false;
  }
}

void zip_folder(const std::filesystem::path& folder, const std::filesystem::path& zip_file) {
  AtomicFile file(zip_file);
  int code = 0;
  std::unique_ptr<zip_t, void (*)(zip_t*)> archive(
      zip_open(file.temporary().c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code), zip_discard);
  const auto must = [&](bool done) {
    if (!done) fail("cannot write ", zip_file.string(), ": ", zip_strerror(archive.get()));
  };
  check(archive != nullptr, "cannot write ", zip_file.string(), ": zip error ", code);
  std::vector<std::string> members;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      members.push_back(std::filesystem::relative(entry.path(), folder).generic_string());
    }
  }
  std::sort(members.begin(), members.end());
  for (const std::string& member : members) {
    zip_source_t* source = zip_source_file(archive.get(), (folder / member).c_str(), 0, -1);
    must(source != nullptr);
    const zip_int64_t place = zip_file_add(archive.get(), member.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (place < 0) zip_source_free(source);
    must(place >= 0);
    const auto index = static_cast<zip_uint64_t>(place);
    must(zip_set_file_compression(archive.get(), index, ZIP_CM_STORE, 0) == 0);
    // 1 January 1980, the first day a zip file knows
    must(zip_file_set_dostime(archive.get(), index, 0, (1 << 5) | 1, 0) == 0);
  }
  must(zip_close(archive.get()) == 0);
  static_cast<void>(archive.release());
  file.commit();
}

}  // namespace orrery
