#include "data/joined_episodes.h"

#include <algorithm>
#include <cstring>
#include <regex>

#include "base/error.h"

namespace orrery {

namespace {

std::vector<i64> lengths_in(const Episodes& episodes) {
  std::vector<i64> lengths;
  for (i64 e = 0; e < episodes.count(); ++e) lengths.push_back(episodes.length(e));
  return lengths;
}

using Parts = std::vector<std::unique_ptr<Episodes>>;

std::string names_of(const Parts& parts) {
  check(!parts.empty(), "recordings to be joined: there are none");
  std::string names;
  for (const auto& part : parts) names += (names.empty() ? "" : " + ") + part->name();
  return names;
}

class Concatenated final : public Episodes {
 public:
  Concatenated(Parts parts, std::vector<i64> lengths)
      : Episodes(names_of(parts), std::move(lengths)), parts_(std::move(parts)) {
    i64 row = 0;
    for (const auto& part : parts_) {
      begins_.push_back(row);
      row += part->rows();
    }
    for (const Column& column : parts_.front()->columns()) {
      std::vector<i64> indices;
      for (const auto& part : parts_) {
        const i64 index = part->find_column(column.name);
        if (index < 0) break;
        const Column& other = part->column(index);
        check(other.dtype == column.dtype && other.row == column.row, "column ", column.name,
              " is ", column.dtype, " of ", column.row, " in ", parts_.front()->name(), " and ",
              other.dtype, " of ", other.row, " in ", part->name());
        indices.push_back(index);
      }
      if (indices.size() < parts_.size()) continue;
      columns_.push_back(column);
      indices_.push_back(std::move(indices));
    }
    check(!columns_.empty(), name(), " have no column in common");
  }

  i64 chunk_rows(i64 index) const override {
    return parts_.front()->chunk_rows(indices_[static_cast<std::size_t>(index)].front());
  }

 protected:
  void do_read(i64 index, i64 begin, i64 end, i64 stride, std::byte* out) const override {
    const i64 bytes = column(index).row_bytes();
    while (begin < end) {
      const auto at = static_cast<std::size_t>(
          std::upper_bound(begins_.begin(), begins_.end(), begin) - begins_.begin() - 1);
      const Episodes& part = *parts_[at];
      const i64 first = begin - begins_[at];
      const i64 last = std::min(end - begins_[at], part.rows());
      part.read(indices_[static_cast<std::size_t>(index)][at], first, last, stride, out);
      const i64 count = (last - first + stride - 1) / stride;
      begin += count * stride;
      out += count * bytes;
    }
  }

 private:
  Parts parts_;
  std::vector<i64> begins_;                // first row of each part
  std::vector<std::vector<i64>> indices_;  // by column, by part
};

class Beside final : public Episodes {
 public:
  explicit Beside(Parts parts)
      : Episodes(names_of(parts), lengths_in(*parts.front())), parts_(std::move(parts)) {
    for (std::size_t p = 0; p < parts_.size(); ++p) {
      check(lengths_in(*parts_[p]) == lengths_in(*parts_.front()), parts_[p]->name(), " and ",
            parts_.front()->name(), " have different episodes");
      for (i64 i = 0; i < static_cast<i64>(parts_[p]->columns().size()); ++i) {
        if (find_column(parts_[p]->column(i).name) >= 0) continue;
        columns_.push_back(parts_[p]->column(i));
        places_.push_back({p, i});
      }
    }
  }

  i64 chunk_rows(i64 index) const override {
    const auto& [part, at] = places_[static_cast<std::size_t>(index)];
    return parts_[part]->chunk_rows(at);
  }

 protected:
  void do_read(i64 index, i64 begin, i64 end, i64 stride, std::byte* out) const override {
    const auto& [part, at] = places_[static_cast<std::size_t>(index)];
    parts_[part]->read(at, begin, end, stride, out);
  }

 private:
  Parts parts_;
  std::vector<std::pair<std::size_t, i64>> places_;  // by column: part, its column
};

class WithMerged final : public Episodes {
 public:
  WithMerged(std::unique_ptr<Episodes> source, const std::vector<MergedColumn>& columns)
      : Episodes(source->name(), lengths_in(*source)), source_(std::move(source)) {
    columns_ = source_->columns();
    for (const MergedColumn& wanted : columns) add(wanted);
  }

  i64 chunk_rows(i64 index) const override {
    const auto own = static_cast<std::size_t>(index);
    return own < source_->columns().size() ? source_->chunk_rows(index)
                                           : source_->chunk_rows(merged_of(index).front());
  }

 protected:
  void do_read(i64 index, i64 begin, i64 end, i64 stride, std::byte* out) const override {
    if (static_cast<std::size_t>(index) < source_->columns().size()) {
      return source_->read(index, begin, end, stride, out);
    }
    // the parts, in the merged type, then interleaved: groups of `outer` stretches a row
    const Column& merged = column(index);
    const i64 rows = (end - begin + stride - 1) / stride;
    const i64 element = element_bytes(merged.dtype);
    const i64 last = merged.row[merged.row.rank() - 1];
    const i64 outer = rows * (merged.width() / last);
    i64 before = 0;
    for (const i64 part : merged_of(index)) {
      const Column& from = source_->column(part);
      const i64 width = from.row[from.row.rank() - 1];
      const Tensor values = read_converted(part, begin, end, stride, rows, merged.dtype);
      for (i64 i = 0; i < outer; ++i) {
        std::memcpy(out + (i * last + before) * element, values.bytes() + i * width * element,
                    static_cast<std::size_t>(width * element));
      }
      before += width;
    }
  }

 private:
  const std::vector<i64>& merged_of(i64 index) const {
    return merged_[static_cast<std::size_t>(index) - source_->columns().size()];
  }

  Tensor read_converted(i64 part, i64 begin, i64 end, i64 stride, i64 rows, DType dtype) const {
    const Column& from = source_->column(part);
    Tensor values(from.dtype, {rows, from.width()});
    source_->read(part, begin, end, stride, values.bytes());
    return from.dtype == dtype ? std::move(values) : values.converted(dtype);
  }

  void add(const MergedColumn& wanted) {
    std::vector<std::string> sources = wanted.sources;
    if (!wanted.pattern.empty()) {
      std::regex pattern;
      try {
        pattern = std::regex(wanted.pattern);
      } catch (const std::regex_error&) {
        fail("'", wanted.pattern, "' is no regular expression");
      }
      const auto matches = [&](const std::string& column_name) {
        return std::regex_search(column_name, pattern, std::regex_constants::match_continuous);
      };
      for (const char* table : {"ep_len", "ep_offset"}) {
        check(!matches(table), "'", wanted.pattern, "' matches ", table,
              ", which has a row an episode and joins no column");
      }
      for (const Column& column : source_->columns()) {
        if (matches(column.name)) sources.push_back(column.name);
      }
      std::sort(sources.begin(), sources.end());
    }
    check(!sources.empty(), "column ", wanted.name, " would be made of no column",
          wanted.pattern.empty() ? "" : text(": none matches '", wanted.pattern, "'"));
    Column merged = {.name = wanted.name};
    std::vector<i64> parts;
    for (const std::string& name : sources) {
      const i64 index = source_->column_index(name);
      const Column& part = source_->column(index);
      const int rank = part.row.rank();
      check(rank >= 1, "column ", name, " has single numbers, which cannot be joined");
      if (parts.empty()) {
        merged.row = part.row;
        merged.dtype = part.dtype;
      } else {
        bool same = rank == merged.row.rank();
        for (int d = 0; same && d < rank - 1; ++d) same = part.row[d] == merged.row[d];
        check(same, "columns ", sources.front(), " and ", name, " have rows of ",
              source_->column(parts.front()).row, " and ", part.row, ", which cannot be joined");
        merged.row[rank - 1] += part.row[rank - 1];
        merged.dtype = promoted(merged.dtype, part.dtype);
      }
      parts.push_back(index);
    }
    check(find_column(wanted.name) < 0, name(), " has a column ", wanted.name, " already");
    columns_.push_back(merged);
    merged_.push_back(std::move(parts));
  }

  std::unique_ptr<Episodes> source_;
  std::vector<std::vector<i64>> merged_;  // of the columns behind the source's own
};

struct Kind {
  bool is_float = false;
  bool is_signed = false;
  bool is_bool = false;
};

Kind kind_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::f64:
      return {.is_float = true, .is_signed = true};
    case DType::int8:
    case DType::int16:
    case DType::int32:
    case DType::int64:
      return {.is_signed = true};
    case DType::boolean:
      return {.is_bool = true};
    case DType::f16:
    case DType::bf16:
      fail("columns of ", dtype, " are not joined with others");
    default:
      return {};
  }
}

}  // namespace

DType promoted(DType a, DType b) {
  if (a == b) return a;
  const Kind x = kind_of(a), y = kind_of(b);
  if (x.is_bool) return b;
  if (y.is_bool) return a;
  const i64 wide = std::max(element_bytes(a), element_bytes(b));
  if (x.is_float || y.is_float) {
    // float32 holds integers of 16 bits exactly
    const i64 other = x.is_float ? element_bytes(b) : element_bytes(a);
    const DType real = x.is_float ? a : b;
    if (x.is_float && y.is_float) return DType::f64;
    return real == DType::f32 && other <= 2 ? DType::f32 : DType::f64;
  }
  if (x.is_signed == y.is_signed) return element_bytes(a) == wide ? a : b;
  // a signed type with one bit more than the unsigned one
  const DType with_sign = x.is_signed ? a : b;
  const DType without = x.is_signed ? b : a;
  if (element_bytes(with_sign) > element_bytes(without)) return with_sign;
  switch (element_bytes(without)) {
    case 1:
      return DType::int16;
    case 2:
      return DType::int32;
    case 4:
      return DType::int64;
    default:
      return DType::f64;
  }
}

std::unique_ptr<Episodes> concatenated(std::vector<std::unique_ptr<Episodes>> parts) {
  std::vector<i64> lengths;
  for (const auto& part : parts) {
    const std::vector<i64> more = lengths_in(*part);
    lengths.insert(lengths.end(), more.begin(), more.end());
  }
  return std::make_unique<Concatenated>(std::move(parts), std::move(lengths));
}

std::unique_ptr<Episodes> beside(std::vector<std::unique_ptr<Episodes>> parts) {
  check(!parts.empty(), "recordings to be joined: there are none");
  return std::make_unique<Beside>(std::move(parts));
}

std::unique_ptr<Episodes> with_merged_columns(std::unique_ptr<Episodes> source,
                                              const std::vector<MergedColumn>& columns) {
  return std::make_unique<WithMerged>(std::move(source), columns);
}

}  // namespace orrery
