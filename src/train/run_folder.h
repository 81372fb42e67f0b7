#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "train/checkpoint.h"

namespace orrery::train {

// steps of the checkpoints in a folder, newest first; none when there is no such folder
std::vector<i64> checkpoints_in(const std::filesystem::path& folder);

// The folder of a run, held by one process at a time: checkpoint_<step>.safetensors of the last
// steps, the rest of a run beside them.
class RunFolder {
 public:
  // Makes the folder and takes it; another process that holds it is an Error. Files that a killed
  // process left half written are removed.
  explicit RunFolder(std::filesystem::path path);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

  std::filesystem::path checkpoint(i64 step) const;
  std::vector<i64> checkpoints() const { return checkpoints_in(path_); }
  // The newest that can be read. `skipped` is told a sentence for every newer one that cannot; when
  // all are damaged, the last of these sentences is the Error.
  std::optional<Checkpoint> newest(const std::function<void(const std::string&)>& skipped) const;
  // Writes one, then removes the older ones beyond the last `keep`.
  void add(i64 step, const Checkpoint& checkpoint, i64 keep) const;

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace orrery::train
