#include "io/hdf5.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "io/hdf5_handle.h"
#include "io/hdf5_source.h"

namespace orrery {

namespace {

std::mutex& hdf5_mutex() {
  static std::mutex mutex;
  return mutex;
}

// a file of ours holds about twenty
constexpr i64 kMaxColumns = 4096;

// What numbers a file can hold at the best compression there is (Blosc around zstd, constant
// frames), so that a few bytes cannot claim terabytes.
constexpr i64 kMaxExpansion = 4096;
constexpr i64 kAlwaysAllowed = i64{1} << 20;

// a * b, or an upper bound too large for anything when that overflows
i64 bounded_product(i64 a, i64 b) {
  i64 product = 0;
  return __builtin_mul_overflow(a, b, &product) ? i64{1} << 62 : product;
}

struct ElementType {
  DType dtype;
  Hdf5Handle memory;  // how values are asked for
};

bool is_boolean(hid_t type) {
  if (H5Tget_size(type) != 1 || H5Tget_nmembers(type) != 2) return false;
  for (unsigned i = 0; i < 2; ++i) {
    char* name = H5Tget_member_name(type, i);
    const bool expected = name != nullptr && std::string_view(name) == (i == 0 ? "FALSE" : "TRUE");
    H5free_memory(name);
    signed char value = -1;
    if (!expected || H5Tget_member_value(type, i, &value) < 0 ||
        value != static_cast<signed char>(i)) {
      return false;
    }
  }
  return true;
}

// the element type of a data set, or a handle that is not valid
ElementType element_type(hid_t type) {
  const auto native = [](DType dtype, hid_t id) {
    return ElementType{dtype, Hdf5Handle(H5Tcopy(id), H5Tclose)};
  };
  const std::size_t size = H5Tget_size(type);
  switch (H5Tget_class(type)) {
    case H5T_INTEGER: {
      const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
      if (size == 1) {
        return is_signed ? native(DType::int8, H5T_NATIVE_INT8)
                         : native(DType::uint8, H5T_NATIVE_UINT8);
      }
      if (size == 2) {
        return is_signed ? native(DType::int16, H5T_NATIVE_INT16)
                         : native(DType::uint16, H5T_NATIVE_UINT16);
      }
      if (size == 4) {
        return is_signed ? native(DType::int32, H5T_NATIVE_INT32)
                         : native(DType::uint32, H5T_NATIVE_UINT32);
      }
      if (size == 8) {
        return is_signed ? native(DType::int64, H5T_NATIVE_INT64)
                         : native(DType::uint64, H5T_NATIVE_UINT64);
      }
      break;
    }
    case H5T_FLOAT:
      if (size == 4) return native(DType::f32, H5T_NATIVE_FLOAT);
      if (size == 8) return native(DType::f64, H5T_NATIVE_DOUBLE);
      break;
    case H5T_ENUM:
      // one byte has no byte order, so the file's own type serves in memory
      if (is_boolean(type)) return native(DType::boolean, type);
      break;
    default:
      break;
  }
  return {DType::uint8, Hdf5Handle()};
}

// the innermost entry of the error stack
herr_t take_description(unsigned, const H5E_error2_t* entry, void* out) {
  *static_cast<std::string*>(out) = entry->desc != nullptr ? entry->desc : "";
  return 0;
}

}  // namespace

Hdf5Lock::Hdf5Lock() : guard_(hdf5_mutex()) {
  // everything is closed by its owner; libhdf5's own cleaning up at the end of the process crashes
  // on a file that a full disk kept open
  static const bool once = H5dont_atexit() >= 0;
  static_cast<void>(once);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

std::string hdf5_reason() {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, take_description, &reason);
  // of a failed system call, what the system says: "... error message = 'No space left on device',
  // ..."
  constexpr std::string_view kSystem = "error message = '";
  const std::size_t system = reason.find(kSystem);
  if (system != std::string::npos) {
    const std::size_t begin = system + kSystem.size();
    reason = reason.substr(begin, reason.find('\'', begin) - begin);
  }
  // of a type, or of where chunks lie
  if (reason.find("bad version number for") != std::string::npos) {
    unsigned major = 0, minor = 0, patch = 0;
    H5get_libversion(&major, &minor, &patch);
    reason =
        text("it is stored in a newer version of the format (HDF5 2.0) than libhdf5 ", major, ".",
             minor, ".", patch, " reads; write the file with the bounds of HDF5 1.14 or older");
  }
  return reason.empty() ? "libhdf5 gives no reason" : reason;
}

struct Hdf5Reader::Handles {
  explicit Handles(const std::filesystem::path& path) : source(path) {}
  explicit Handles(std::span<const std::byte> bytes) : source(bytes) {}

  // where chunks lie, kPageChunks neighbours to a page; a page is made when one of them is asked
  // for
  static constexpr i64 kPageChunks = 256;
  struct ChunkPlace {
    u64 offset = 0;
    u32 bytes = 0;  // chunks of HDF5 have less than 4 GiB; 0: never written
    bool known = false;
    bool packed = false;
  };
  using Page = std::array<ChunkPlace, kPageChunks>;

  struct Dataset {
    Hdf5Handle id;
    Hdf5Handle memory_type;
    std::unordered_map<i64, std::unique_ptr<Page>> pages;
  };

  // the source is destroyed last
  Hdf5Source source;
  Hdf5Handle file;
  std::vector<Dataset> datasets;
  std::mutex places;  // guards the pages
};

Hdf5Reader::Hdf5Reader(const std::filesystem::path& path)
    : name_(path.string()), handles_(std::make_unique<Handles>(path)) {
  open();
}

Hdf5Reader::Hdf5Reader(std::span<const std::byte> file, std::string name)
    : name_(std::move(name)), handles_(std::make_unique<Handles>(file)) {
  open();
}

Hdf5Reader::~Hdf5Reader() {
  const Hdf5Lock lock;
  handles_.reset();
}

bool Hdf5Reader::unfinished() const { return handles_->source.unfinished(); }

void Hdf5Reader::open() {
  file_bytes_ = handles_->source.size();
  const Hdf5Lock lock;
  try {
    const auto open_file = [&] { handles_->file = handles_->source.open(name_); };
    open_file();
    const std::vector<Link> links = root_links();
    bool changed = false;
    for (const Link& link : links) {
      changed = handles_->source.make_type_readable(link.address) || changed;
    }
    if (changed) {
      // what libhdf5 has read already it would not read again
      handles_->file.reset();
      open_file();
    }
    for (const Link& link : links) {
      const Hdf5Handle object(H5Oopen(handles_->file.id(), link.name.c_str(), H5P_DEFAULT),
                              H5Oclose);
      if (object.valid() && H5Iget_type(object.id()) != H5I_DATASET) continue;
      const auto index = static_cast<i64>(columns_.size());
      handles_->datasets.emplace_back();
      columns_.push_back(describe(link.name, index));
    }
  } catch (...) {
    // while the lock is held
    handles_.reset();
    throw;
  }
}

std::vector<Hdf5Reader::Link> Hdf5Reader::root_links() const {
  struct Found {
    std::vector<Link> links;
    i64 entries = 0;
  } found;
  const auto take = [](hid_t, const char* entry, const H5L_info_t* link, void* out) -> herr_t {
    auto& all = *static_cast<Found*>(out);
    if (++all.entries > kMaxColumns) return 1;
    // links to other places and other files are not followed
    if (link->type == H5L_TYPE_HARD) all.links.push_back({entry, link->u.address});
    return 0;
  };
  // In the order of the file: for any other libhdf5 1.10 first makes a table, and frees what was
  // never in it when the file is damaged.
  const herr_t done = H5Literate(handles_->file.id(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr,
                                 static_cast<H5L_iterate_t>(take), &found);
  check(done >= 0, "cannot read ", name_, ": ", hdf5_reason());
  check(done == 0, "cannot read ", name_, ": it has more than ", kMaxColumns, " entries");
  std::sort(found.links.begin(), found.links.end(),
            [](const Link& a, const Link& b) { return a.name < b.name; });
  return std::move(found.links);
}

Hdf5Column Hdf5Reader::describe(const std::string& column_name, i64 index) {
  Hdf5Column column;
  column.name = column_name;
  auto& dataset = handles_->datasets[static_cast<std::size_t>(index)];
  dataset.id =
      Hdf5Handle(H5Dopen2(handles_->file.id(), column_name.c_str(), H5P_DEFAULT), H5Dclose);
  const auto refuse = [&](std::string why) {
    column.refusal = std::move(why);
    return column;
  };
  if (!dataset.id.valid()) return refuse(hdf5_reason());

  // type
  const Hdf5Handle type(H5Dget_type(dataset.id.id()), H5Tclose);
  if (!type.valid()) return refuse(hdf5_reason());
  ElementType element = element_type(type.id());
  if (!element.memory.valid()) return refuse("its elements are neither numbers nor booleans");
  column.dtype = element.dtype;

  // shape
  const Hdf5Handle space(H5Dget_space(dataset.id.id()), H5Sclose);
  const int rank = space.valid() ? H5Sget_simple_extent_ndims(space.id()) : -1;
  if (rank < 1 || rank > Shape::kMaxRank) {
    return refuse(text("it has ", rank, " dimensions, 1 to ", Shape::kMaxRank, " are supported"));
  }
  std::array<hsize_t, Shape::kMaxRank> sizes = {};
  if (H5Sget_simple_extent_dims(space.id(), sizes.data(), nullptr) < 0) {
    return refuse(hdf5_reason());
  }
  constexpr hsize_t kMaxSize = hsize_t{1} << 48;
  std::array<i64, Shape::kMaxRank> row = {};
  i64 row_bytes = element_bytes(column.dtype);
  for (int d = 0; d < rank; ++d) {
    const hsize_t size = sizes[static_cast<std::size_t>(d)];
    if (size > kMaxSize || (d > 0 && size == 0)) {
      return refuse(text("dimension ", d, " is ", size));
    }
    if (d == 0) continue;
    row[static_cast<std::size_t>(d - 1)] = static_cast<i64>(size);
    row_bytes = bounded_product(row_bytes, static_cast<i64>(size));
  }
  column.rows = static_cast<i64>(sizes[0]);
  if (row_bytes > kMaxChunkBytes) {
    return refuse(
        text("a row has ", row_bytes, " bytes, at most ", kMaxChunkBytes, " are supported"));
  }
  column.row = Shape(std::span<const i64>(row.data(), static_cast<std::size_t>(rank - 1)));
  const i64 total = bounded_product(row_bytes, column.rows);
  if (total > kAlwaysAllowed && total / kMaxExpansion > file_bytes_) {
    return refuse(text("it claims ", column.rows, " rows of ", row_bytes,
                       " bytes, more than a file of ", file_bytes_, " bytes can hold"));
  }

  // storage
  const Hdf5Handle creation(H5Dget_create_plist(dataset.id.id()), H5Pclose);
  if (!creation.valid()) return refuse(hdf5_reason());
  const H5D_layout_t layout = H5Pget_layout(creation.id());
  if (layout != H5D_CHUNKED && layout != H5D_CONTIGUOUS && layout != H5D_COMPACT) {
    return refuse("it is a virtual data set, kept elsewhere");
  }
  if (H5Pget_external_count(creation.id()) != 0) return refuse("its data is kept in other files");
  dataset.memory_type = std::move(element.memory);
  if (layout != H5D_CHUNKED) {
    // libhdf5 1.10 reads on behind a block that is too short
    const hsize_t stored = H5Dget_storage_size(dataset.id.id());
    if (stored != static_cast<hsize_t>(total)) {
      return refuse(
          text("its ", column.rows, " rows need ", total, " bytes, ", stored, " are stored"));
    }
    return column;
  }

  std::array<hsize_t, Shape::kMaxRank> chunk = {};
  if (H5Pget_chunk(creation.id(), rank, chunk.data()) != rank) return refuse(hdf5_reason());
  i64 chunk_bytes = element_bytes(column.dtype);
  for (int d = 0; d < rank; ++d) {
    const hsize_t size = chunk[static_cast<std::size_t>(d)];
    if (size == 0 || size > kMaxSize) return refuse(text("its chunks have ", size, " rows"));
    chunk_bytes = bounded_product(chunk_bytes, static_cast<i64>(size));
  }
  if (chunk_bytes > kMaxChunkBytes ||
      (chunk_bytes > kAlwaysAllowed && chunk_bytes / kMaxExpansion > file_bytes_)) {
    return refuse(text("its chunks have ", chunk_bytes, " bytes, too many for a file of ",
                       file_bytes_, " bytes"));
  }
  column.chunk_rows = static_cast<i64>(chunk[0]);
  for (int d = 1; d < rank; ++d) {
    if (chunk[static_cast<std::size_t>(d)] != sizes[static_cast<std::size_t>(d)]) {
      return refuse("its chunks cut rows");
    }
  }
  // chunks are taken as they are stored, past libhdf5's own conversion
  if (column.dtype != DType::boolean && H5Tequal(type.id(), dataset.memory_type.id()) <= 0) {
    return refuse("its elements have a foreign byte order");
  }

  // no filter, or one: Blosc
  const int filters = H5Pget_nfilters(creation.id());
  if (filters == 0) return column;
  unsigned flags = 0;
  unsigned config = 0;
  std::array<unsigned, 16> parameters = {};
  std::size_t parameter_count = parameters.size();
  const H5Z_filter_t filter = filters == 1
                                  ? H5Pget_filter2(creation.id(), 0, &flags, &parameter_count,
                                                   parameters.data(), 0, nullptr, &config)
                                  : -1;
  if (filter != kBloscFilter) {
    return refuse(filters == 1 ? text("its chunks go through filter ", filter,
                                      ", of which only Blosc (32001) is supported")
                               : text("its chunks go through ", filters,
                                      " filters, only one (Blosc, 32001) is supported"));
  }
  column.blosc = true;
  return column;
}

i64 Hdf5Reader::find(std::string_view column_name) const {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].name == column_name) return static_cast<i64>(i);
  }
  return -1;
}

std::optional<std::string> Hdf5Reader::text_of(const char* text_name) const {
  const Hdf5Lock lock;
  const hid_t root = handles_->file.id();
  const auto where = [&] { return text("cannot read text ", text_name, " of ", name_, ": "); };
  const htri_t there = H5Aexists(root, text_name);
  check(there >= 0, where(), hdf5_reason());
  if (there == 0) return std::nullopt;
  const Hdf5Handle attribute(H5Aopen(root, text_name, H5P_DEFAULT), H5Aclose);
  check(attribute.valid(), where(), hdf5_reason());
  const Hdf5Handle type(H5Aget_type(attribute.id()), H5Tclose);
  const Hdf5Handle space(H5Aget_space(attribute.id()), H5Sclose);
  check(type.valid() && space.valid(), where(), hdf5_reason());
  check(H5Tget_class(type.id()) == H5T_STRING && H5Tis_variable_str(type.id()) == 0 &&
            H5Sget_simple_extent_npoints(space.id()) == 1,
        where(), "it is not one text of a fixed length");
  const std::size_t size = H5Tget_size(type.id());
  check(size <= static_cast<std::size_t>(kMaxHdf5Text), where(), "it has ", size,
        " bytes, at most ", kMaxHdf5Text, " are possible");
  std::string value(size, '\0');
  check(H5Aread(attribute.id(), type.id(), value.data()) >= 0, where(), hdf5_reason());
  value.resize(std::min(value.find('\0'), value.size()));
  return value;
}

const Hdf5Column& Hdf5Reader::readable(i64 index) const {
  check(index >= 0 && index < static_cast<i64>(columns_.size()), name_, " has no column ", index);
  const Hdf5Column& column = columns_[static_cast<std::size_t>(index)];
  check(column.refusal.empty(), "cannot read column ", column.name, " of ", name_, ": ",
        column.refusal);
  return column;
}

namespace {

void normalise_booleans(const Hdf5Column& column, std::byte* values, i64 rows) {
  if (column.dtype != DType::boolean) return;
  for (i64 i = 0; i < rows * column.row_bytes(); ++i) {
    values[i] = values[i] == std::byte{0} ? std::byte{0} : std::byte{1};
  }
}

}  // namespace

void Hdf5Reader::read(i64 index, i64 begin, i64 end, i64 stride, std::byte* out) const {
  const Hdf5Column& column = readable(index);
  check(begin >= 0 && begin <= end && end <= column.rows && stride > 0, "rows ", begin, " to ", end,
        " by ", stride, " of column ", column.name, " were asked for, ", name_, " has ",
        column.rows);
  const i64 count = (end - begin + stride - 1) / stride;
  if (count == 0) return;

  if (column.chunk_rows > 0) {
    while (begin < end) {
      const i64 chunk = begin / column.chunk_rows;
      const i64 from = chunk * column.chunk_rows;
      const i64 last = std::min(end - from, column.chunk_rows);
      read_chunk_rows(index, chunk, begin - from, last, stride, out);
      const i64 taken = (last - (begin - from) + stride - 1) / stride;
      begin += taken * stride;
      out += taken * column.row_bytes();
    }
    return;
  }

  {
    const Hdf5Lock lock;
    const auto& dataset = handles_->datasets[static_cast<std::size_t>(index)];
    const Hdf5Handle space(H5Dget_space(dataset.id.id()), H5Sclose);
    std::array<hsize_t, Shape::kMaxRank> start = {}, step = {}, sizes = {};
    start[0] = static_cast<hsize_t>(begin);
    step[0] = static_cast<hsize_t>(stride);
    sizes[0] = static_cast<hsize_t>(count);
    const int rank = column.row.rank() + 1;
    for (int d = 1; d < rank; ++d) {
      step[static_cast<std::size_t>(d)] = 1;
      sizes[static_cast<std::size_t>(d)] = static_cast<hsize_t>(column.row[d - 1]);
    }
    const Hdf5Handle memory(H5Screate_simple(rank, sizes.data(), nullptr), H5Sclose);
    const bool done = space.valid() && memory.valid() &&
                      H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start.data(), step.data(),
                                          sizes.data(), nullptr) >= 0 &&
                      H5Dread(dataset.id.id(), dataset.memory_type.id(), memory.id(), space.id(),
                              H5P_DEFAULT, out) >= 0;
    check(done, "cannot read rows ", begin, " to ", end, " of column ", column.name, " of ", name_,
          ": ", hdf5_reason());
  }
  normalise_booleans(column, out, count);
}

struct Hdf5Reader::ChunkBytes {
  std::span<const std::byte> bytes;  // as stored; none: never written
  bool packed = false;               // a Blosc frame
};

namespace {

// rows that lie closer than this are decoded with what is between them: a Blosc block has as much
constexpr i64 kTogetherBytes = i64{64} << 10;

std::string chunk_text(const Hdf5Reader& reader, const Hdf5Column& column, i64 chunk) {
  return text("cannot read chunk ", chunk, " of column ", column.name, " of ", reader.name(), ": ");
}

}  // namespace

Hdf5Reader::ChunkBytes Hdf5Reader::chunk_bytes(i64 index, i64 chunk) const {
  const Hdf5Column& column = readable(index);
  check(column.chunk_rows > 0 && chunk >= 0 && chunk <= (column.rows - 1) / column.chunk_rows,
        "column ", column.name, " of ", name_, " has no chunk ", chunk);
  const auto place_of = [&]() -> Handles::ChunkPlace& {
    auto& pages = handles_->datasets[static_cast<std::size_t>(index)].pages;
    auto& page = pages[chunk / Handles::kPageChunks];
    if (!page) page = std::make_unique<Handles::Page>();
    return (*page)[static_cast<std::size_t>(chunk % Handles::kPageChunks)];
  };
  Handles::ChunkPlace place;
  {
    const std::lock_guard guard(handles_->places);
    place = place_of();
  }
  if (!place.known) {
    const auto where = [&] { return chunk_text(*this, column, chunk); };
    const auto file_bytes = static_cast<hsize_t>(file_bytes_);
    const i64 chunk_bytes = column.chunk_rows * column.row_bytes();
    {
      const Hdf5Lock lock;
      const hid_t dataset = handles_->datasets[static_cast<std::size_t>(index)].id.id();
      std::array<hsize_t, Shape::kMaxRank> offset = {};
      offset[0] = static_cast<hsize_t>(chunk * column.chunk_rows);
      hsize_t stored = 0;
      check(H5Dget_chunk_storage_size(dataset, offset.data(), &stored) >= 0, where(),
            hdf5_reason());
      check(stored <= file_bytes, where(), "it claims ", stored, " bytes in a file of ",
            file_bytes_);
      place = {0, static_cast<u32>(stored), true, column.blosc};
      if (stored > 0) {
        // libhdf5 1.10 would trust that a chunk is as long as it should be, before and after its
        // filter; so it is only asked where the bytes are, and the rest is done here
        uint32_t skipped = 0;
        herr_t done = -1;
        std::byte nothing = {};
        const auto found = handles_->source.place_read_by(
            [&] { done = H5Dread_chunk(dataset, H5P_DEFAULT, offset.data(), &skipped, &nothing); });
        check(done >= 0 && found.has_value(), where(), hdf5_reason());
        check(found->bytes == stored && found->offset <= file_bytes &&
                  found->bytes <= file_bytes - found->offset,
              where(), "it lies outside the file");
        place.offset = found->offset;
        // bit 0: this chunk was stored without its first filter
        place.packed = column.blosc && (skipped & 1u) == 0;
      }
    }
    check(place.packed || place.bytes == 0 || static_cast<i64>(place.bytes) == chunk_bytes, where(),
          "it has ", place.bytes, " bytes, ", chunk_bytes, " are needed");
    const std::lock_guard guard(handles_->places);
    place_of() = place;
  }
  return {handles_->source.bytes().subspan(place.offset, place.bytes), place.packed};
}

void Hdf5Reader::read_chunk(i64 index, i64 chunk, std::byte* out) const {
  read_chunk_rows(index, chunk, 0, readable(index).chunk_rows, 1, out);
}

void Hdf5Reader::read_chunk_rows(i64 index, i64 chunk, i64 first, i64 last, i64 stride,
                                 std::byte* out) const {
  const ChunkBytes stored = chunk_bytes(index, chunk);
  const Hdf5Column& column = columns_[static_cast<std::size_t>(index)];
  check(first >= 0 && first <= last && last <= column.chunk_rows && stride > 0, "rows ", first,
        " to ", last, " by ", stride, " of a chunk of ", column.chunk_rows, " were asked for");
  const i64 row_bytes = column.row_bytes();
  const i64 count = (last - first + stride - 1) / stride;
  const auto out_bytes = static_cast<std::size_t>(count * row_bytes);
  if (count == 0) return;

  const auto pick = [&](const std::byte* from) {
    if (stride == 1) {
      std::memcpy(out, from, out_bytes);
      return;
    }
    for (i64 i = 0; i < count; ++i) {
      std::memcpy(out + i * row_bytes, from + i * stride * row_bytes,
                  static_cast<std::size_t>(row_bytes));
    }
  };
  if (stored.bytes.empty()) {
    // a chunk that was never written holds zeros
    std::memset(out, 0, out_bytes);
  } else if (!stored.packed) {
    pick(stored.bytes.data() + first * row_bytes);
  } else {
    const std::string where = chunk_text(*this, column, chunk);
    const BloscFrame frame(stored.bytes, column.chunk_rows * row_bytes, where);
    const i64 span = (count - 1) * stride + 1;
    if (count == column.chunk_rows) {
      frame.decode(out);
    } else if (stride == 1) {
      frame.decode_range(first * row_bytes, count * row_bytes, out);
    } else if (stride * row_bytes < kTogetherBytes) {
      std::vector<std::byte> rows(static_cast<std::size_t>(span * row_bytes));
      frame.decode_range(first * row_bytes, span * row_bytes, rows.data());
      pick(rows.data());
    } else {
      for (i64 i = 0; i < count; ++i) {
        frame.decode_range((first + i * stride) * row_bytes, row_bytes, out + i * row_bytes);
      }
    }
  }
  normalise_booleans(column, out, count);
}

}  // namespace orrery
