#include "tests/cuda/kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "base/error.h"

namespace orrery::kernels {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// every *.cu of src and bench, by its path from the root; with headers those that may hold kernels,
// too
std::vector<std::string> device_sources(bool with_headers = false) {
  const fs::path root = ORRERY_SOURCE_DIR;
  std::vector<std::string> sources;
  for (const char* top : {"src", "bench"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const std::string extension = entry.path().extension().string();
      if (extension == ".cu" || (with_headers && (extension == ".h" || extension == ".cuh"))) {
        sources.push_back(fs::relative(entry.path(), root).generic_string());
      }
    }
  }
  return sources;
}

// an object with one container: entries of (kind, architecture, flags) and four bytes of code each
std::vector<u8> object_with(const std::vector<std::vector<u64>>& entries) {
  std::vector<u8> object(5, 0xEE);
  const auto put = [&](u64 value, int bytes) {
    // fields wider than a number are filled up with zeros
    for (int i = 0; i < bytes; ++i) {
      object.push_back(static_cast<u8>(i < 8 ? value >> (8 * i) : 0));
    }
  };
  put(0xBA55ED50, 4), put(1, 2), put(16, 2), put(entries.size() * (64 + 4), 8);
  for (const auto& entry : entries) {
    put(entry[0], 2), put(0x101, 2), put(64, 4), put(4, 8), put(0, 12), put(entry[1], 4);
    put(64, 8), put(entry[2], 8), put(0, 16), put(0xABCD, 4);
  }
  object.push_back(0xEE);
  return object;
}

TEST(KernelObjects, TargetsAreRead) {
  EXPECT_THAT(targets_in(object_with({{2, 80, 0x11}, {2, 90, 0x01100011}, {1, 90, 0x8011}})),
              ElementsAre("compute_90", "sm_80", "sm_90a"));
  EXPECT_THAT(targets_in(object_with({})), IsEmpty());
  EXPECT_THAT(targets_in(std::vector<u8>(100, 0x50)), IsEmpty());
}

TEST(KernelObjects, ACutContainerIsAnError) {
  const auto whole = object_with({{2, 80, 0x11}, {1, 90, 0x8011}});
  for (std::size_t size = 9; size + 1 < whole.size(); ++size) {
    EXPECT_THROW(targets_in(std::span(whole).first(size)), Error) << size;
  }
}

TEST(KernelSources, KernelsAreFound) {
  EXPECT_THAT(kernels_in("template <int N>\n__global__ void __launch_bounds__(256, 2)\n"
                         "    a_kernel(const float* x) {}\n"
                         "__global__ __launch_bounds__(kThreads) void b(int n);\n"
                         "// __global__ void no(int)\n/* __global__ void no(int) */\n"
                         "static __global__ void c() {}\n"),
              ElementsAre("a_kernel", "b", "c"));
  EXPECT_THAT(kernels_in("__device__ void f(int) {}"), IsEmpty());
}

TEST(KernelSources, RowsOfTheTableAreRead) {
  EXPECT_THAT(rows_of("| file | kernel |\n| --- | --- |\n| `src/a.cu` | `k` | yes |\ntext `x`\n"),
              ElementsAre(Pair("src/a.cu", "k")));
}

// docs/gpu-status.md says of every kernel where it ran; a kernel it does not know ran nowhere
TEST(KernelSources, EveryKernelIsInTheStatusPage) {
  const auto rows = rows_of(read(fs::path(ORRERY_SOURCE_DIR) / "docs" / "gpu-status.md"));
  std::set<std::pair<std::string, std::string>> there;
  for (const std::string& source : device_sources(true)) {
    for (const std::string& kernel : kernels_in(read(fs::path(ORRERY_SOURCE_DIR) / source))) {
      there.emplace(source, kernel);
    }
  }
  ASSERT_FALSE(there.empty()) << "the repository was not found";
  for (const auto& [source, kernel] : there) {
    EXPECT_TRUE(rows.count({source, kernel}))
        << "docs/gpu-status.md has no row for " << kernel << " of " << source;
  }
  for (const auto& [source, kernel] : rows) {
    EXPECT_TRUE(there.count({source, kernel})) << "docs/gpu-status.md has a row for " << kernel
                                               << " of " << source << ", which is not there";
  }
}

#if defined(ORRERY_CUDA_TARGETS)

std::set<std::string> wanted_targets() {
  std::set<std::string> wanted;
  std::istringstream words(ORRERY_CUDA_TARGETS);
  for (std::string word; words >> word;) wanted.insert(word);
  return wanted;
}

// the object of a source: <build>/<folder>/CMakeFiles/<target>.dir/<name>.o
fs::path object_of(const std::string& source) {
  const fs::path path(source);
  const fs::path folder = fs::path(ORRERY_BUILD_DIR) / path.parent_path() / "CMakeFiles";
  if (!fs::exists(folder)) return {};
  for (const auto& target : fs::directory_iterator(folder)) {
    const fs::path object = target.path() / (path.filename().string() + ".o");
    if (fs::exists(object)) return object;
  }
  return {};
}

TEST(KernelObjects, EverySourceIsCompiledForEveryTarget) {
  const auto wanted = wanted_targets();
  ASSERT_FALSE(wanted.empty());
  for (const std::string& source : device_sources()) {
    const fs::path object = object_of(source);
    ASSERT_FALSE(object.empty()) << source << " was not compiled";
    const std::string bytes = read(object);
    const auto targets =
        targets_in(std::span(reinterpret_cast<const u8*>(bytes.data()), bytes.size()));
    for (const std::string& target : wanted) {
      EXPECT_TRUE(targets.count(target)) << object << " has no code for " << target;
    }
  }
}

#endif

}  // namespace
}  // namespace orrery::kernels
