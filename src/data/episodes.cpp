#include "data/episodes.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace orrery {

Episodes::Episodes(std::string name, std::vector<i64> lengths)
    : name_(std::move(name)), lengths_(std::move(lengths)) {
  offsets_.reserve(lengths_.size());
  for (std::size_t e = 0; e < lengths_.size(); ++e) {
    offsets_.push_back(rows_);
    check(lengths_[e] >= 0 && !__builtin_add_overflow(rows_, lengths_[e], &rows_), name_,
          ": episode ", e, " has ", lengths_[e], " rows");
  }
  check(rows_ > 0, name_, " has no rows");
}

i64 Episodes::episode_of(i64 row) const {
  return std::upper_bound(offsets_.begin(), offsets_.end(), row) - offsets_.begin() - 1;
}

i64 Episodes::find_column(std::string_view column_name) const {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].name == column_name) return static_cast<i64>(i);
  }
  return -1;
}

i64 Episodes::column_index(std::string_view column_name) const {
  const i64 index = find_column(column_name);
  if (index >= 0) return index;
  for (const Refusal& refusal : refused_) {
    if (refusal.column == column_name) {
      fail("cannot read column ", column_name, " of ", name_, ": ", refusal.why);
    }
  }
  std::string known;
  for (const Column& column : columns_) known += (known.empty() ? "" : ", ") + column.name;
  fail(name_, " has no column '", column_name, "'; it has ", known.empty() ? "none" : known);
}

void Episodes::read(i64 index, i64 begin, i64 end, i64 stride, std::byte* out) const {
  check(index >= 0 && index < static_cast<i64>(columns_.size()), name_, " has no column ", index);
  check(begin >= 0 && begin <= end && end <= rows_ && stride > 0, "rows ", begin, " to ", end,
        " by ", stride, " were asked for, ", name_, " has ", rows_);
  if (begin < end) do_read(index, begin, end, stride, out);
}

namespace {

template <typename From, typename To>
void convert_values(const std::byte* from, i64 count, To* to) {
  const auto* values = reinterpret_cast<const From*>(from);
  for (i64 i = 0; i < count; ++i) to[i] = static_cast<To>(values[i]);
}

template <typename To>
void convert(DType dtype, const std::byte* from, i64 count, To* to) {
  switch (dtype) {
    case DType::f32:
      return convert_values<float>(from, count, to);
    case DType::f64:
      return convert_values<double>(from, count, to);
    case DType::int8:
      return convert_values<i8>(from, count, to);
    case DType::int16:
      return convert_values<i16>(from, count, to);
    case DType::int32:
      return convert_values<i32>(from, count, to);
    case DType::int64:
      return convert_values<i64>(from, count, to);
    case DType::boolean:  // one byte, 0 or 1
    case DType::uint8:
      return convert_values<u8>(from, count, to);
    case DType::uint16:
      return convert_values<u16>(from, count, to);
    case DType::uint32:
      return convert_values<u32>(from, count, to);
    case DType::uint64:
      return convert_values<u64>(from, count, to);
    case DType::f16:
    case DType::bf16:
      break;
  }
  fail("columns of type ", dtype, " are not converted");
}

template <typename To>
void read_as(const Episodes& episodes, i64 index, i64 begin, i64 end, i64 stride, To* out) {
  check(index >= 0 && index < static_cast<i64>(episodes.columns().size()), episodes.name(),
        " has no column ", index);
  const Column& column = episodes.column(index);
  if (column.dtype == dtype_of<To>) {
    episodes.read(index, begin, end, stride, reinterpret_cast<std::byte*>(out));
    return;
  }
  // in pieces, so that a long column is not held twice
  constexpr i64 kPieceRows = 4096;
  check(stride > 0, "a stride of ", stride, " rows was asked for");
  Tensor piece(column.dtype, {std::min(kPieceRows, std::max<i64>(0, end - begin)), column.width()});
  while (begin < end) {
    const i64 count = std::min(kPieceRows, (end - begin + stride - 1) / stride);
    const i64 piece_end = std::min(end, begin + count * stride);
    episodes.read(index, begin, piece_end, stride, piece.bytes());
    convert(column.dtype, piece.bytes(), count * column.width(), out);
    out += count * column.width();
    begin += count * stride;
  }
}

class MemoryEpisodes final : public Episodes {
 public:
  MemoryEpisodes(std::string name, std::vector<i64> lengths, TensorMap columns)
      : Episodes(std::move(name), std::move(lengths)) {
    for (auto& [column_name, tensor] : columns) {
      check(tensor.rank() >= 1 && tensor.size(0) == rows(), "column ", column_name, " of ",
            this->name(), " has shape ", tensor.shape(), ", the episodes have ", rows(), " rows");
      columns_.push_back({column_name, tensor.dtype(), Shape(tensor.shape().sizes().subspan(1))});
      values_.push_back(std::move(tensor));
    }
  }

 protected:
  void do_read(i64 index, i64 begin, i64 end, i64 stride, std::byte* out) const override {
    const i64 bytes = column(index).row_bytes();
    const std::byte* values = values_[static_cast<std::size_t>(index)].bytes();
    if (stride == 1) {
      std::memcpy(out, values + begin * bytes, static_cast<std::size_t>((end - begin) * bytes));
      return;
    }
    for (i64 row = begin; row < end; row += stride, out += bytes) {
      std::memcpy(out, values + row * bytes, static_cast<std::size_t>(bytes));
    }
  }

 private:
  std::vector<Tensor> values_;
};

}  // namespace

void Episodes::read_f32(i64 index, i64 begin, i64 end, i64 stride, float* out) const {
  read_as(*this, index, begin, end, stride, out);
}

void Episodes::read_f64(i64 index, i64 begin, i64 end, i64 stride, double* out) const {
  read_as(*this, index, begin, end, stride, out);
}

std::unique_ptr<Episodes> episodes_in_memory(std::string name, std::vector<i64> lengths,
                                             TensorMap columns) {
  return std::make_unique<MemoryEpisodes>(std::move(name), std::move(lengths), std::move(columns));
}

std::unique_ptr<Episodes> held_if_it_fits(std::unique_ptr<Episodes> source,
                                          const std::vector<std::string>& columns, i64 max_bytes) {
  i64 left = max_bytes;
  for (const std::string& name : columns) {
    const i64 row_bytes = source->column(source->column_index(name)).row_bytes();
    if (row_bytes > 0 && source->rows() > left / row_bytes) return source;
    left -= source->rows() * row_bytes;
  }
  TensorMap held;
  for (const std::string& name : columns) {
    const i64 index = source->column_index(name);
    const Column& column = source->column(index);
    std::vector<i64> sizes = {source->rows()};
    sizes.insert(sizes.end(), column.row.sizes().begin(), column.row.sizes().end());
    Tensor values(column.dtype, Shape(sizes));
    source->read(index, 0, source->rows(), 1, values.bytes());
    held.emplace(name, std::move(values));
  }
  std::vector<i64> lengths;
  for (i64 e = 0; e < source->count(); ++e) lengths.push_back(source->length(e));
  return episodes_in_memory(source->name(), std::move(lengths), std::move(held));
}

}  // namespace orrery
