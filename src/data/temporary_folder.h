#pragma once

#include <filesystem>

namespace orrery {

// A folder that is there whole or not at all, as AtomicFile is for files: made under a temporary
// name beside its own, handed to the disk and renamed by commit(), else removed.
class TemporaryFolder {
 public:
  // Error when something of that name exists. The folder itself is not made.
  explicit TemporaryFolder(std::filesystem::path path);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& temporary() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

}  // namespace orrery
