#pragma once

// How Hopper's warpgroup products find a matrix in shared memory: plain functions, tested where
// there is no device.
//
// source: PTX ISA 8.x, "Asynchronous warpgroup level matrix shared memory layout"

#include "base/types.h"

namespace orrery {

// A matrix whose rows are 128 bytes along k, one after another: eight rows are a pattern of 1024
// bytes, in which the 16-byte pieces of row r are exchanged by r (bits 4 to 6 of a byte's place are
// combined with bits 7 to 9). Patterns follow each other.
inline constexpr u32 kWgmmaPattern = 1024;

constexpr u32 wgmma_place(u32 row, u32 byte) {
  const u32 plain = row * 128 + byte;
  return plain ^ ((plain >> 7 & 7u) << 4);
}

// Describes such a matrix to the instruction, from byte `address` of shared memory on: a multiple
// of kWgmmaPattern, plus 32 for each step along k, which stays within the row of 128 bytes.
constexpr u64 wgmma_descriptor(u32 address) {
  constexpr u64 kSwizzle128 = u64{1} << 62;
  constexpr u64 kStride = u64{kWgmmaPattern >> 4} << 32;  // from one pattern to the next
  constexpr u64 kLeading = u64{1} << 16;                  // unused with this swizzle
  return kSwizzle128 | kStride | kLeading | (address >> 4 & 0x3fffu);
}

}  // namespace orrery
