#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "io/hdf5_reader.h"

namespace orrery {

namespace {

void normalise_booleans(const Hdf5Column& column, std::byte* values, i64 rows) {
  if (column.dtype != DType::boolean) return;
  for (i64 i = 0; i < rows * column.row_bytes(); ++i) {
    values[i] = values[i] == std::byte{0} ? std::byte{0} : std::byte{1};
  }
}

// chunks to this machine's numbers
void normalise(const Hdf5Column& column, std::byte* values, i64 rows) {
  normalise_booleans(column, values, rows);
  if (!column.swapped) return;
  const i64 element = element_bytes(column.dtype);
  for (i64 i = 0; i < rows * column.row_bytes(); i += element) {
    std::reverse(values + i, values + i + element);
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
  u32 skipped = 0;                   // bit i: step i was left out
};

namespace {

// rows that lie closer than this are decoded with what is between them: a Blosc block has as much
constexpr i64 kTogetherBytes = i64{64} << 10;

std::string chunk_text(const Hdf5Reader& reader, const Hdf5Column& column, i64 chunk) {
  return text("cannot read chunk ", chunk, " of column ", column.name, " of ", reader.name(), ": ");
}

u32 all_of(const std::vector<Hdf5Step>& steps) {
  return static_cast<u32>((u64{1} << steps.size()) - 1);
}

}  // namespace

Pieces Hdf5Reader::pieces_of(const Hdf5Column& column) {
  return {column.row, column.chunk_row, element_bytes(column.dtype)};
}

Hdf5Reader::ChunkBytes Hdf5Reader::chunk_bytes(i64 index, i64 chunk, i64 piece) const {
  const Hdf5Column& column = columns_[static_cast<std::size_t>(index)];
  const Pieces pieces = pieces_of(column);
  // chunks before it
  const i64 number = chunk * pieces.count() + piece;
  const auto place_of = [&]() -> Handles::ChunkPlace& {
    auto& pages = handles_->datasets[static_cast<std::size_t>(index)].pages;
    auto& page = pages[number / Handles::kPageChunks];
    if (!page) page = std::make_unique<Handles::Page>();
    return (*page)[static_cast<std::size_t>(number % Handles::kPageChunks)];
  };
  Handles::ChunkPlace place;
  {
    const std::lock_guard guard(handles_->places);
    place = place_of();
  }
  if (!place.known) {
    const auto where = [&] { return chunk_text(*this, column, chunk); };
    const auto file_bytes = static_cast<hsize_t>(file_bytes_);
    const auto& dataset = handles_->datasets[static_cast<std::size_t>(index)];
    {
      const Hdf5Lock lock;
      const Pieces::Corner corner = pieces.corner(piece);
      std::array<hsize_t, Shape::kMaxRank> offset = {};
      offset[0] = static_cast<hsize_t>(chunk * column.chunk_rows);
      bool edge = (chunk + 1) * column.chunk_rows > column.rows;
      for (int d = 0; d < column.row.rank(); ++d) {
        const auto at = static_cast<std::size_t>(d);
        offset[at + 1] = static_cast<hsize_t>(corner[at]);
        edge = edge || corner[at] + column.chunk_row[d] > column.row[d];
      }
      hsize_t stored = 0;
      check_hdf5(H5Dget_chunk_storage_size(dataset.id.id(), offset.data(), &stored) >= 0, where());
      check(stored <= file_bytes, where(), "it claims ", stored, " bytes in a file of ",
            file_bytes_);
      check(stored > 0 || !dataset.filled, where(),
            "it was never written, which stands for another value than zero");
      place = {.bytes = static_cast<u32>(stored), .known = true};
      if (stored > 0) {
        // libhdf5 1.10 would trust that a chunk is as long as it should be, before and after its
        // filters; so it is only asked where the bytes are, and the rest is done here
        uint32_t skipped = 0;
        herr_t done = -1;
        std::byte nothing = {};
        const auto found = handles_->source.place_read_by([&] {
          done = H5Dread_chunk(dataset.id.id(), H5P_DEFAULT, offset.data(), &skipped, &nothing);
        });
        check(done >= 0 && found.has_value(), where(), hdf5_reason());
        check(found->bytes == stored && found->offset <= file_bytes &&
                  found->bytes <= file_bytes - found->offset,
              where(), "it lies outside the file");
        place.offset = found->offset;
        place.skipped = (edge && dataset.plain_edges ? ~u32{0} : skipped) & all_of(column.steps);
      }
    }
    const std::lock_guard guard(handles_->places);
    place_of() = place;
  }
  return {handles_->source.bytes().subspan(place.offset, place.bytes), place.skipped};
}

void Hdf5Reader::read_chunk(i64 index, i64 chunk, std::byte* out) const {
  read_chunk_rows(index, chunk, 0, readable(index).chunk_rows, 1, out);
}

void Hdf5Reader::decode_chunk(i64 index, i64 chunk, std::span<std::byte> out) const {
  const Hdf5Column& column = columns_[static_cast<std::size_t>(index)];
  const Pieces pieces = pieces_of(column);
  const std::string where = chunk_text(*this, column, chunk);
  const auto decode = [&](i64 piece, std::span<std::byte> to) {
    const ChunkBytes stored = chunk_bytes(index, chunk, piece);
    if (stored.bytes.empty()) {
      // a chunk that was never written holds zeros
      std::fill(to.begin(), to.end(), std::byte{0});
    } else {
      decode_hdf5_chunk(stored.bytes, column.steps, stored.skipped, to, where);
    }
  };
  if (pieces.whole()) {
    decode(0, out);
    return;
  }
  std::vector<std::byte> piece(static_cast<std::size_t>(column.chunk_rows * pieces.piece_bytes()));
  for (i64 p = 0; p < pieces.count(); ++p) {
    decode(p, piece);
    pieces.scatter(p, column.chunk_rows, piece.data(), out.data());
  }
}

void Hdf5Reader::read_chunk_rows(i64 index, i64 chunk, i64 first, i64 last, i64 stride,
                                 std::byte* out) const {
  const Hdf5Column& column = readable(index);
  check(column.chunk_rows > 0 && chunk >= 0 && column.rows > 0 &&
            chunk <= (column.rows - 1) / column.chunk_rows,
        "column ", column.name, " of ", name_, " has no chunk ", chunk);
  check(first >= 0 && first <= last && last <= column.chunk_rows && stride > 0, "rows ", first,
        " to ", last, " by ", stride, " of a chunk of ", column.chunk_rows, " were asked for");
  const i64 row_bytes = column.row_bytes();
  const i64 chunk_size = column.chunk_rows * row_bytes;
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
  if (count == column.chunk_rows) {
    decode_chunk(index, chunk, {out, out_bytes});
  } else if (column.plain() || column.blosc()) {
    const ChunkBytes stored = chunk_bytes(index, chunk, 0);
    const std::string where = chunk_text(*this, column, chunk);
    if (stored.bytes.empty()) {
      std::memset(out, 0, out_bytes);
    } else if (column.plain() || stored.skipped != 0) {
      check(static_cast<i64>(stored.bytes.size()) == chunk_size, where, "it has ",
            stored.bytes.size(), " bytes, ", chunk_size, " are needed");
      pick(stored.bytes.data() + first * row_bytes);
    } else {
      const BloscFrame frame(stored.bytes, chunk_size, where);
      const i64 span = (count - 1) * stride + 1;
      if (stride == 1) {
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
  } else {
    std::vector<std::byte> rows(static_cast<std::size_t>(chunk_size));
    decode_chunk(index, chunk, rows);
    pick(rows.data() + first * row_bytes);
  }
  normalise(column, out, count);
}

}  // namespace orrery
