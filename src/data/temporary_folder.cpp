#include "data/temporary_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <system_error>

#include "base/error.h"

namespace orrery {

TemporaryFolder::TemporaryFolder(std::filesystem::path path) : path_(std::move(path)) {
  // data/ and data are the same folder
  if (!path_.has_filename()) path_ = path_.parent_path();
  check(!std::filesystem::exists(path_), "cannot write ", path_.string(), ": it exists");
  static std::atomic<int> count = 0;
  temporary_ = path_;
  // not the name that an AtomicFile of the same path has
  temporary_ += text(".", ::getpid(), "-", count++, ".folder.tmp");
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!committed_) std::filesystem::remove_all(temporary_, ignored);
}

void TemporaryFolder::commit() {
  // thousands of files: the file system is asked once for all of them
  const int folder = ::open(temporary_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = folder >= 0 && ::syncfs(folder) == 0;
  if (folder >= 0) ::close(folder);
  check(synced, "cannot write ", path_.string(), ": it cannot be flushed to the disk");
  std::error_code error;
  std::filesystem::rename(temporary_, path_, error);
  check(!error, "cannot write ", path_.string(), ": ", error.message());
  committed_ = true;
}

}  // namespace orrery
