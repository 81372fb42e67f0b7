#include "data/statistics.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/function_ref.h"

namespace orrery {

namespace {

constexpr i64 kPieceRows = 4096;
constexpr float kSmallestDeviation = 1e-8f;  // of the official normaliser

// calls body(row) for every row without NaN; returns how many had one
i64 for_whole_rows(const Episodes& episodes, i64 index, FunctionRef<void(const double*)> body) {
  const auto width = static_cast<std::size_t>(episodes.column(index).width());
  std::vector<double> piece(static_cast<std::size_t>(std::min(kPieceRows, episodes.rows())) *
                            width);
  i64 with_nan = 0;
  for (i64 begin = 0; begin < episodes.rows(); begin += kPieceRows) {
    const i64 end = std::min(episodes.rows(), begin + kPieceRows);
    episodes.read_f64(index, begin, end, 1, piece.data());
    for (std::size_t row = 0; row < static_cast<std::size_t>(end - begin); ++row) {
      const double* values = piece.data() + row * width;
      const bool whole =
          std::none_of(values, values + width, [](double value) { return std::isnan(value); });
      if (whole) {
        body(values);
      } else {
        ++with_nan;
      }
    }
  }
  return with_nan;
}

}  // namespace

ColumnStatistics column_statistics(const Episodes& episodes, i64 index) {
  const auto width = static_cast<std::size_t>(episodes.column(index).width());
  ColumnStatistics result;
  result.mean.resize(width);
  result.deviation.resize(width);
  result.rows_with_nan = for_whole_rows(episodes, index, [&](const double* values) {
    ++result.rows;
    for (std::size_t c = 0; c < width; ++c) result.mean[c] += values[c];
  });
  check(result.rows > 0, "column ", episodes.column(index).name, " of ", episodes.name(),
        " has a NaN in every row");
  const auto rows = static_cast<double>(result.rows);
  for (double& mean : result.mean) {
    mean /= rows;
    // or the sum of very large ones
    check(std::isfinite(mean), "column ", episodes.column(index).name, " of ", episodes.name(),
          " has infinite values, which have no mean");
  }
  for_whole_rows(episodes, index, [&](const double* values) {
    for (std::size_t c = 0; c < width; ++c) {
      const double difference = values[c] - result.mean[c];
      result.deviation[c] += difference * difference;
    }
  });
  for (double& deviation : result.deviation) deviation = std::sqrt(deviation / rows);
  return result;
}

std::vector<double> column_percentile(const Episodes& episodes, i64 index, double q) {
  check(q >= 0 && q <= 100, "percentile ", q, " was asked for, 0 to 100 exist");
  const auto width = static_cast<std::size_t>(episodes.column(index).width());
  std::vector<std::vector<double>> columns(width);
  for_whole_rows(episodes, index, [&](const double* values) {
    for (std::size_t c = 0; c < width; ++c) columns[c].push_back(values[c]);
  });
  std::vector<double> result;
  for (std::vector<double>& values : columns) {
    check(!values.empty(), "column ", episodes.column(index).name, " of ", episodes.name(),
          " has a NaN in every row");
    std::sort(values.begin(), values.end());
    const double place = q / 100 * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    const double part = place - static_cast<double>(below);
    result.push_back(values[below] + (values[above] - values[below]) * part);
  }
  return result;
}

ZScore::ZScore(const ColumnStatistics& statistics)
    : ZScore(statistics.mean, statistics.deviation) {}

ZScore::ZScore(std::span<const double> mean, std::span<const double> deviation) {
  check(mean.size() == deviation.size(), "z-score: ", mean.size(), " means and ", deviation.size(),
        " deviations");
  for (std::size_t c = 0; c < mean.size(); ++c) {
    mean_.push_back(static_cast<float>(mean[c]));
    scale_.push_back(std::max(static_cast<float>(deviation[c]), kSmallestDeviation));
  }
}

void ZScore::check_rows(std::size_t values) const {
  check(!mean_.empty() && values % mean_.size() == 0, "z-score: ", values,
        " values are not rows of ", mean_.size());
}

void ZScore::normalise(std::span<float> values) const {
  check_rows(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t c = i % mean_.size();
    const float z = (values[i] - mean_[c]) / scale_[c];
    values[i] = std::isnan(z) ? 0.0f : z;
  }
}

void ZScore::restore(std::span<float> values) const {
  check_rows(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t c = i % mean_.size();
    values[i] = values[i] * scale_[c] + mean_[c];
  }
}

}  // namespace orrery
