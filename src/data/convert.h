#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "data/episodes_writer.h"

namespace orrery {

struct ColumnChoice {
  std::string from;
  std::string to;              // empty: the same name
  std::optional<DType> dtype;  // none: the same type
};

struct ConvertOptions {
  std::vector<ColumnChoice> columns;  // empty: all, as they are
  i64 first_episode = 0;
  i64 episodes = -1;  // how many; -1: all that follow
  WriteOptions write;
};

// Told after every episode; false stops.
using ConvertProgress = FunctionRef<bool(i64 episodes, i64 rows)>;

// Copies a recording into another format. Pictures that are drawn are stored where they are among
// the columns; HDF5 without them goes on saying how they are drawn. Lossless but for pictures in a
// folder or film. Memory: one episode, and what the recording keeps decoded.
//
// Errors: a column that is not there; a value that the chosen type cannot hold, by row and value;
// stopped.
void convert_episodes(const Episodes& source, const std::filesystem::path& path,
                      const ConvertOptions& options, ConvertProgress progress);

}  // namespace orrery
