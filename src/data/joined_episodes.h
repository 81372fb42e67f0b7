#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/episodes.h"

namespace orrery {

// Recordings made of others. Nothing is copied; the parts are owned.

// One after the other: more episodes. Columns are those that all parts have, with the same type and
// rows of the same shape (the official ConcatDataset lists the others too, for some of its items).
std::unique_ptr<Episodes> concatenated(std::vector<std::unique_ptr<Episodes>> parts);

// Beside each other: more columns. The parts have the same episodes; where several have a column of
// one name, the first one's counts.
std::unique_ptr<Episodes> beside(std::vector<std::unique_ptr<Episodes>> parts);

// A new column whose rows are those of others, one after the other along the last dimension. Types
// that differ meet as NumPy's do: float32 and float64 give float64.
struct MergedColumn {
  std::string name;
  std::vector<std::string> sources;  // in this order
  // Instead of sources: those columns whose names begin with a match, in alphabetical order. A
  // pattern that also matches ep_len or ep_offset, and sources that are single numbers, are errors:
  // the official reader appends such columns behind each other's rows.
  std::string pattern;
};
std::unique_ptr<Episodes> with_merged_columns(std::unique_ptr<Episodes> source,
                                              const std::vector<MergedColumn>& columns);

// The type that values of both fit in, as NumPy promotes them. Error: half precision.
DType promoted(DType a, DType b);

}  // namespace orrery
