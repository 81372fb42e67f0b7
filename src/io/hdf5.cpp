#include "io/hdf5.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "io/hdf5_reader.h"

namespace orrery {

namespace {

std::mutex& hdf5_mutex() {
  static std::mutex mutex;
  return mutex;
}

// a file of ours holds about twenty, one of robomimic's some for each demonstration
constexpr i64 kMaxLinks = i64{1} << 16;
// groups within groups: robomimic's data/demo_0/obs/... needs three
constexpr int kMaxDepth = 4;

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

// What chunks go through, first to last; returns why they cannot be read, or nothing.
std::string filters_of(hid_t creation, std::vector<Hdf5Step>& steps) {
  // a bit of a chunk's filter mask each
  constexpr int kMaxFilters = 32;
  const int filters = H5Pget_nfilters(creation);
  if (filters < 0 || filters > kMaxFilters)
    return text("its chunks go through ", filters, " filters");
  i64 packing = 0;
  for (int i = 0; i < filters; ++i) {
    unsigned flags = 0;
    unsigned config = 0;
    std::array<unsigned, 16> parameters = {};
    std::size_t parameter_count = parameters.size();
    const H5Z_filter_t number =
        H5Pget_filter2(creation, static_cast<unsigned>(i), &flags, &parameter_count,
                       parameters.data(), 0, nullptr, &config);
    const std::optional<Hdf5Filter> filter = hdf5_filter_of(number);
    if (!filter) {
      return text("its chunks go through filter ", number,
                  ", of which only deflate (1), shuffle (2), fletcher32 (3), LZF (32000) and Blosc "
                  "(32001) are supported");
    }
    Hdf5Step step = {*filter};
    if (step.filter == Hdf5Filter::shuffle) {
      // the bytes of an element
      if (parameter_count < 1 || parameters[0] == 0) return "its shuffle filter has no parameter";
      step.element_bytes = static_cast<i64>(parameters[0]);
    }
    packing += step.packs() ? 1 : 0;
    steps.push_back(step);
  }
  if (packing > 1) return text("its chunks are packed ", packing, " times");
  return {};
}

// how a failed system call is told: "... error message = 'No space left on device', ..."
constexpr std::string_view kSystem = "error message = '";

// the innermost entry of the error stack, or what the system said
herr_t take_description(unsigned, const H5E_error2_t* entry, void* out) {
  auto& taken = *static_cast<std::string*>(out);
  if (taken.find(kSystem) == std::string::npos) taken = entry->desc != nullptr ? entry->desc : "";
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
    const std::vector<Link> links = all_links();
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

std::vector<Hdf5Reader::Link> Hdf5Reader::all_links() const {
  struct Found {
    std::string before;  // the names of what is found: "" or "group/"
    std::vector<Link> links;
    i64 entries = 0;
  } found;
  const auto take = [](hid_t, const char* entry, const H5L_info_t* link, void* out) -> herr_t {
    auto& all = *static_cast<Found*>(out);
    if (++all.entries > kMaxLinks) return 1;
    // links to other places and other files are not followed
    if (link->type == H5L_TYPE_HARD) all.links.push_back({all.before + entry, link->u.address});
    return 0;
  };
  const auto look_into = [&](hid_t group) {
    // In the order of the file: for any other libhdf5 1.10 first makes a table, and frees what was
    // never in it when the file is damaged.
    const herr_t done = H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr,
                                   static_cast<H5L_iterate_t>(take), &found);
    check(done >= 0, "cannot read ", name_, ": ", hdf5_reason());
    check(done == 0, "cannot read ", name_, ": it has more than ", kMaxLinks, " entries");
  };
  look_into(handles_->file.id());
  std::vector<Link> datasets;
  for (int depth = 1; !found.links.empty(); ++depth) {
    std::vector<Link> links = std::exchange(found.links, {});
    for (Link& link : links) {
      const Hdf5Handle group(H5Gopen2(handles_->file.id(), link.name.c_str(), H5P_DEFAULT),
                             H5Gclose);
      if (!group.valid()) {
        datasets.push_back(std::move(link));
      } else if (depth < kMaxDepth) {
        found.before = link.name + "/";
        look_into(group.id());
      }
    }
  }
  std::sort(datasets.begin(), datasets.end(),
            [](const Link& a, const Link& b) { return a.name < b.name; });
  return datasets;
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
  const auto too_much = [&](i64 bytes) {
    return bytes > kMaxChunkBytes ||
           (bytes > kAlwaysAllowed && bytes / kMaxExpansion > file_bytes_);
  };
  if (too_much(chunk_bytes)) {
    return refuse(text("its chunks have ", chunk_bytes, " bytes, too many for a file of ",
                       file_bytes_, " bytes"));
  }
  column.chunk_rows = static_cast<i64>(chunk[0]);
  std::array<i64, Shape::kMaxRank> piece = {};
  for (int d = 1; d < rank; ++d) {
    piece[static_cast<std::size_t>(d - 1)] = static_cast<i64>(chunk[static_cast<std::size_t>(d)]);
  }
  column.chunk_row = Shape(std::span<const i64>(piece.data(), static_cast<std::size_t>(rank - 1)));
  // where chunks cut rows, those of a few rows are put together
  const i64 band_bytes = bounded_product(row_bytes, column.chunk_rows);
  if (too_much(band_bytes)) {
    return refuse(text(column.chunk_rows, " rows, which its chunks share, have ", band_bytes,
                       " bytes, too many for a file of ", file_bytes_, " bytes"));
  }

  // chunks are taken as they are stored, past libhdf5's own conversion
  if (column.dtype != DType::boolean && H5Tequal(type.id(), dataset.memory_type.id()) <= 0) {
    const Hdf5Handle swapped(H5Tcopy(dataset.memory_type.id()), H5Tclose);
    column.swapped =
        H5Tset_order(swapped.id(), H5T_ORDER_BE) >= 0 && H5Tequal(type.id(), swapped.id()) > 0;
    if (!column.swapped) return refuse("its elements are numbers of a foreign form");
  }
  unsigned edges = 0;
  if (H5Pget_chunk_opts(creation.id(), &edges) < 0) return refuse(hdf5_reason());
  dataset.plain_edges = (edges & H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS) != 0;
  H5D_fill_value_t fill = H5D_FILL_VALUE_DEFAULT;
  dataset.filled =
      H5Pfill_value_defined(creation.id(), &fill) >= 0 && fill == H5D_FILL_VALUE_USER_DEFINED;
  if (std::string why = filters_of(creation.id(), column.steps); !why.empty()) {
    return refuse(std::move(why));
  }
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
  check_hdf5(H5Aread(attribute.id(), type.id(), value.data()) >= 0, where());
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

}  // namespace orrery
