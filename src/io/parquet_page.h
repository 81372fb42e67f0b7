#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/types.h"

namespace orrery::parquet {

// For parquet.cpp only: the pages that a column within a row group is stored as.

// the format's numbers
enum Encoding { kPlain = 0, kPlainDictionary = 2, kRle = 3, kRleDictionary = 8 };

// what few bytes may claim: as in io/hdf5.cpp
inline constexpr i64 kMaxExpansion = 4096;
inline constexpr i64 kAlwaysAllowed = i64{1} << 20;

// a column within a row group
struct Piece {
  i64 begin = 0;  // of its pages in the file
  i64 bytes = 0;
  i64 rows = 0;
  i64 values = 0;
  int codec = 0;
};

// What the values of a column may lack, and how deep its lists are.
struct Levels {
  int definition = 0;  // level at which a value is there
  int repetition = 0;
};

struct Page {
  bool dictionary = false;
  i64 count = 0;    // values, those that are missing too
  i64 present = 0;  // those that are there
  i64 encoding = 0;
  std::vector<u32> repetition, definition;  // of each value; empty where all are alike
  std::vector<std::byte> unpacked;
  std::span<const std::byte> values;  // within it
};

enum class PageUse { take, skip, stop };

// Calls take() for the dictionary and for each page of values that `use` wants, by the number of
// its values; only these are unpacked. `where` begins the sentences of errors.
//
// Errors: damaged, cut short, more than its packed bytes can hold, an unknown compression.
void each_page(std::span<const std::byte> file, const Piece& piece, const Levels& levels,
               const std::string& where, FunctionRef<PageUse(i64 count)> use,
               FunctionRef<void(const Page&)> take);

// `count` numbers of `width` bits, in runs of equal ones and of packed groups of eight.
std::vector<u32> numbers_of(std::span<const std::byte> bytes, int width, i64 count,
                            const std::string& where);

}  // namespace orrery::parquet
