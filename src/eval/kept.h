#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>

#include "eval/starts.h"
#include "models/lewm/model.h"
#include "models/lewm/statistics.h"

namespace orrery {

// Finished episodes of an evaluation in a file, so that an interrupted one goes on where it was.
// Goals: nothing that was played is played again, and what was played otherwise is never mixed in.
// Pictures are not kept.
//
//   {"format": "orrery-episodes", "version": 1, "settings": {..}, "seeds": {"42": [record, ..]}}
//
// with records as in records.h. The file is renewed atomically: at any moment it is whole.
class KeptEpisodes {
 public:
  // `settings` says what episodes are played with (see settings_of). A file that is there is read;
  // error when it is something else, is damaged, or was made with other settings, the first of
  // which is named.
  KeptEpisodes(std::filesystem::path path, nlohmann::json settings);

  // The record of a case, or null. Error when there is one that began elsewhere: other data.
  const EpisodeRecord* find(u64 seed, const EvalCase& one) const;
  // Adds records and renews the file.
  void add(u64 seed, std::span<const EpisodeRecord> records);

  i64 count() const { return static_cast<i64>(records_.size()); }

 private:
  std::filesystem::path path_;
  nlohmann::json settings_;
  std::map<std::pair<u64, i64>, EpisodeRecord> records_;  // by seed and index
};

// What an episode follows from beside seed and case: environment, protocol, statistics, and the
// numbers of the model, as a hash of 64 bits of its parameters and buffers.
nlohmann::json settings_of(const std::string& environment, const lewm::Model& model,
                           const lewm::Statistics& statistics, const Protocol& protocol);

}  // namespace orrery
