#pragma once

#include <functional>
#include <string>
#include <vector>

#include "dist/share.h"
#include "eval/evaluation.h"

namespace orrery {

// The cases of an evaluation, of one seed or several, played by all ranks of a world. What an
// episode does follows from its case alone (evaluate.h), so the records are those of one process
// but for the times; on a CUDA device to the last bit when groups have the same size.
struct SharedEvaluation {
  std::vector<u64> seeds;
  i64 episodes = 0;  // of each seed: cases 0, 1, ...
  double silence_s = 15;

  // Every rank, in the thread that then plays: loads what is needed for any case.
  using Cases = std::function<std::vector<EpisodeRecord>(u64 seed, i64 first, i64 count,
                                                         const dist::GoesOn& goes_on)>;
  std::function<Cases()> start;

  // The rest is asked of rank 0 only.

  // cases that are played together, and handed out together; asked when `start` is over
  std::function<i64()> group = [] { return i64{1}; };
  // cases that need not be played
  std::function<bool(u64 seed, i64 index)> known = [](u64, i64) { return false; };
  // takes the records of a group that is over, in the order of their cases
  std::function<void(u64 seed, std::vector<EpisodeRecord> records)> keep;
  std::function<bool()> goes_on = [] { return true; };
  // told in one sentence what a run survives
  std::function<void(const std::string& sentence)> tell = [](const std::string&) {};
};

// Returns when all is played; false, on rank 0: stopped. Errors as dist::share_out has them.
bool evaluate_shared(dist::World& world, const SharedEvaluation& evaluation);

// Cases a group, so that no rank waits long for the last ones: about four groups a rank, of `most`
// cases at most (0: no limit), at least 1.
i64 group_for_ranks(i64 cases, int ranks, i64 most);

// Records on their way between ranks, pictures and all: CBOR (RFC 8949) of records as records.h has
// them. Error: bytes that are something else.
std::string packed_records(const std::vector<EpisodeRecord>& records);
std::vector<EpisodeRecord> records_from_packed(const std::string& bytes);

}  // namespace orrery
