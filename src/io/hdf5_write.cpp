#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "base/error.h"
#include "io/hdf5.h"
#include "io/hdf5_handle.h"

namespace orrery {

namespace {

constexpr unsigned kBloscFormat = 2;  // of the frames that libblosc 1 writes

Hdf5Handle stored_type(DType dtype) {
  const auto copy = [](hid_t id) { return Hdf5Handle(H5Tcopy(id), H5Tclose); };
  switch (dtype) {
    case DType::f32:
      return copy(H5T_IEEE_F32LE);
    case DType::f64:
      return copy(H5T_IEEE_F64LE);
    case DType::int8:
      return copy(H5T_STD_I8LE);
    case DType::int16:
      return copy(H5T_STD_I16LE);
    case DType::int32:
      return copy(H5T_STD_I32LE);
    case DType::int64:
      return copy(H5T_STD_I64LE);
    case DType::uint8:
      return copy(H5T_STD_U8LE);
    case DType::uint16:
      return copy(H5T_STD_U16LE);
    case DType::uint32:
      return copy(H5T_STD_U32LE);
    case DType::uint64:
      return copy(H5T_STD_U64LE);
    case DType::boolean: {
      // what h5py makes of NumPy's bool
      Hdf5Handle type(H5Tenum_create(H5T_STD_I8LE), H5Tclose);
      for (signed char value : {0, 1}) {
        H5Tenum_insert(type.id(), value == 0 ? "FALSE" : "TRUE", &value);
      }
      return type;
    }
    case DType::f16:
    case DType::bf16:
      break;
  }
  fail("HDF5 columns of type ", dtype, " are not written");
}

}  // namespace

struct Hdf5Writer::Column {
  std::string name;
  Shape row;
  i64 row_bytes = 0;
  i64 chunk_rows = 0;
  std::optional<BloscSettings> blosc;
  i64 rows = 0;     // appended so far
  i64 written = 0;  // of these, in the file
  Hdf5Handle dataset;
  Hdf5Handle type;
  std::vector<std::byte> pending;  // rows of a chunk that is not full yet
  std::vector<std::byte> frame;    // a chunk's Blosc frame
};

struct Hdf5Writer::Handles {
  Hdf5Handle file;
};

Hdf5Writer::Hdf5Writer(const std::filesystem::path& path, std::string name, Hdf5Age age)
    : name_(name.empty() ? path.string() : std::move(name)), handles_(std::make_unique<Handles>()) {
  const Hdf5Lock lock;
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  // superblock 3: without it h5py refuses the multiple-reader mode that the official reader opens
  // files in
  const bool old = age == Hdf5Age::earliest;
  H5Pset_libver_bounds(access.id(), old ? H5F_LIBVER_EARLIEST : H5F_LIBVER_V110, H5F_LIBVER_V110);
  // no time of writing inside: the same values give the same bytes
  const Hdf5Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation.id(), false);
  handles_->file =
      Hdf5Handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.id(), access.id()), H5Fclose);
  check(handles_->file.valid(), "cannot write ", name_, ": ", hdf5_reason());
}

Hdf5Writer::~Hdf5Writer() {
  const Hdf5Lock lock;
  if (handles_->file.valid()) {
    // Given up. What libhdf5 still holds cannot be dropped, it wants to be written; on a full disk
    // that fails, the file stays open, and libhdf5 crashes when the process ends. So the rest goes
    // to a file in memory that nobody sees: /dev/null would not do, libhdf5 sets the length at
    // last.
    void* handle = nullptr;
    const int sink = ::memfd_create("orrery-given-up", MFD_CLOEXEC);
    if (sink >= 0 && H5Fget_vfd_handle(handles_->file.id(), H5P_DEFAULT, &handle) >= 0 &&
        handle != nullptr) {
      ::dup2(sink, *static_cast<int*>(handle));
    }
    if (sink >= 0) ::close(sink);
  }
  columns_.clear();
  handles_.reset();
}

i64 Hdf5Writer::add_column(const std::string& column_name, DType dtype, const Shape& row,
                           i64 chunk_rows, const std::optional<BloscSettings>& blosc) {
  ORRERY_ASSERT(!shared_);
  check(row.rank() < Shape::kMaxRank, "column ", column_name, ": rows of shape ", row,
        " have too many dimensions");
  check(chunk_rows > 0 && row.numel() > 0, "column ", column_name, ": chunks of ", chunk_rows,
        " rows of shape ", row);
  auto column = std::make_unique<Column>();
  column->name = column_name;
  column->row = row;
  column->row_bytes = row.numel() * element_bytes(dtype);
  column->chunk_rows = chunk_rows;
  column->blosc = blosc;
  const i64 chunk_bytes = chunk_rows * column->row_bytes;
  check(chunk_bytes <= kMaxChunkBytes, "column ", column_name, ": chunks of ", chunk_bytes,
        " bytes, at most ", kMaxChunkBytes, " are supported");

  const Hdf5Lock lock;
  std::array<hsize_t, Shape::kMaxRank> none = {}, unlimited = {}, chunk = {};
  unlimited[0] = H5S_UNLIMITED;
  chunk[0] = static_cast<hsize_t>(chunk_rows);
  for (int d = 0; d < row.rank(); ++d) {
    const auto at = static_cast<std::size_t>(d + 1);
    none[at] = unlimited[at] = chunk[at] = static_cast<hsize_t>(row[d]);
  }
  const int rank = row.rank() + 1;
  const Hdf5Handle space(H5Screate_simple(rank, none.data(), unlimited.data()), H5Sclose);
  const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_chunk(creation.id(), rank, chunk.data());
  H5Pset_obj_track_times(creation.id(), false);
  if (blosc) {
    const std::array<unsigned, kBloscParameters> parameters = {
        2,
        kBloscFormat,
        static_cast<unsigned>(element_bytes(dtype)),
        static_cast<unsigned>(chunk_bytes),
        static_cast<unsigned>(blosc->level),
        static_cast<unsigned>(blosc->shuffle),
        static_cast<unsigned>(blosc->codec)};
    // optional: libhdf5 need not know the filter, the chunks come to it compressed
    H5Pset_filter(creation.id(), kBloscFilter, H5Z_FLAG_OPTIONAL, parameters.size(),
                  parameters.data());
    column->pending.reserve(static_cast<std::size_t>(chunk_bytes));
    column->frame.resize(static_cast<std::size_t>(chunk_bytes) + kBloscOverhead);
  }
  column->type = stored_type(dtype);
  column->dataset =
      Hdf5Handle(H5Dcreate2(handles_->file.id(), column_name.c_str(), column->type.id(), space.id(),
                            H5P_DEFAULT, creation.id(), H5P_DEFAULT),
                 H5Dclose);
  check(column->dataset.valid(), "cannot write column ", column_name, " of ", name_, ": ",
        hdf5_reason());
  columns_.push_back(std::move(column));
  return static_cast<i64>(columns_.size()) - 1;
}

void Hdf5Writer::set_text(const char* text_name, const std::string& value) {
  ORRERY_ASSERT(!shared_);
  check(!value.empty() && value.size() <= static_cast<std::size_t>(kMaxHdf5Text),
        "cannot write text ", text_name, " of ", name_, ": it has ", value.size(), " bytes, 1 to ",
        kMaxHdf5Text, " are possible");
  const Hdf5Lock lock;
  const Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), value.size());
  H5Tset_strpad(type.id(), H5T_STR_NULLPAD);
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Hdf5Handle attribute(
      H5Acreate2(handles_->file.id(), text_name, type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT),
      H5Aclose);
  check_hdf5(attribute.valid() && H5Awrite(attribute.id(), type.id(), value.data()) >= 0,
             "cannot write text ", text_name, " of ", name_, ": ");
}

void Hdf5Writer::append(i64 index, i64 rows, const void* values) {
  ORRERY_ASSERT(index >= 0 && index < static_cast<i64>(columns_.size()));
  Column& column = *columns_[static_cast<std::size_t>(index)];
  const auto* bytes = static_cast<const std::byte*>(values);
  column.rows += rows;
  if (!column.blosc) {
    write_rows(column, rows, bytes);
    return;
  }
  while (rows > 0) {
    const i64 held = static_cast<i64>(column.pending.size()) / column.row_bytes;
    const i64 taken = std::min(rows, column.chunk_rows - held);
    column.pending.insert(column.pending.end(), bytes, bytes + taken * column.row_bytes);
    bytes += taken * column.row_bytes;
    rows -= taken;
    if (held + taken == column.chunk_rows) write_blosc_chunk(column);
  }
}

namespace {

bool extend(hid_t dataset, const Shape& row, i64 rows) {
  std::array<hsize_t, Shape::kMaxRank> sizes = {};
  sizes[0] = static_cast<hsize_t>(rows);
  for (int d = 0; d < row.rank(); ++d) {
    sizes[static_cast<std::size_t>(d + 1)] = static_cast<hsize_t>(row[d]);
  }
  return H5Dset_extent(dataset, sizes.data()) >= 0;
}

}  // namespace

void Hdf5Writer::write_rows(Column& column, i64 rows, const std::byte* values) {
  if (rows == 0) return;
  const Hdf5Lock lock;
  std::array<hsize_t, Shape::kMaxRank> start = {}, sizes = {};
  start[0] = static_cast<hsize_t>(column.written);
  sizes[0] = static_cast<hsize_t>(rows);
  for (int d = 0; d < column.row.rank(); ++d) {
    sizes[static_cast<std::size_t>(d + 1)] = static_cast<hsize_t>(column.row[d]);
  }
  bool done = extend(column.dataset.id(), column.row, column.written + rows);
  const Hdf5Handle memory(H5Screate_simple(column.row.rank() + 1, sizes.data(), nullptr), H5Sclose);
  const Hdf5Handle space(H5Dget_space(column.dataset.id()), H5Sclose);
  done = done && space.valid() && memory.valid() &&
         H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start.data(), nullptr, sizes.data(),
                             nullptr) >= 0 &&
         H5Dwrite(column.dataset.id(), column.type.id(), memory.id(), space.id(), H5P_DEFAULT,
                  values) >= 0;
  check(done, "cannot write column ", column.name, " of ", name_, ": ", hdf5_reason());
  column.written += rows;
}

void Hdf5Writer::write_blosc_chunk(Column& column) {
  const i64 rows = static_cast<i64>(column.pending.size()) / column.row_bytes;
  if (rows == 0) return;
  // the last chunk is stored whole, zeros after its last row
  column.pending.resize(static_cast<std::size_t>(column.chunk_rows * column.row_bytes));
  const std::size_t stored = blosc_encode(column.pending, column.row_bytes / column.row.numel(),
                                          *column.blosc, column.frame);
  column.pending.clear();

  const Hdf5Lock lock;
  std::array<hsize_t, Shape::kMaxRank> offset = {};
  offset[0] = static_cast<hsize_t>(column.written);
  const bool done = extend(column.dataset.id(), column.row, column.written + rows) &&
                    H5Dwrite_chunk(column.dataset.id(), H5P_DEFAULT, 0, offset.data(), stored,
                                   column.frame.data()) >= 0;
  check(done, "cannot write column ", column.name, " of ", name_, ": ", hdf5_reason());
  column.written += rows;
}

i64 Hdf5Writer::stored_rows(i64 index) const {
  return columns_[static_cast<std::size_t>(index)]->written;
}

void Hdf5Writer::flush() {
  const Hdf5Lock lock;
  if (!shared_) {
    // from here on libhdf5 orders what it writes such that the file is whole at any moment
    check_hdf5(H5Fstart_swmr_write(handles_->file.id()) >= 0, "cannot write ", name_, ": ");
    shared_ = true;
  }
  check_hdf5(H5Fflush(handles_->file.id(), H5F_SCOPE_GLOBAL) >= 0, "cannot write ", name_, ": ");
}

void Hdf5Writer::close() {
  for (const auto& column : columns_) {
    if (column->blosc) write_blosc_chunk(*column);
  }
  const Hdf5Lock lock;
  check_hdf5(H5Fflush(handles_->file.id(), H5F_SCOPE_GLOBAL) >= 0, "cannot write ", name_, ": ");
  for (const auto& column : columns_) {
    check_hdf5(column->dataset.reset(), "cannot write column ", column->name, " of ", name_, ": ");
  }
  check_hdf5(handles_->file.reset(), "cannot write ", name_, ": ");
}

}  // namespace orrery
