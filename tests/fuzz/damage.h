#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace orrery {

// What was counted while damaged copies of a file were read. Anything but an Error (a crash,
// another exception) ends the test by itself.
struct DamageCount {
  int read = 0;
  int refused = 0;
};

// Reads every shorter beginning of the file (the empty one too).
inline DamageCount read_truncated(std::span<const std::byte> file,
                                  const std::function<void(std::span<const std::byte>)>& read) {
  DamageCount count;
  for (std::size_t size = 0; size < file.size(); ++size) {
    // a copy of exactly this size, so that a sanitizer sees a read behind its end
    const std::vector<std::byte> copy(file.begin(), file.begin() + static_cast<long>(size));
    try {
      read(copy);
      ++count.read;
    } catch (const Error&) {
      ++count.refused;
    }
  }
  return count;
}

// Reads the file once for each of its bits, with that bit turned over.
inline DamageCount read_flipped(std::span<const std::byte> file,
                                const std::function<void(std::span<const std::byte>)>& read) {
  DamageCount count;
  std::vector<std::byte> copy(file.begin(), file.end());
  for (std::size_t bit = 0; bit < 8 * file.size(); ++bit) {
    const std::byte mask = std::byte{1} << (bit % 8);
    copy[bit / 8] ^= mask;
    try {
      read(copy);
      ++count.read;
    } catch (const Error&) {
      ++count.refused;
    }
    copy[bit / 8] ^= mask;
  }
  return count;
}

// The message of the Error that `call` throws; empty when it throws none.
inline std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace orrery
