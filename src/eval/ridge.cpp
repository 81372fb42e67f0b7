#include "eval/ridge.h"

#include <cmath>

#include "base/error.h"

namespace orrery {

namespace {

// Solves A X = B, A [n, n] symmetric and positive definite, B [n, k], both overwritten: Cholesky's
// A = L L', then two triangular solves. B becomes X.
void solve_positive_definite(std::vector<double>& a, std::vector<double>& b, i64 n, i64 k) {
  const auto A = View<double, 2>(a.data(), {n, n});
  const auto B = View<double, 2>(b.data(), {n, k});
  for (i64 j = 0; j < n; ++j) {
    for (i64 i = j; i < n; ++i) {
      double sum = A(i, j);
      for (i64 m = 0; m < j; ++m) sum -= A(i, m) * A(j, m);
      if (i == j) {
        check(sum > 0, "ridge: the matrix is not positive definite; are all numbers finite?");
        A(j, j) = std::sqrt(sum);
      } else {
        A(i, j) = sum / A(j, j);
      }
    }
  }
  for (i64 c = 0; c < k; ++c) {
    for (i64 i = 0; i < n; ++i) {
      for (i64 m = 0; m < i; ++m) B(i, c) -= A(i, m) * B(m, c);
      B(i, c) /= A(i, i);
    }
    for (i64 i = n - 1; i >= 0; --i) {
      for (i64 m = i + 1; m < n; ++m) B(i, c) -= A(m, i) * B(m, c);
      B(i, c) /= A(i, i);
    }
  }
}

}  // namespace

Ridge::Ridge(View<const float, 2> x, View<const double, 2> y, double penalty) {
  check(x.size(0) >= 1 && x.size(0) == y.size(0), "ridge: ", x.size(0), " rows of x and ",
        y.size(0), " of y, as many and at least one were needed");
  check(penalty > 0, "ridge: a penalty of ", penalty, ", more than 0 was needed");
  x_ = ColumnScale::of(x);
  y_ = ColumnScale::of(y);
  const i64 n = x.size(0), width = x.size(1), targets = y.size(1);
  const double share = 1 / static_cast<double>(n);
  std::vector<double> products(static_cast<std::size_t>(width * width));
  weights_.resize(static_cast<std::size_t>(width * targets));
  std::vector<double> row(static_cast<std::size_t>(width)), wanted;
  for (i64 r = 0; r < n; ++r) {
    for (i64 d = 0; d < width; ++d) {
      row[static_cast<std::size_t>(d)] = x_.standardised(d, static_cast<double>(x(r, d)));
    }
    wanted.assign(&y(r, 0), &y(r, 0) + targets);
    standardise(wanted);
    for (i64 i = 0; i < width; ++i) {
      const double scaled = share * row[static_cast<std::size_t>(i)];
      double* into = products.data() + i * width;
      for (i64 j = 0; j <= i; ++j) into[j] += scaled * row[static_cast<std::size_t>(j)];
      double* target = weights_.data() + i * targets;
      for (i64 k = 0; k < targets; ++k) target[k] += scaled * wanted[static_cast<std::size_t>(k)];
    }
  }
  // only the lower triangle is read
  for (i64 i = 0; i < width; ++i) products[static_cast<std::size_t>(i * width + i)] += penalty;
  solve_positive_definite(products, weights_, width, targets);
}

std::vector<double> Ridge::predict(View<const float, 1> x) const {
  const std::size_t targets = y_.mean.size();
  std::vector<double> y(targets);
  for (std::size_t d = 0; d < x_.mean.size(); ++d) {
    const auto at = static_cast<i64>(d);
    const double value = x_.standardised(at, static_cast<double>(x[at]));
    for (std::size_t k = 0; k < targets; ++k) y[k] += value * weights_[d * targets + k];
  }
  return y;
}

void Ridge::standardise(std::vector<double>& y) const {
  for (std::size_t k = 0; k < y.size(); ++k) y[k] = y_.standardised(static_cast<i64>(k), y[k]);
}

}  // namespace orrery
