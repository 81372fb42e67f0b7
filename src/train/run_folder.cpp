#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/error.h"

namespace orrery::train {

namespace {

namespace fs = std::filesystem;

const std::string kPrefix = "checkpoint_";
const std::string kSuffix = ".safetensors";

// the step in checkpoint_<step>.safetensors
std::optional<i64> step_of(const std::string& name) {
  if (name.size() <= kPrefix.size() + kSuffix.size() ||
      name.compare(0, kPrefix.size(), kPrefix) != 0 ||
      name.compare(name.size() - kSuffix.size(), kSuffix.size(), kSuffix) != 0) {
    return std::nullopt;
  }
  const char* begin = name.data() + kPrefix.size();
  const char* end = name.data() + name.size() - kSuffix.size();
  i64 step = -1;
  const auto [stop, error] = std::from_chars(begin, end, step);
  if (error != std::errc() || stop != end || step < 0) return std::nullopt;
  return step;
}

}  // namespace

std::vector<i64> checkpoints_in(const fs::path& folder) {
  std::vector<i64> steps;
  std::error_code gone;  // a file may go while its neighbours are listed
  for (fs::directory_iterator at(folder, gone), end; !gone && at != end; at.increment(gone)) {
    if (const auto step = step_of(at->path().filename().string())) steps.push_back(*step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

RunFolder::RunFolder(fs::path path) : path_(std::move(path)) {
  std::error_code failed;
  fs::create_directories(path_, failed);
  check(!failed && fs::is_directory(path_), "cannot write the folder ", path_.string(), ": ",
        failed ? failed.message() : std::string("it is a file"));
  const fs::path lock = path_ / "lock";
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  check(lock_ >= 0, "cannot write ", lock.string(), ": ", std::strerror(errno));
  // the system gives it back when the process ends, however it ends
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock_);
    fail(path_.string(), " is in use by another run");
  }
  for (const auto& entry : fs::directory_iterator(path_)) {
    if (entry.path().extension() == ".tmp") fs::remove(entry.path());
  }
}

RunFolder::~RunFolder() { ::close(lock_); }

fs::path RunFolder::checkpoint(i64 step) const { return path_ / text(kPrefix, step, kSuffix); }

std::optional<Checkpoint> RunFolder::newest(
    const std::function<void(const std::string&)>& skipped) const {
  const std::vector<i64> steps = checkpoints();
  for (const i64 step : steps) {
    try {
      return read_checkpoint(checkpoint(step));
    } catch (const Error& error) {
      if (step == steps.back()) throw;
      skipped(text(error.what(), "; the checkpoint before it is taken"));
    }
  }
  return std::nullopt;
}

void RunFolder::add(i64 step, const Checkpoint& made, i64 keep) const {
  write_checkpoint(checkpoint(step), made);
  const std::vector<i64> steps = checkpoints();
  for (std::size_t i = static_cast<std::size_t>(keep); i < steps.size(); ++i) {
    fs::remove(checkpoint(steps[i]));
  }
}

}  // namespace orrery::train
