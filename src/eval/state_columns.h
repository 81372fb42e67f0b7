#pragma once

#include <string>
#include <vector>

#include "data/episodes.h"

namespace orrery {

// Something of the world's state that a recording tells beside its pictures.
struct StateQuantity {
  std::string name;  // "agent", "block", "angle", or the column's
  std::string unit;  // "px", "degrees", or nothing
  i64 column = 0;    // of the recording
  i64 first = 0;     // number of its rows that it begins with
  i64 width = 1;
  bool angle = false;  // one number, in radians
};

// What the pictures are of, by the columns of known recordings, first match:
// - `state` of 7 or 5 numbers, PushT: agent (x, y), block (x, y), angle of the block
// - `pos_agent`, TwoRoom: agent (x, y)
// - `observation.state`, `state` or `proprio` of at most 64 numbers: that column
// Otherwise nothing. With names: those columns, whatever they are; an error when one is not there.
std::vector<StateQuantity> quantities_of(const Episodes& episodes,
                                         const std::vector<std::string>& names = {});

// Their values in some rows of the recording, as they are: some may be NaN.
class StateTable {
 public:
  StateTable(const Episodes& episodes, std::vector<StateQuantity> quantities,
             const std::vector<i64>& rows);

  const std::vector<StateQuantity>& quantities() const { return quantities_; }
  // the numbers of quantity q in the i-th of the rows
  const double* at(std::size_t q, i64 i) const { return values_.data() + i * width_ + offsets_[q]; }
  // |difference| of the quantity between two of the rows: Euclidean; of an angle in degrees, 0 to
  // 180; NaN where a number is none
  double distance(std::size_t q, i64 i, i64 j) const;

 private:
  std::vector<StateQuantity> quantities_;
  std::vector<i64> offsets_;
  i64 width_ = 0;
  std::vector<double> values_;
};

}  // namespace orrery
