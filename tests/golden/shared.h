#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace orrery {

// ../shared beside the checkout, or where ORRERY_SHARED says.
inline std::filesystem::path shared_folder() {
  if (const char* given = std::getenv("ORRERY_SHARED")) return given;
  return std::filesystem::path(ORRERY_SOURCE_DIR) / ".." / "shared";
}

}  // namespace orrery

// Skips the running test, by name, when a file or folder of shared/ is not there.
#define ORRERY_NEEDS_SHARED(path)                                               \
  if (!std::filesystem::exists(path)) {                                         \
    GTEST_SKIP() << "needs " << (path) << " (set ORRERY_SHARED to the folder)"; \
  }
