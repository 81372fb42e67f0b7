#include "data/summary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace orrery {

namespace {

constexpr i64 kPieceRows = 4096;
constexpr i64 kPieceBytes = i64{16} << 20;

ColumnSummary pictures(const Episodes& episodes, i64 index) {
  const Column& column = episodes.column(index);
  const auto channels = static_cast<std::size_t>(column.row[2]);
  // values are bytes: their counts tell everything, exactly
  std::vector<std::array<i64, 256>> counts(channels);
  const i64 piece = std::max<i64>(1, kPieceBytes / column.row_bytes());
  std::vector<u8> values(static_cast<std::size_t>(piece * column.row_bytes()));
  for (i64 begin = 0; begin < episodes.rows(); begin += piece) {
    const i64 end = std::min(episodes.rows(), begin + piece);
    episodes.read(index, begin, end, 1, reinterpret_cast<std::byte*>(values.data()));
    const auto used = static_cast<std::size_t>((end - begin) * column.row_bytes());
    for (std::size_t i = 0; i < used; i += channels) {
      for (std::size_t c = 0; c < channels; ++c) ++counts[c][values[i + c]];
    }
  }
  ColumnSummary result;
  result.rows = episodes.rows();
  for (const auto& count : counts) {
    double pixels = 0, sum = 0, squares = 0;
    int low = 255, high = 0;
    for (int v = 0; v < 256; ++v) {
      const auto n = static_cast<double>(count[static_cast<std::size_t>(v)]);
      if (n == 0) continue;
      low = std::min(low, v);
      high = std::max(high, v);
      pixels += n;
      sum += n * v;
    }
    const double mean = sum / pixels;
    for (int v = 0; v < 256; ++v) {
      squares += static_cast<double>(count[static_cast<std::size_t>(v)]) * (v - mean) * (v - mean);
    }
    result.minimum.push_back(low);
    result.maximum.push_back(high);
    result.mean.push_back(mean);
    result.deviation.push_back(std::sqrt(squares / pixels));
  }
  return result;
}

}  // namespace

bool is_picture(const Column& column) {
  return column.dtype == DType::uint8 && column.row.rank() == 3 &&
         (column.row[2] == 1 || column.row[2] == 3);
}

ColumnSummary summary_of(const Episodes& episodes, i64 index) {
  const Column& column = episodes.column(index);
  if (is_picture(column)) return pictures(episodes, index);
  const auto width = static_cast<std::size_t>(column.width());
  const i64 piece = std::clamp<i64>(kPieceBytes / (8 * column.width()), 1, kPieceRows);
  ColumnSummary result;
  result.minimum.assign(width, std::numeric_limits<double>::infinity());
  result.maximum.assign(width, -std::numeric_limits<double>::infinity());
  result.mean.resize(width);
  result.deviation.resize(width);
  std::vector<double> values(static_cast<std::size_t>(piece) * width);
  for (i64 begin = 0; begin < episodes.rows(); begin += piece) {
    const i64 end = std::min(episodes.rows(), begin + piece);
    episodes.read_f64(index, begin, end, 1, values.data());
    for (std::size_t row = 0; row < static_cast<std::size_t>(end - begin); ++row) {
      const double* x = values.data() + row * width;
      if (std::any_of(x, x + width, [](double value) { return std::isnan(value); })) {
        ++result.rows_with_nan;
        continue;
      }
      const auto n = static_cast<double>(++result.rows);
      for (std::size_t c = 0; c < width; ++c) {
        result.minimum[c] = std::min(result.minimum[c], x[c]);
        result.maximum[c] = std::max(result.maximum[c], x[c]);
        const double before = x[c] - result.mean[c];
        result.mean[c] += before / n;
        result.deviation[c] += before * (x[c] - result.mean[c]);
      }
    }
  }
  if (result.rows == 0) return {.rows = 0, .rows_with_nan = result.rows_with_nan};
  for (double& deviation : result.deviation) {
    deviation = std::sqrt(deviation / static_cast<double>(result.rows));
  }
  return result;
}

LengthSummary lengths_of(const Episodes& episodes) {
  LengthSummary result = {.shortest = episodes.length(0), .longest = episodes.length(0)};
  for (i64 e = 0; e < episodes.count(); ++e) {
    result.shortest = std::min(result.shortest, episodes.length(e));
    result.longest = std::max(result.longest, episodes.length(e));
  }
  result.mean = static_cast<double>(episodes.rows()) / static_cast<double>(episodes.count());
  return result;
}

}  // namespace orrery
