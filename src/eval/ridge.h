#pragma once

#include <vector>

#include "eval/column_scale.h"
#include "tensor/view.h"

namespace orrery {

// Linear regression with a penalty, in closed form and double precision: with columns standardised
// by their mean and population deviation (a constant column is left out),
//
//   W = argmin  mean_r |x_r W - y_r|^2 + penalty |W|^2  =  (X'X / n + penalty)^-1 X'Y / n
//
// A. Hoerl, R. Kennard, "Ridge regression", 1970. steady
class Ridge {
 public:
  // x [n, D], y [n, K]; n >= 1, penalty > 0
  Ridge(View<const float, 2> x, View<const double, 2> y, double penalty);

  // of one x [D]: the predicted y, standardised as those that were learned from
  std::vector<double> predict(View<const float, 1> x) const;
  // a y [K] in the same measure, in place; a constant number becomes 0
  void standardise(std::vector<double>& y) const;

 private:
  ColumnScale x_, y_;
  std::vector<double> weights_;  // [D, K]
};

}  // namespace orrery
