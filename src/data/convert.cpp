#include "data/convert.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "data/drawing.h"

namespace orrery {

namespace {

struct Plan {
  i64 index = 0;
  Column column;  // as written
  bool cast = false;
};

template <typename T>
void cast_to(const std::vector<double>& values, i64 first_row, i64 width, const std::string& name,
             std::vector<std::byte>& out) {
  auto* to = reinterpret_cast<T*>(out.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    to[i] = static_cast<T>(0);
    bool fits = true;
    if constexpr (std::numeric_limits<T>::is_integer) {
      // both limits are whole numbers of double, the upper one plus 1 of 64 bits
      const double low = static_cast<double>(std::numeric_limits<T>::min());
      const double high = std::ldexp(1.0, std::numeric_limits<T>::digits);
      fits = values[i] >= low && values[i] < high && values[i] == std::trunc(values[i]);
    }
    check(fits, "column ", name, ": row ", first_row + static_cast<i64>(i) / width, " holds ",
          values[i], ", which ", dtype_of<T>, " does not");
    to[i] = static_cast<T>(values[i]);
  }
}

void cast(const std::vector<double>& values, i64 first_row, const Column& column,
          std::vector<std::byte>& out) {
  const auto to = [&](auto type) {
    cast_to<decltype(type)>(values, first_row, column.width(), column.name, out);
  };
  switch (column.dtype) {
    case DType::f32:
      return to(float{});
    case DType::f64:
      return to(double{});
    case DType::uint8:
      return to(u8{});
    case DType::int32:
      return to(i32{});
    case DType::int64:
      return to(i64{});
    default:
      fail("column ", column.name, " cannot be made ", column.dtype,
           ": f32, f64, u8, i32 and i64 are possible");
  }
}

}  // namespace

void convert_episodes(const Episodes& source, const std::filesystem::path& path,
                      const ConvertOptions& options, ConvertProgress progress) {
  std::vector<ColumnChoice> choices = options.columns;
  if (choices.empty()) {
    for (const Column& column : source.columns()) choices.push_back({.from = column.name});
  }
  std::vector<Plan> plans;
  std::vector<Column> columns;
  for (const ColumnChoice& choice : choices) {
    Plan plan;
    plan.index = source.column_index(choice.from);
    plan.column = source.column(plan.index);
    if (!choice.to.empty()) plan.column.name = choice.to;
    plan.cast = choice.dtype && *choice.dtype != plan.column.dtype;
    if (choice.dtype) plan.column.dtype = *choice.dtype;
    columns.push_back(plan.column);
    plans.push_back(std::move(plan));
  }
  const i64 first = options.first_episode;
  const i64 last = options.episodes < 0 ? source.count() : first + options.episodes;
  check(first >= 0 && first < last && last <= source.count(), "episodes ", first, " to ", last,
        " were asked for, ", source.name(), " has ", source.count());

  // pictures that are not copied can be drawn from the copy, when it has what they are drawn from
  WriteOptions write = options.write;
  const auto has = [&](std::string_view name) {
    return std::any_of(plans.begin(), plans.end(), [&](const Plan& plan) {
      return plan.column.name == name && source.column(plan.index).name == name;
    });
  };
  const bool hdf5 = write.format.value_or(episode_format_of(path)) == EpisodeFormat::hdf5;
  if (hdf5 && !source.drawing().empty() && !has("pixels") && has("ep_idx") &&
      has(drawing_from_text(source.drawing(), source.name()).state)) {
    write.drawing = source.drawing();
  }
  const auto writer = write_episodes(path, columns, write);
  std::vector<std::vector<std::byte>> values(plans.size());
  std::vector<const std::byte*> pointers(plans.size());
  std::vector<double> numbers;
  i64 rows = 0;
  for (i64 e = first; e < last; ++e) {
    const i64 begin = source.offset(e), end = begin + source.length(e);
    for (std::size_t c = 0; c < plans.size(); ++c) {
      const Plan& plan = plans[c];
      values[c].resize(static_cast<std::size_t>((end - begin) * plan.column.row_bytes()));
      if (plan.cast) {
        numbers.resize(static_cast<std::size_t>((end - begin) * plan.column.width()));
        source.read_f64(plan.index, begin, end, 1, numbers.data());
        cast(numbers, begin, plan.column, values[c]);
      } else {
        source.read(plan.index, begin, end, 1, values[c].data());
      }
      pointers[c] = values[c].data();
    }
    writer->append(end - begin, pointers);
    rows += end - begin;
    check(progress(e + 1 - first, rows), "stopped after ", e + 1 - first, " of ", last - first,
          " episodes; nothing was kept");
  }
  writer->finish();
}

}  // namespace orrery
