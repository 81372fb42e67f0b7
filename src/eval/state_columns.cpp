#include "eval/state_columns.h"

#include <cmath>

#include "base/error.h"

namespace orrery {

namespace {

constexpr i64 kWidest = 64;  // a column with more numbers is a picture's business

bool is_numbers(const Column& column) {
  return column.row.rank() <= 1 && column.width() >= 1 && column.width() <= kWidest;
}

StateQuantity whole_column(const Episodes& episodes, i64 index, std::string name,
                           std::string unit) {
  return {.name = std::move(name),
          .unit = std::move(unit),
          .column = index,
          .width = episodes.column(index).width()};
}

}  // namespace

std::vector<StateQuantity> quantities_of(const Episodes& episodes,
                                         const std::vector<std::string>& names) {
  std::vector<StateQuantity> result;
  for (const std::string& name : names) {
    const i64 index = episodes.column_index(name);
    check(is_numbers(episodes.column(index)), episodes.name(), ": column ", name, " has rows ",
          episodes.column(index).row, ", 1 to ", kWidest, " numbers were needed");
    result.push_back(whole_column(episodes, index, name, ""));
  }
  if (!names.empty()) return result;

  const auto find = [&](const char* name) {
    const i64 index = episodes.find_column(name);
    return index >= 0 && is_numbers(episodes.column(index)) ? index : -1;
  };
  if (const i64 state = find("state"); state >= 0) {
    const i64 width = episodes.column(state).width();
    if (width == 7 || width == 5) {
      return {{.name = "agent", .unit = "px", .column = state, .first = 0, .width = 2},
              {.name = "block", .unit = "px", .column = state, .first = 2, .width = 2},
              {.name = "angle", .unit = "degrees", .column = state, .first = 4, .angle = true}};
    }
  }
  if (const i64 agent = find("pos_agent"); agent >= 0) {
    return {whole_column(episodes, agent, "agent", "px")};
  }
  for (const char* name : {"observation.state", "state", "proprio"}) {
    if (const i64 index = find(name); index >= 0) {
      return {whole_column(episodes, index, name, "")};
    }
  }
  return {};
}

StateTable::StateTable(const Episodes& episodes, std::vector<StateQuantity> quantities,
                       const std::vector<i64>& rows)
    : quantities_(std::move(quantities)) {
  for (const StateQuantity& quantity : quantities_) {
    offsets_.push_back(width_);
    width_ += quantity.width;
  }
  values_.resize(rows.size() * static_cast<std::size_t>(width_));
  for (std::size_t q = 0; q < quantities_.size(); ++q) {
    const StateQuantity& quantity = quantities_[q];
    std::vector<double> row(static_cast<std::size_t>(episodes.column(quantity.column).width()));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      episodes.read_f64(quantity.column, rows[i], rows[i] + 1, 1, row.data());
      double* to = values_.data() + static_cast<i64>(i) * width_ + offsets_[q];
      for (i64 k = 0; k < quantity.width; ++k) {
        to[k] = row[static_cast<std::size_t>(quantity.first + k)];
      }
    }
  }
}

double StateTable::distance(std::size_t q, i64 i, i64 j) const {
  constexpr double kDegrees = 180 / 3.14159265358979323846;
  const double* a = at(q, i);
  const double* b = at(q, j);
  if (quantities_[q].angle) return std::abs(std::remainder((a[0] - b[0]) * kDegrees, 360.0));
  double sum = 0;
  for (i64 k = 0; k < quantities_[q].width; ++k) sum += (a[k] - b[k]) * (a[k] - b[k]);
  return std::sqrt(sum);
}

}  // namespace orrery
