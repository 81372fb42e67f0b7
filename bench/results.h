#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/figure.h"
#include "bench/machine.h"
#include "bench/measure.h"
#include "bench/peak.h"

namespace orrery::bench {

// A peer at the same work, measured in the same hour.
struct PeerTime {
  std::string name;  // "torch f32"
  double median_ms = 0;
};

struct Result {
  std::string name;
  Timing timing;
  Work work;
  std::vector<PeerTime> peers;
  // On a CUDA device: memory that preparing and the first run took, and what the timed runs took
  // beside it, which should be nothing. 0 elsewhere.
  i64 device_bytes = 0, device_growth_bytes = 0;
  // the most that the process has held on the host until the figure was done
  std::size_t peak_memory_bytes = 0;
};

// Figures that were measured together.
struct Report {
  Machine machine;
  Limits limits;
  std::vector<Result> results;
};

// Runs every figure, in order, between two measurements of the limits. Tells before each figure
// which one it is.
Report measure_figures(Context& ctx, const std::vector<Figure>& figures, i64 runs,
                       FunctionRef<void(i64 index, const std::string& name)> progress);

// How near a result is to what the machine could do: the time that the work must take, by f32
// multiply-adds or by memory, whichever is longer, over the median. More than 1 under "bandwidth"
// means that the data came from a cache. A name that ends in a precision other than f32 is held to
// the rate of the device's library; where nobody measured that, to memory alone.
struct Share {
  double share = 0;
  const char* limit = nullptr;  // "f32 peak", "bf16 rate" or "bandwidth"; null: no formula
};
Share share_of(const Result& result, const Limits& limits);

// What --json prints for a figure, and what a file of results holds: {"name", "unit", "median",
// "min", "runs", "limit_share", "limit", "flops", "bytes", "peer", "peer_median", "ratio", "peers",
// "threads", "machine", "compiler", "commit", "cpu_path"}; times in ms. "peer" is the first of
// "peers", PyTorch f32 where it was run; ratio = peer_median / median, above 1 we are faster. What
// is not known is null. Figures of a CUDA device have "device_bytes" and "device_growth_bytes",
// too.
nlohmann::ordered_json json_of(const Report& report, const Result& result);

// {"peak_gflops", "read_gb_s", "triad_gb_s", "tensor_gflops", "figures": [..]}, and back.
nlohmann::ordered_json json_of(const Report& report);
Report report_from_json(const nlohmann::json& root, const std::string& where);

// Several rounds of the same figures as one: the median of the medians, the lowest minimum, all
// runs, the higher limits. Figures that a round lacks, or rounds of another machine, compiler,
// commit, path or number of threads, are an Error.
Report merged(const std::vector<Report>& rounds);

// What peers/bench_lewm.py writes with --json: milliseconds by name. Entries without a time (a peer
// that could not do it, notes) are left out.
std::map<std::string, double> read_peers(const std::filesystem::path& path);

// Takes the rate of large bf16 products of a device's own library from what orrery_gemm_peer
// writes.
void add_limits(const std::filesystem::path& path, Report& report);

// Sets every result's peers: all that did each part of the figure's work.
void add_peers(const std::map<std::string, double>& times, const std::vector<Figure>& figures,
               Report& report);

// An aligned table under two lines on the machine.
std::string table_of(const Report& report);

}  // namespace orrery::bench
