#include "io/parquet.h"

#include <snappy.h>
#include <zlib.h>
#include <zstd.h>

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
constexpr i64 kMaxPageBytes = i64{1} << 30;
// what few bytes may claim: as in io/hdf5.cpp
constexpr i64 kMaxExpansion = 4096;
constexpr i64 kAlwaysAllowed = i64{1} << 20;

// the format's numbers
enum PhysicalType { kBoolean = 0, kInt32 = 1, kInt64 = 2, kFloat = 4, kDouble = 5 };
enum Encoding { kPlain = 0, kPlainDictionary = 2, kRle = 3, kRleDictionary = 8 };
enum CodecNumber { kUncompressed = 0, kSnappy = 1, kGzip = 2, kZstd = 6 };
enum PageType { kDataPage = 0, kDictionaryPage = 2, kDataPageV2 = 3 };
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

std::vector<std::byte> unpacked(std::span<const std::byte> packed, i64 bytes, int codec,
                                const std::string& where) {
  check(bytes >= 0 && bytes <= kMaxPageBytes &&
            (bytes <= kAlwaysAllowed || bytes / kMaxExpansion <= static_cast<i64>(packed.size())),
        where, " claims a page of ", bytes, " bytes in ", packed.size());
  std::vector<std::byte> out(static_cast<std::size_t>(bytes));
  const auto damaged = [&] { fail(where, " has a page that is damaged"); };
  auto* to = reinterpret_cast<char*>(out.data());
  const auto* from = reinterpret_cast<const char*>(packed.data());
  switch (codec) {
    case kUncompressed:
      if (packed.size() != out.size()) damaged();
      std::copy(packed.begin(), packed.end(), out.begin());
      break;
    case kSnappy: {
      std::size_t length = 0;
      if (!snappy::GetUncompressedLength(from, packed.size(), &length) || length != out.size() ||
          !snappy::RawUncompress(from, packed.size(), to)) {
        damaged();
      }
      break;
    }
    case kGzip: {
      z_stream stream = {};
      // 15: the largest window; 32 more: gzip or zlib by its header
      if (inflateInit2(&stream, 15 + 32) != Z_OK) damaged();
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(from));
      stream.avail_in = static_cast<uInt>(packed.size());
      stream.next_out = reinterpret_cast<Bytef*>(to);
      stream.avail_out = static_cast<uInt>(out.size());
      const int code = inflate(&stream, Z_FINISH);
      inflateEnd(&stream);
      if (code != Z_STREAM_END || stream.avail_out != 0) damaged();
      break;
    }
    case kZstd:
      if (ZSTD_decompress(to, out.size(), from, packed.size()) != out.size()) damaged();
      break;
    default:
      fail(where, " is compressed by codec ", codec,
           ", of which none, snappy, gzip and zstd are supported");
  }
  return out;
}

// `count` numbers of `width` bits, in runs of equal ones and of packed groups of eight.
std::vector<u32> levels_of(std::span<const std::byte> bytes, int width, i64 count,
                           const std::string& where) {
  std::vector<u32> out;
  out.reserve(static_cast<std::size_t>(count));
  std::size_t at = 0;
  const auto next = [&]() -> u32 {
    check(at < bytes.size(), where, " has a page that is cut short");
    return static_cast<u32>(bytes[at++]);
  };
  const auto left = [&] { return count - static_cast<i64>(out.size()); };
  while (left() > 0) {
    u64 head = 0;
    for (int shift = 0;; shift += 7) {
      check(shift < 35, where, " has a page with a run that is too long");
      const u32 part = next();
      head |= static_cast<u64>(part & 127u) << shift;
      if (part < 128) break;
    }
    if ((head & 1u) == 0) {
      u32 value = 0;
      for (int i = 0; i < (width + 7) / 8; ++i) value |= next() << (8 * i);
      const i64 run = std::min(left(), static_cast<i64>(head >> 1));
      check(run > 0, where, " has a page with an empty run");
      out.insert(out.end(), static_cast<std::size_t>(run), value);
      continue;
    }
    const i64 run = std::min(left(), static_cast<i64>(head >> 1) * 8);
    check(run > 0, where, " has a page with an empty run");
    u64 bits = 0;
    int held = 0;
    for (i64 i = 0; i < run; ++i) {
      for (; held < width; held += 8) bits |= static_cast<u64>(next()) << held;
      out.push_back(static_cast<u32>(bits & ((u64{1} << width) - 1)));
      bits >>= width;
      held -= width;
    }
    // a group is stored whole, also where the values end inside it
    const std::size_t stored =
        static_cast<std::size_t>((head >> 1)) * static_cast<std::size_t>(width);
    const auto read = (static_cast<std::size_t>(run) * static_cast<std::size_t>(width) + 7) / 8;
    at = std::min(bytes.size(), at + (stored > read ? stored - read : 0));
  }
  return out;
}

int bits_for(int most) {
  int bits = 0;
  while (most >> bits != 0) ++bits;
  return bits;
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
          definition.empty() || static_cast<int>(definition[at]) == leaf_.max_definition;
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
  check(rows_ >= 0 && (rows_ <= kAlwaysAllowed || rows_ / kMaxExpansion <= file_bytes), name_,
        " claims ", rows_, " rows in ", file_bytes, " bytes");

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
                 .max_definition = open.definition,
                 .max_repetition = open.repetition};
    ParquetColumn column = {.name = open.name, .list = open.repetition > 0};
    const auto dtype = dtype_of_type(field.has(1) ? field[1].integer : -1);
    if (dtype) {
      column.dtype = *dtype;
    } else {
      column.refusal = "its values are neither numbers nor booleans";
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
      if (!chunks[c][1].bytes.empty()) columns_[c].refusal = "its values are kept in another file";
      check(piece.begin >= 0 && piece.bytes >= 0 && piece.begin <= file_bytes &&
                piece.bytes <= file_bytes - piece.begin,
            name_, ": column ", columns_[c].name, " lies outside the file");
      check(piece.values >= 0 &&
                (piece.values <= kAlwaysAllowed || piece.values / kMaxExpansion <= file_bytes),
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
  auto rest =
      file_.subspan(static_cast<std::size_t>(piece.begin), static_cast<std::size_t>(piece.bytes));
  const int definition_bits = bits_for(leaf.max_definition);
  const int repetition_bits = bits_for(leaf.max_repetition);
  i64 seen = 0;
  while (seen < piece.values) {
    std::size_t used = 0;
    const ThriftValue page = parse_thrift(rest, where, &used);
    rest = rest.subspan(used);
    const i64 stored = page[3].integer;
    const i64 size = page[2].integer;
    check(stored >= 0 && stored <= static_cast<i64>(rest.size()), where,
          " has a page that is cut short");
    auto packed = rest.first(static_cast<std::size_t>(stored));
    rest = rest.subspan(static_cast<std::size_t>(stored));

    const i64 type = page[1].integer;
    if (type == kDictionaryPage) {
      const ThriftValue& head = page[7];
      const i64 encoding = head[2].integer;
      check(encoding == kPlain || encoding == kPlainDictionary, where,
            " has a dictionary in encoding ", encoding);
      const auto bytes = unpacked(packed, size, piece.codec, where);
      const i64 count = head[1].integer;
      check(count >= 0 && count <= static_cast<i64>(bytes.size()) * 8, where,
            " has a dictionary of ", count, " values in ", bytes.size(), " bytes");
      out.set_dictionary(out.plain(bytes, count));
      continue;
    }
    if (type != kDataPage && type != kDataPageV2) continue;  // an index

    const bool second = type == kDataPageV2;
    const ThriftValue& head = second ? page[8] : page[5];
    const i64 count = head[1].integer;
    check(count > 0 && count <= piece.values - seen, where, " has a page of ", count, " values, ",
          piece.values - seen, " are left");
    seen += count;
    std::vector<u32> repetition, definition;
    std::vector<std::byte> bytes;
    std::span<const std::byte> body;
    if (second) {
      // levels stand before what is compressed, their lengths in the head
      const i64 definition_bytes = head[5].integer, repetition_bytes = head[6].integer;
      check(definition_bytes >= 0 && repetition_bytes >= 0 && definition_bytes <= stored &&
                repetition_bytes <= stored - definition_bytes &&
                size >= definition_bytes + repetition_bytes,
            where, " has a page that is cut short");
      const auto first = packed.first(static_cast<std::size_t>(repetition_bytes));
      const auto then = packed.subspan(static_cast<std::size_t>(repetition_bytes),
                                       static_cast<std::size_t>(definition_bytes));
      if (repetition_bits > 0) repetition = levels_of(first, repetition_bits, count, where);
      if (definition_bits > 0) definition = levels_of(then, definition_bits, count, where);
      packed = packed.subspan(static_cast<std::size_t>(repetition_bytes + definition_bytes));
      const bool is_packed = !head.has(7) || head[7].integer != 0;
      bytes = unpacked(packed, size - repetition_bytes - definition_bytes,
                       is_packed ? piece.codec : kUncompressed, where);
      body = bytes;
    } else {
      bytes = unpacked(packed, size, piece.codec, where);
      body = bytes;
      const auto levels = [&](int bits, i64 encoding) {
        std::vector<u32> result;
        if (bits == 0) return result;
        check(encoding == kRle, where, " has levels in encoding ", encoding);
        u32 length = 0;
        check(body.size() >= 4, where, " has a page that is cut short");
        std::memcpy(&length, body.data(), 4);
        check(length <= body.size() - 4, where, " has a page that is cut short");
        result = levels_of(body.subspan(4, length), bits, count, where);
        body = body.subspan(4 + std::size_t{length});
        return result;
      };
      repetition = levels(repetition_bits, head[4].integer);
      definition = levels(definition_bits, head[3].integer);
    }

    const i64 present = definition.empty() ? count
                                           : std::count(definition.begin(), definition.end(),
                                                        static_cast<u32>(leaf.max_definition));
    const i64 encoding = second ? head[4].integer : head[2].integer;
    std::vector<std::byte> values;
    if (encoding == kPlain) {
      values = out.plain(body, present);
    } else if (encoding == kPlainDictionary || encoding == kRleDictionary) {
      if (present > 0) {
        check(!body.empty(), where, " has a page that is cut short");
        const auto width = static_cast<int>(body[0]);
        check(width <= 32, where, " has indices of ", width, " bits");
        values = out.looked_up(levels_of(body.subspan(1), width, present, where));
      }
    } else if (encoding == kRle && column.dtype == DType::boolean) {
      check(body.size() >= 4, where, " has a page that is cut short");
      for (const u32 bit : levels_of(body.subspan(4), 1, present, where)) {
        values.push_back(static_cast<std::byte>(bit));
      }
    } else {
      fail(where, " is in encoding ", encoding, ", plain and by dictionary are supported");
    }
    out.add(repetition, definition, values, count);
  }
}

}  // namespace orrery
