#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/types.h"

namespace orrery {

// What a pickle says, as data. Nothing is imported or called: where Python would call something,
// the graph holds a node `call` with the name of what would be called, its arguments, the state
// given to it (BUILD) and the items added to it.
enum class PickleKind : u8 {
  none,
  boolean,     // integer
  integer,     // integer; one of more than 64 bits is `unknown`
  real,        // real
  text,        // text
  bytes,       // text
  tuple,       // items
  list,        // items
  set,         // items
  dict,        // items: key, value, key, value ...
  global,      // text: "module.name"
  persistent,  // items[0]: the identifier
  call,        // callee, arguments, state; items: what was appended, or keys and values
  unknown,
};

struct PickleNode {
  static constexpr u32 kNothing = std::numeric_limits<u32>::max();

  PickleKind kind = PickleKind::none;
  u32 callee = kNothing;
  u32 arguments = kNothing;
  u32 state = kNothing;
  i64 integer = 0;
  double real = 0;
  std::string text;
  std::vector<u32> items;
};

// Nodes name each other by their place in `nodes`. One node may be in many places, also inside
// itself.
struct Pickle {
  std::vector<PickleNode> nodes;
  u32 root = 0;

  const PickleNode& at(u32 node) const { return nodes[node]; }
};

// Reads the binary opcodes of protocols 2 to 5. What follows the STOP is ignored. At most 16 MiB,
// so that the graph, about 100 bytes for each byte of the pickle at worst, stays within 2 GiB.
//
// Errors, one sentence with name and byte: cut short, a value where none is, an unknown opcode.
Pickle parse_pickle(std::span<const std::byte> bytes, const std::string& name);

}  // namespace orrery
