#include "eval/kept.h"

#include <algorithm>
#include <cstring>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/random.h"
#include "eval/records.h"
#include "eval/results.h"
#include "io/json.h"

namespace orrery {

namespace {

using nlohmann::json;

constexpr const char* kFormat = "orrery-episodes";
constexpr int kVersion = 1;

// the first thing in which two settings differ, as a sentence
void check_same(const std::string& name, const json& kept, const json& wanted,
                const std::string& where = "") {
  for (const auto& [key, value] : wanted.items()) {
    const std::string what = where.empty() ? key : where + "." + key;
    check(kept.is_object() && kept.contains(key), name, ": its episodes do not say their ", what);
    if (value.is_object()) {
      check_same(name, kept.at(key), value, what);
      continue;
    }
    check(kept.at(key) == value, name, ": its episodes were played with ", what, " ",
          kept.at(key).dump(), ", now ", value.dump(), " is asked for");
  }
  for (const auto& [key, value] : kept.items()) {
    check(wanted.contains(key), name, ": its episodes were played with ", key, " ", value.dump(),
          ", which is not asked for now");
  }
}

u64 hash_of(const Tensor& tensor, u64 hash) {
  if (tensor.numel() == 0) return hash;
  const auto bytes = std::as_bytes(tensor.span<float>());
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(u64)) {
    u64 word = 0;
    std::memcpy(&word, bytes.data() + at, std::min(sizeof word, bytes.size() - at));
    hash = mix(hash, word);
  }
  return hash;
}

}  // namespace

KeptEpisodes::KeptEpisodes(std::filesystem::path path, json settings)
    : path_(std::move(path)), settings_(std::move(settings)) {
  if (!std::filesystem::exists(path_)) return;
  const std::string name = path_.string();
  const json file = read_json(path_);
  check(file.is_object() && file.contains("format") && file.at("format") == kFormat &&
            file.contains("version") && file.at("version") == kVersion &&
            file.contains("settings") && file.contains("seeds") && file.at("seeds").is_object(),
        name, " is not a file of kept episodes, version ", kVersion);
  check_same(name, file.at("settings"), settings_);
  for (const auto& [key, list] : file.at("seeds").items()) {
    check(!key.empty() && key.size() <= 20 &&
              key.find_first_not_of("0123456789") == std::string::npos && list.is_array(),
          name, ": \"", key, "\" is not a seed with a list of episodes");
    u64 seed = 0;
    for (const char digit : key) seed = 10 * seed + static_cast<u64>(digit - '0');
    for (const json& value : list) {
      EpisodeRecord record = record_from_json(value, name);
      const i64 index = record.index;
      check(records_.emplace(std::pair(seed, index), std::move(record)).second, name, ": episode ",
            index, " of seed ", seed, " is there twice");
    }
  }
}

const EpisodeRecord* KeptEpisodes::find(u64 seed, const EvalCase& one) const {
  const auto found = records_.find({seed, one.index});
  if (found == records_.end()) return nullptr;
  const EpisodeRecord& record = found->second;
  check(record.start.row == one.start.row, path_.string(), ": episode ", one.index, " of seed ",
        seed, " began at row ", record.start.row, " of its data, now at ", one.start.row,
        ": the data is another");
  return &record;
}

void KeptEpisodes::add(u64 seed, std::span<const EpisodeRecord> records) {
  for (const EpisodeRecord& record : records) {
    EpisodeRecord kept = record;
    kept.film.clear();
    kept.goal = {};
    records_.insert_or_assign({seed, record.index}, std::move(kept));
  }
  json seeds = json::object();
  for (const auto& [key, record] : records_) {
    seeds[std::to_string(key.first)].push_back(json_from_record(record));
  }
  const json file = {
      {"format", kFormat}, {"version", kVersion}, {"settings", settings_}, {"seeds", seeds}};
  write_file(path_, file.dump());
}

json settings_of(const std::string& environment, const lewm::Model& model,
                 const lewm::Statistics& statistics, const Protocol& protocol) {
  const lewm::Weights& weights = model.weights();
  const u64 hash = hash_of(weights.buffers, hash_of(weights.parameters, 0));
  return {{"environment", environment},
          {"episodes", protocol.episodes},
          {"protocol", json_from_protocol(protocol)},
          {"action_mean", statistics.action_mean},
          {"action_std", statistics.action_std},
          {"model", text(hash)}};
}

}  // namespace orrery
