#include "npy_rows.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "io/npz.h"

namespace orrery::cli {

std::vector<std::vector<float>> rows_of_npy(const std::string& path) {
  const Tensor table = read_npy(path).converted(DType::f32);
  check(table.rank() == 1 || table.rank() == 2, path, " holds ", table.shape(),
        ", one row of numbers or several were needed");
  const auto values = table.span<float>();
  check(std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); }), path,
        " holds numbers that are not finite");
  std::vector<std::vector<float>> rows;
  const i64 width = table.size(table.rank() - 1);
  for (i64 at = 0; at < table.numel(); at += width) {
    rows.emplace_back(values.begin() + at, values.begin() + at + width);
  }
  return rows;
}

}  // namespace orrery::cli
