#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "data/recorder.h"
#include "dist/world.h"

namespace orrery {

struct SharedRecordOptions {
  RecordOptions recording;
  int threads = 0;        // of this rank; 0: as Context has it
  double silence_s = 15;  // see dist::SharedWork
  // rank 0: told in one sentence what a run survives
  std::function<void(const std::string& sentence)> tell = [](const std::string&) {};
};

// Where the parts of a shared recording lie until it is whole: `<path>.parts`.
std::filesystem::path parts_of_recording(const std::filesystem::path& path);

// Records with all ranks of a world; every rank calls it with the same options. The recording is
// the same, to the byte, as what record() writes: an episode depends on its number alone, and rank
// 0 writes them in order.
//
// Ranks play blocks of episodes and send them to rank 0, packed. Rank 0 keeps them as parts, a file
// a block, and joins parts to the recording while others are played. Only rank 0 needs the folder
// of `path`. Memory: an episode a thread and a packed block; on rank 0 also an episode being joined
// and blocks on their way.
//
// Parts stay when the run is stopped, fails, or is killed. The same call goes on from there, with
// any number of ranks. They are removed when the recording is whole.
//
// Returns a summary on rank 0, nothing on the others. Errors, on rank 0: those of record() and of
// dist::share_out; stopped by progress; parts of a recording with other options, or of one that
// another process is working on.
std::optional<RecordSummary> record_shared(dist::World& world, const SharedRecordOptions& options,
                                           const std::filesystem::path& path,
                                           RecordProgress progress);

}  // namespace orrery
