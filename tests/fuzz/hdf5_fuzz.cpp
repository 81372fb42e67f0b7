// Recordings in HDF5, opened and read by windows as training does.
//
// libhdf5 parses the file's structure, and what it asks of malloc (and takes no for an answer) or
// forgets to free after a damaged header is not ours:
//   ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=1000
//   build/fuzz/hdf5_fuzz -malloc_limit_mb=4000000 -max_total_time=600 NEW_FOLDER
//   tests/fuzz/corpus/hdf5
#include <algorithm>
#include <vector>

#include "data/episodes.h"
#include "data/statistics.h"
#include "data/windows.h"
#include "tests/fuzz/target.h"

extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace {

void read_recording(std::span<const std::byte> file) {
  using namespace orrery;
  const auto episodes = open_episodes(file, "input", {.cache_bytes = i64{1} << 20});
  const Windows windows(*episodes, {2, 2});
  const i64 count = std::min<i64>(windows.size(), 8);
  for (i64 column = 0; column < static_cast<i64>(episodes->columns().size()); ++column) {
    const Column& about = episodes->column(column);
    // a damaged file may claim rows of any size below the limit; a seed's are small
    if (about.row_bytes() > (i64{1} << 20)) continue;
    std::vector<std::byte> rows(static_cast<std::size_t>(2 * about.row_bytes()));
    std::vector<float> numbers(static_cast<std::size_t>(4 * about.width()));
    for (i64 i = 0; i < count; ++i) {
      try {
        const i64 window = i * (windows.size() - 1) / std::max<i64>(1, count - 1);
        windows.read_observations(window, column, rows.data());
        windows.read_actions_f32(window, column, numbers.data());
      } catch (const Error&) {
        break;
      }
    }
  }
  const i64 action = episodes->find_column("action");
  if (action >= 0 && episodes->rows() < 10000) column_statistics(*episodes, action);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return orrery::fuzz(data, size, read_recording);
}
