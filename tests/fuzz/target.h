#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"

namespace orrery {

// Runs a reader on the input. An Error is an answer; anything else that leaves it is a finding.
template <typename Read>
int fuzz(const std::uint8_t* data, std::size_t size, Read read) {
  try {
    read(std::span(reinterpret_cast<const std::byte*>(data), size));
  } catch (const Error&) {
  }
  return 0;
}

}  // namespace orrery
