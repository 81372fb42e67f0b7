#include "io/parquet.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "io/thrift.h"

namespace orrery {

namespace {

constexpr std::string_view kMagic = "PAR1";
constexpr i64 kMaxColumns = 4096;

// the format's numbers
enum PhysicalType { kBoolean = 0, kInt32 = 1, kInt64 = 2, kFloat = 4, kDouble = 5, kByteArray = 6 };
enum Repetition { kRequired = 0, kOptional = 1, kRepeated = 2 };

std::optional<DType> dtype_of_type(i64 type) {
  switch (type) {
    case kBoolean:
      return DType::boolean;
    case kInt32:
      return DType::int32;
    case kInt64:
      return DType::int64;
    case kFloat:
      return DType::f32;
    case kDouble:
      return DType::f64;
    default:
      return std::nullopt;
  }
}

bool is_by_dictionary(const parquet::Page& page) {
  return page.encoding == parquet::kPlainDictionary || page.encoding == parquet::kRleDictionary;
}

std::vector<u32> dictionary_indices(const parquet::Page& page, const std::string& where) {
  if (page.present == 0) return {};
  check(!page.values.empty(), where, " has a page that is cut short");
  const auto width = static_cast<int>(page.values[0]);
  check(width <= 32, where, " has indices of ", width, " bits");
  return parquet::numbers_of(page.values.subspan(1), width, page.present, where);
}

}  // namespace

// The values of a column as they come, and how they fall into rows.
class ParquetReader::Values {
 public:
  Values(const ParquetColumn& column, const Leaf& leaf, i64 rows, std::string where)
      : column_(column),
        leaf_(leaf),
        rows_(rows),
        where_(std::move(where)),
        element_(static_cast<std::size_t>(element_bytes(column.dtype))) {}

  const std::string& where() const { return where_; }
  i64 dictionary_size() const { return static_cast<i64>(dictionary_.size() / element_); }

  // plain values: booleans are bits
  std::vector<std::byte> plain(std::span<const std::byte> bytes, i64 count) const {
    std::vector<std::byte> out(static_cast<std::size_t>(count) * element_);
    if (column_.dtype == DType::boolean) {
      check(static_cast<i64>(bytes.size()) >= (count + 7) / 8, where_,
            " has a page that is cut short");
      for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = (bytes[i / 8] >> (i % 8)) & std::byte{1};
      return out;
    }
    check(bytes.size() >= out.size(), where_, " has a page that is cut short");
    if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size());
    return out;
  }

  void set_dictionary(std::vector<std::byte> values) { dictionary_ = std::move(values); }

  std::vector<std::byte> looked_up(const std::vector<u32>& indices) const {
    std::vector<std::byte> out(indices.size() * element_);
    for (std::size_t i = 0; i < indices.size(); ++i) {
      check(indices[i] < dictionary_.size() / element_, where_,
            " has a value that its dictionary does not");
      std::memcpy(out.data() + i * element_, dictionary_.data() + indices[i] * element_, element_);
    }
    return out;
  }

  // one page: a level of each kind for each value, the values that are there
  void add(const std::vector<u32>& repetition, const std::vector<u32>& definition,
           const std::vector<std::byte>& present, i64 count) {
    const std::byte* from = present.data();
    for (i64 i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const bool starts = repetition.empty() || repetition[at] == 0;
      if (starts) end_row();
      begun_ = true;
      const bool there =
          definition.empty() || static_cast<int>(definition[at]) == leaf_.levels.definition;
      if (there) {
        values_.insert(values_.end(), from, from + element_);
        from += element_;
      } else {
        add_missing();
      }
      ++in_row_;
    }
  }

  Tensor finish() {
    end_row();
    check(done_ == rows_, where_, " has ", done_, " rows, the file says ", rows_);
    const Shape shape = column_.list ? Shape({rows_, std::max<i64>(0, width_)}) : Shape({rows_});
    Tensor tensor(column_.dtype, shape);
    check(static_cast<std::size_t>(tensor.byte_count()) == values_.size(), where_,
          " has rows that are not single numbers");
    if (!values_.empty()) std::memcpy(tensor.bytes(), values_.data(), values_.size());
    return tensor;
  }

 private:
  void add_missing() {
    if (column_.dtype == DType::f32) {
      put(std::numeric_limits<float>::quiet_NaN());
    } else if (column_.dtype == DType::f64) {
      put(std::numeric_limits<double>::quiet_NaN());
    } else {
      fail(where_, " lacks a value in row ", done_, ", and its type knows no NaN");
    }
  }

  template <typename T>
  void put(T value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    values_.insert(values_.end(), bytes, bytes + sizeof(T));
  }

  void end_row() {
    if (!begun_) return;
    if (width_ < 0) width_ = in_row_;
    check(in_row_ == width_, where_, " has ", in_row_, " values in row ", done_, ", ", width_,
          " in the rows before");
    ++done_;
    in_row_ = 0;
    begun_ = false;
  }

  const ParquetColumn& column_;
  const Leaf& leaf_;
  i64 rows_;
  std::string where_;
  std::size_t element_;
  std::vector<std::byte> dictionary_;
  std::vector<std::byte> values_;
  i64 width_ = -1;  // values of a row, once one is known
  i64 in_row_ = 0;
  i64 done_ = 0;  // rows
  bool begun_ = false;
};

ParquetReader::ParquetReader(const std::filesystem::path& path)
    : mapped_(path), file_(mapped_->bytes()), name_(path.string()) {
  open();
}

ParquetReader::ParquetReader(std::span<const std::byte> file, std::string name)
    : file_(file), name_(std::move(name)) {
  open();
}

void ParquetReader::open() {
  // "PAR1", pages, description, its length, "PAR1"
  const std::string_view characters(reinterpret_cast<const char*>(file_.data()), file_.size());
  check(file_.size() >= 12 && characters.substr(0, 4) == kMagic &&
            characters.substr(file_.size() - 4) == kMagic,
        name_, " is no whole Parquet file");
  u32 length = 0;
  std::memcpy(&length, file_.data() + file_.size() - 8, 4);
  check(length <= file_.size() - 12, name_, " is cut short in its description");
  const ThriftValue about =
      parse_thrift(file_.subspan(file_.size() - 8 - length, length), name_ + "'s description");
  rows_ = about[3].integer;
  const auto file_bytes = static_cast<i64>(file_.size());
  check(rows_ >= 0 &&
            (rows_ <= parquet::kAlwaysAllowed || rows_ / parquet::kMaxExpansion <= file_bytes),
        name_, " claims ", rows_, " rows in ", file_bytes, " bytes");

  // the schema is a tree, written parents first; its leaves are the columns
  const auto& schema = about[2].items;
  check(!schema.empty() && static_cast<i64>(schema.size()) <= kMaxColumns * 4, name_, " has ",
        schema.size(), " fields");
  struct Open {
    i64 left;  // children to come
    std::string name;
    int definition, repetition;
  };
  std::vector<Open> path = {{schema[0][5].integer, "", 0, 0}};
  for (std::size_t i = 1; i < schema.size(); ++i) {
    while (!path.empty() && path.back().left == 0) path.pop_back();
    check(!path.empty() && path.size() < 16, name_, " has a schema that is no tree");
    --path.back().left;
    const ThriftValue& field = schema[i];
    const i64 how = field[3].integer;
    Open open = {field[5].integer, path.back().name, path.back().definition,
                 path.back().repetition};
    if (path.size() == 1) open.name = std::string(field[4].bytes);
    open.definition += how != kRequired ? 1 : 0;
    open.repetition += how == kRepeated ? 1 : 0;
    if (field.has(5) && open.left > 0) {
      path.push_back(open);
      continue;
    }
    Leaf leaf = {.type = static_cast<int>(field[1].integer),
                 .levels = {.definition = open.definition, .repetition = open.repetition}};
    ParquetColumn column = {
        .name = open.name, .field = std::string(field[4].bytes), .list = open.repetition > 0};
    const auto dtype = dtype_of_type(field.has(1) ? field[1].integer : -1);
    if (dtype) {
      column.dtype = *dtype;
    } else {
      column.refusal = "its values are neither numbers nor booleans";
      column.blob = leaf.type == kByteArray && !column.list;
    }
    columns_.push_back(std::move(column));
    leaves_.push_back(std::move(leaf));
  }

  for (const ThriftValue& group : about[4].items) {
    const auto& chunks = group[1].items;
    check(chunks.size() == columns_.size(), name_, " has ", chunks.size(),
          " columns in a row group, ", columns_.size(), " in its schema");
    for (std::size_t c = 0; c < chunks.size(); ++c) {
      const ThriftValue& chunk = chunks[c][3];
      Piece piece;
      // the dictionary, when there is one, lies before the pages
      piece.begin = chunk[9].integer;
      if (chunk.has(11) && chunk[11].integer > 0)
        piece.begin = std::min(piece.begin, chunk[11].integer);
      piece.bytes = chunk[7].integer;
      piece.rows = group[3].integer;
      piece.values = chunk[5].integer;
      piece.codec = static_cast<int>(chunk[4].integer);
      if (!chunks[c][1].bytes.empty()) {
        columns_[c].refusal = "its values are kept in another file";
        columns_[c].blob = false;
      }
      check(piece.begin >= 0 && piece.bytes >= 0 && piece.begin <= file_bytes &&
                piece.bytes <= file_bytes - piece.begin,
            name_, ": column ", columns_[c].name, " lies outside the file");
      check(piece.values >= 0 && (piece.values <= parquet::kAlwaysAllowed ||
                                  piece.values / parquet::kMaxExpansion <= file_bytes),
            name_, ": column ", columns_[c].name, " claims ", piece.values, " values in ",
            file_bytes, " bytes");
      leaves_[c].pieces.push_back(piece);
    }
  }
}

i64 ParquetReader::find(std::string_view name) const {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].name == name) return static_cast<i64>(i);
  }
  return -1;
}

i64 ParquetReader::find(std::string_view name, std::string_view field) const {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].name == name && columns_[i].field == field) return static_cast<i64>(i);
  }
  return -1;
}

Tensor ParquetReader::read(i64 index) const {
  check(index >= 0 && index < static_cast<i64>(columns_.size()), name_, " has no column ", index);
  const ParquetColumn& column = columns_[static_cast<std::size_t>(index)];
  const Leaf& leaf = leaves_[static_cast<std::size_t>(index)];
  check(column.refusal.empty(), "cannot read column ", column.name, " of ", name_, ": ",
        column.refusal);
  Values values(column, leaf, rows_, text("column ", column.name, " of ", name_));
  for (const Piece& piece : leaf.pieces) read_piece(leaf, column, piece, values);
  return values.finish();
}

void ParquetReader::read_piece(const Leaf& leaf, const ParquetColumn& column, const Piece& piece,
                               Values& out) const {
  const std::string& where = out.where();
  const auto take = [&](const parquet::Page& page) {
    if (page.dictionary) return out.set_dictionary(out.plain(page.values, page.count));
    std::vector<std::byte> values;
    if (page.encoding == parquet::kPlain) {
      values = out.plain(page.values, page.present);
    } else if (is_by_dictionary(page)) {
      values = out.looked_up(dictionary_indices(page, where));
    } else if (page.encoding == parquet::kRle && column.dtype == DType::boolean) {
      check(page.values.size() >= 4, where, " has a page that is cut short");
      for (const u32 bit : parquet::numbers_of(page.values.subspan(4), 1, page.present, where)) {
        values.push_back(static_cast<std::byte>(bit));
      }
    } else {
      fail(where, " is in encoding ", page.encoding, ", plain and by dictionary are supported");
    }
    out.add(page.repetition, page.definition, values, page.count);
  };
  const auto all = [](i64) { return parquet::PageUse::take; };
  parquet::each_page(file_, piece, leaf.levels, where, all, take);
}

namespace {

// Plain byte strings: each a length of four bytes and so many bytes, which stay where they are.
std::vector<std::span<const std::byte>> plain_blobs(std::span<const std::byte> bytes, i64 count,
                                                    const std::string& where) {
  std::vector<std::span<const std::byte>> blobs;
  for (i64 i = 0; i < count; ++i) {
    u32 length = 0;
    check(bytes.size() >= 4, where, " has a page that is cut short");
    std::memcpy(&length, bytes.data(), 4);
    bytes = bytes.subspan(4);
    check(length <= bytes.size(), where, " has a page that is cut short");
    blobs.push_back(bytes.first(length));
    bytes = bytes.subspan(length);
  }
  return blobs;
}

}  // namespace

void ParquetReader::read_blobs(i64 index, i64 begin, i64 end, TakeBlob take) const {
  check(index >= 0 && index < static_cast<i64>(columns_.size()), name_, " has no column ", index);
  const ParquetColumn& column = columns_[static_cast<std::size_t>(index)];
  const Leaf& leaf = leaves_[static_cast<std::size_t>(index)];
  const std::string where = text("column ", column.name, " of ", name_);
  check(column.blob, where, " does not hold byte strings");
  check(begin >= 0 && begin <= end && end <= rows_, "rows ", begin, " to ", end, " of ", name_,
        " were asked for, it has ", rows_);
  i64 row = 0;
  for (const Piece& piece : leaf.pieces) {
    check(piece.values == piece.rows, where, " has ", piece.values, " values in ", piece.rows,
          " rows");
    if (row >= end) return;
    if (piece.rows <= begin - row) {
      row += piece.rows;
      continue;
    }
    std::vector<std::byte> dictionary_bytes;
    std::vector<std::span<const std::byte>> dictionary;
    const auto use = [&](i64 count) {
      if (row >= end) return parquet::PageUse::stop;
      if (count > begin - row) return parquet::PageUse::take;
      row += count;
      return parquet::PageUse::skip;
    };
    const auto take_page = [&](const parquet::Page& page) {
      if (page.dictionary) {
        dictionary_bytes.assign(page.values.begin(), page.values.end());
        dictionary = plain_blobs(dictionary_bytes, page.count, where);
        return;
      }
      std::vector<std::span<const std::byte>> present;
      if (page.encoding == parquet::kPlain) {
        present = plain_blobs(page.values, page.present, where);
      } else if (is_by_dictionary(page)) {
        for (const u32 at : dictionary_indices(page, where)) {
          check(at < dictionary.size(), where, " has a value that its dictionary does not");
          present.push_back(dictionary[at]);
        }
      } else {
        fail(where, " is in encoding ", page.encoding, ", plain and by dictionary are supported");
      }
      auto next = present.begin();
      for (i64 i = 0; i < page.count; ++i, ++row) {
        const bool there = page.definition.empty() ||
                           static_cast<int>(page.definition[static_cast<std::size_t>(i)]) ==
                               leaf.levels.definition;
        const std::span<const std::byte> blob = there ? *next++ : std::span<const std::byte>();
        if (row >= begin && row < end) take(row, blob);
      }
    };
    parquet::each_page(file_, piece, leaf.levels, where, use, take_page);
  }
  check(row >= end, where, " has ", row, " rows, the file says ", rows_);
}

}  // namespace orrery
