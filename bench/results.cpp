#include "bench/results.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "base/error.h"
#include "base/text.h"
#include "device/peak_memory.h"
#include "io/json.h"

namespace orrery::bench {

namespace {

using Json = nlohmann::ordered_json;

// PyTorch f32 first, which a ratio is against, then the other runtimes in f32, then other
// precisions
bool stands_before(const PeerTime& a, const PeerTime& b) {
  const auto rank = [](const std::string& name) {
    if (name == "torch f32") return 0;
    return name.size() >= 3 && name.compare(name.size() - 3, 3, "f32") == 0 ? 1 : 2;
  };
  const int first = rank(a.name), second = rank(b.name);
  return first != second ? first < second : a.name < b.name;
}

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// 0.0123 -> "12.3 us"
std::string readable(double ms) {
  const char* unit = "ms";
  double value = ms;
  if (ms < 1e-3) {
    unit = "ns";
    value = ms * 1e6;
  } else if (ms < 1) {
    unit = "us";
    value = ms * 1e3;
  }
  std::ostringstream out;
  out << std::fixed
      << std::setprecision(value < 10     ? 2
                           : value < 1000 ? 1
                                          : 0)
      << value << " " << unit;
  return out.str();
}

std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

// "encode/256/bf16": products on tensor cores
bool has_reduced_precision(const std::string& name) {
  const std::string parts = name + "/";
  for (const char* precision : {"/tf32/", "/bf16/", "/int8/", "/fp8/"}) {
    if (parts.find(precision) != std::string::npos) return true;
  }
  return false;
}

using Row = std::vector<std::string>;

// the first column to the left, the others to the right
std::string aligned(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string lines;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string space(widths[c] - row[c].size(), ' ');
      line += c == 0 ? row[c] + space : "  " + space + row[c];
    }
    lines += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return lines;
}

}  // namespace

Report measure_figures(Context& ctx, const std::vector<Figure>& figures, i64 runs,
                       FunctionRef<void(i64 index, const std::string& name)> progress) {
  Report report{this_machine(ctx), measure_limits(ctx), {}};
  const auto free_bytes = [&ctx] { return static_cast<i64>(free_device_bytes(ctx)); };
  for (const Figure& figure : figures) {
    progress(static_cast<i64>(report.results.size()), figure.name);
    const i64 free_before = free_bytes();
    const Prepared ready = figure.prepare(ctx);
    ready.run();
    ready.check();
    const i64 free_ready = free_bytes();
    Timing timing = measure(ready.run, runs);
    ready.check();
    timing.median_ms /= static_cast<double>(ready.units);
    timing.min_ms /= static_cast<double>(ready.units);
    report.results.push_back({figure.name,
                              timing,
                              ready.work,
                              {},
                              free_before - free_ready,
                              free_ready - free_bytes(),
                              peak_memory_bytes()});
  }
  report.limits = higher(report.limits, measure_limits(ctx));
  return report;
}

Share share_of(const Result& result, const Limits& limits) {
  const bool reduced = has_reduced_precision(result.name);
  const double rate = reduced ? limits.tensor_flops_per_s : limits.flops_per_s;
  const double compute_ms = rate > 0 ? result.work.flops / rate * 1e3 : 0;
  const double memory_ms = result.work.bytes / limits.bytes_per_s() * 1e3;
  const double least_ms = std::max(compute_ms, memory_ms);
  if (!(least_ms > 0)) return {};
  const char* const compute = reduced ? "bf16 rate" : "f32 peak";
  return {least_ms / result.timing.median_ms, compute_ms >= memory_ms ? compute : "bandwidth"};
}

Json json_of(const Report& report, const Result& result) {
  const Share share = share_of(result, report.limits);
  Json json = {{"name", result.name},
               {"unit", "ms"},
               {"median", result.timing.median_ms},
               {"min", result.timing.min_ms},
               {"runs", result.timing.runs},
               {"limit_share", nullptr},
               {"limit", nullptr},
               {"flops", result.work.flops},
               {"bytes", result.work.bytes},
               {"peer", nullptr},
               {"peer_median", nullptr},
               {"ratio", nullptr},
               {"peers", Json::array()},
               {"threads", report.machine.threads},
               {"machine", report.machine.name},
               {"compiler", report.machine.compiler},
               {"commit", report.machine.commit},
               {"cpu_path", report.machine.cpu_path},
               {"peak_memory_mb", static_cast<double>(result.peak_memory_bytes) / 1e6}};
  if (result.device_bytes != 0 || result.device_growth_bytes != 0) {
    json["device_bytes"] = result.device_bytes;
    json["device_growth_bytes"] = result.device_growth_bytes;
  }
  if (share.limit != nullptr) {
    json["limit_share"] = share.share;
    json["limit"] = share.limit;
  }
  for (const PeerTime& peer : result.peers) {
    json["peers"].push_back({{"name", peer.name},
                             {"median", peer.median_ms},
                             {"ratio", peer.median_ms / result.timing.median_ms}});
  }
  if (!result.peers.empty()) {
    const Json& first = json["peers"][0];
    json["peer"] = first["name"];
    json["peer_median"] = first["median"];
    json["ratio"] = first["ratio"];
  }
  return json;
}

Json json_of(const Report& report) {
  Json figures = Json::array();
  for (const Result& result : report.results) figures.push_back(json_of(report, result));
  return {{"peak_gflops", report.limits.flops_per_s / 1e9},
          {"read_gb_s", report.limits.read_bytes_per_s / 1e9},
          {"triad_gb_s", report.limits.triad_bytes_per_s / 1e9},
          {"tensor_gflops", report.limits.tensor_flops_per_s / 1e9},
          {"figures", std::move(figures)}};
}

Report report_from_json(const nlohmann::json& root, const std::string& where) {
  Report report;
  try {
    report.limits = {
        root.at("peak_gflops").get<double>() * 1e9, root.at("read_gb_s").get<double>() * 1e9,
        root.at("triad_gb_s").get<double>() * 1e9, root.value("tensor_gflops", 0.0) * 1e9};
    for (const nlohmann::json& node : root.at("figures")) {
      report.machine = {node.at("machine"), node.at("compiler"), node.at("commit"),
                        node.at("cpu_path"), node.at("threads")};
      Result result{node.at("name"),
                    {node.at("median"), node.at("min"), node.at("runs")},
                    {node.at("flops"), node.at("bytes")},
                    {},
                    node.value("device_bytes", i64{0}),
                    node.value("device_growth_bytes", i64{0}),
                    static_cast<std::size_t>(1e6 * node.value("peak_memory_mb", 0.0))};
      for (const nlohmann::json& peer : node.at("peers")) {
        result.peers.push_back({peer.at("name"), peer.at("median")});
      }
      report.results.push_back(std::move(result));
    }
  } catch (const nlohmann::json::exception& error) {
    fail(where, " holds no results of orrery bench: ", error.what());
  }
  return report;
}

Report merged(const std::vector<Report>& rounds) {
  check(!rounds.empty(), "bench: no rounds to merge");
  Report all = rounds.front();
  for (const Report& round : rounds) {
    const auto told = [](const Machine& m) {
      return text(m.name, ", ", m.threads, " threads, ", m.cpu_path, ", ", m.compiler, ", commit ",
                  m.commit);
    };
    check(told(round.machine) == told(all.machine), "bench: rounds of ", told(all.machine),
          " and of ", told(round.machine), " cannot be merged");
    check(round.results.size() == all.results.size(), "bench: rounds of ", all.results.size(),
          " and of ", round.results.size(), " figures cannot be merged");
    all.limits = higher(all.limits, round.limits);
  }
  for (std::size_t i = 0; i < all.results.size(); ++i) {
    Result& result = all.results[i];
    std::vector<double> medians;
    result.timing.runs = 0;
    for (const Report& round : rounds) {
      const Result& own = round.results[i];
      check(own.name == result.name, "bench: one round has ", own.name, " where another has ",
            result.name);
      medians.push_back(own.timing.median_ms);
      result.timing.min_ms = std::min(result.timing.min_ms, own.timing.min_ms);
      result.timing.runs += own.timing.runs;
      result.device_bytes = std::max(result.device_bytes, own.device_bytes);
      result.device_growth_bytes = std::max(result.device_growth_bytes, own.device_growth_bytes);
      result.peak_memory_bytes = std::max(result.peak_memory_bytes, own.peak_memory_bytes);
    }
    result.timing.median_ms = median_of(std::move(medians));
  }
  return all;
}

std::map<std::string, double> read_peers(const std::filesystem::path& path) {
  const nlohmann::json root = read_json(path);
  check(root.is_object(), path.string(), " holds no object of peers' times");
  std::map<std::string, double> times;
  for (const auto& [name, entry] : root.items()) {
    if (!entry.is_object() || !entry.contains("median_ms")) continue;
    check(entry["median_ms"].is_number() && entry["median_ms"].get<double>() > 0, path.string(),
          ": the time of ", name, " is ", entry["median_ms"].dump(), ", milliseconds were needed");
    times[name] = entry["median_ms"].get<double>();
  }
  return times;
}

void add_limits(const std::filesystem::path& path, Report& report) {
  const nlohmann::json root = read_json(path);
  check(root.is_object() && root.contains("bf16_gemm_tflops") &&
            root["bf16_gemm_tflops"].is_number() && root["bf16_gemm_tflops"].get<double>() > 0,
        path.string(), " has no rate bf16_gemm_tflops");
  report.limits.tensor_flops_per_s = root["bf16_gemm_tflops"].get<double>() * 1e12;
}

void add_peers(const std::map<std::string, double>& times, const std::vector<Figure>& figures,
               Report& report) {
  for (Result& result : report.results) {
    result.peers.clear();
    const auto figure = std::find_if(figures.begin(), figures.end(), [&](const Figure& candidate) {
      return candidate.name == result.name;
    });
    if (figure == figures.end() || figure->peer.empty()) continue;

    // "<work> <peer>": whoever did the first part is a candidate, and must have done the others
    const std::string first = figure->peer.front().name + " ";
    for (const auto& entry : times) {
      if (entry.first.rfind(first, 0) != 0) continue;
      PeerTime peer{entry.first.substr(first.size()), 0};
      bool whole = true;
      for (const PeerPart& part : figure->peer) {
        const auto found = times.find(part.name + " " + peer.name);
        whole = whole && found != times.end();
        if (whole) peer.median_ms += part.times * found->second;
      }
      if (whole) result.peers.push_back(std::move(peer));
    }
    std::sort(result.peers.begin(), result.peers.end(), stands_before);
  }
}

std::string table_of(const Report& report) {
  const Machine& m = report.machine;
  std::string out =
      text(m.name, "; ", m.threads, m.threads == 1 ? " thread" : " threads", ", ", m.cpu_path, ", ",
           m.compiler, ", commit ", m.commit, "\nmeasured limits: f32 peak ",
           fixed(report.limits.flops_per_s / 1e9, 1), " GFLOP/s, memory ",
           fixed(report.limits.read_bytes_per_s / 1e9, 1), " GB/s read, ",
           fixed(report.limits.triad_bytes_per_s / 1e9, 1), " GB/s triad",
           report.limits.tensor_flops_per_s > 0
               ? text(", bf16 ", fixed(report.limits.tensor_flops_per_s / 1e9, 1), " GFLOP/s")
               : "",
           "\n\n");

  const bool with_peers = std::any_of(report.results.begin(), report.results.end(),
                                      [](const Result& result) { return !result.peers.empty(); });
  std::vector<Row> rows = {{"figure", "median", "min", "runs", "GFLOP/s", "share", "of"}};
  const bool on_device = std::any_of(report.results.begin(), report.results.end(),
                                     [](const Result& result) { return result.device_bytes != 0; });
  if (on_device) rows[0].insert(rows[0].end(), {"memory", "growth"});
  if (with_peers) rows[0].insert(rows[0].end(), {"peer", "its median", "ratio"});
  for (const Result& result : report.results) {
    const Share share = share_of(result, report.limits);
    const double seconds = result.timing.median_ms / 1e3;
    Row row = {result.name,
               readable(result.timing.median_ms),
               readable(result.timing.min_ms),
               text(result.timing.runs),
               result.work.flops > 0 ? fixed(result.work.flops / seconds / 1e9, 1) : "",
               share.limit != nullptr ? fixed(100 * share.share, 1) + " %" : "",
               share.limit != nullptr ? share.limit : ""};
    if (on_device) {
      row.push_back(fixed(static_cast<double>(result.device_bytes) / 1e6, 0) + " MB");
      row.push_back(fixed(static_cast<double>(result.device_growth_bytes) / 1e6, 0) + " MB");
    }
    const std::size_t own_columns = row.size();
    if (result.peers.empty()) rows.push_back(row);
    for (const PeerTime& peer : result.peers) {
      row.insert(row.end(), {peer.name, readable(peer.median_ms),
                             fixed(peer.median_ms / result.timing.median_ms, 2)});
      rows.push_back(row);
      row.assign(own_columns, "");  // further peers under the first
    }
  }
  return out + aligned(rows);
}

}  // namespace orrery::bench
