#include "bench/measure.h"

#include <algorithm>
#include <vector>

#include "base/clock.h"

namespace orrery::bench {

namespace {

constexpr double kShortestRun_s = 0.2e-3;
constexpr double kShortest_s = 0.2;
constexpr double kLongest_s = 1.5;
constexpr i64 kRuns = 15;
constexpr i64 kFewestRuns = 3;

double seconds_of(FunctionRef<void()> run, i64 calls) {
  const double start = now_s();
  for (i64 i = 0; i < calls; ++i) run();
  return now_s() - start;
}

double median(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

Timing measure(FunctionRef<void()> run, i64 runs) {
  // the fewest calls, doubling, that together are long enough to time
  i64 calls = 1;
  while (seconds_of(run, calls) < kShortestRun_s && calls < (i64{1} << 20)) calls *= 2;

  std::vector<double> times;
  const double start = now_s();
  const auto more = [&] {
    const i64 done = static_cast<i64>(times.size());
    if (runs > 0) return done < runs;
    const double elapsed = now_s() - start;
    if (elapsed >= kLongest_s) return done < kFewestRuns;
    return done < kRuns || elapsed < kShortest_s;
  };
  while (more()) times.push_back(seconds_of(run, calls) / static_cast<double>(calls) * 1e3);

  Timing timing;
  timing.runs = static_cast<i64>(times.size());
  timing.median_ms = median(times);
  timing.min_ms = times.front();
  return timing;
}

}  // namespace orrery::bench
