#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace orrery {

// For parquet.cpp only: a structure in Thrift's compact protocol, read without its declaration into
// a tree. Every value takes at least a byte, depth and number of values are limited.
//
// Format: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
struct ThriftValue {
  i64 integer = 0;                  // booleans are 0 and 1
  std::string_view bytes;           // of a string, within what was parsed
  std::vector<ThriftValue> fields;  // of a structure
  std::vector<int> numbers;         // of these
  std::vector<ThriftValue> items;   // of a list

  // a field by its number; an empty value when it is not there
  const ThriftValue& operator[](int number) const;
  bool has(int number) const;
};

// Parses one structure at the beginning of `bytes` and says how many it took. Error: damaged.
ThriftValue parse_thrift(std::span<const std::byte> bytes, const std::string& where,
                         std::size_t* used = nullptr);

}  // namespace orrery
