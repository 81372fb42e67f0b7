#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace orrery {
namespace {

// large enough that a system call's cost vanishes, small enough to stay in the cache
constexpr std::size_t kBufferBytes = std::size_t{256} << 10;

// errno at the moment of the call, in words
std::string reason() { return std::strerror(errno); }

// A descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value() const { return value_; }

 private:
  int value_;
};

int open_to_read(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check(descriptor >= 0, "cannot read ", path.string(), ": ", reason());
  return descriptor;
}

std::size_t regular_size(int descriptor, const std::filesystem::path& path) {
  struct stat status = {};
  check(::fstat(descriptor, &status) == 0, "cannot read ", path.string(), ": ", reason());
  check(S_ISREG(status.st_mode), "cannot read ", path.string(), ": it is not a regular file");
  return static_cast<std::size_t>(status.st_size);
}

void write_all(int descriptor, std::string_view rest, const std::filesystem::path& path) {
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    check(written >= 0, "cannot write ", path.string(), ": ", reason());
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

void sync_named(const std::filesystem::path& target, int flags, const std::filesystem::path& path) {
  const Descriptor descriptor(::open(target.c_str(), flags | O_CLOEXEC));
  check(descriptor.value() >= 0, "cannot write ", path.string(), ": ", reason());
  // some file systems cannot sync a folder and say EINVAL; the rename itself is still atomic there
  check(::fsync(descriptor.value()) == 0 || errno == EINVAL, "cannot write ", path.string(), ": ",
        reason());
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  check(!path_.filename().empty(), "cannot write '", path_.string(), "': it names no file");
  check(!std::filesystem::is_directory(path_), "cannot write ", path_.string(), ": it is a folder");
  static std::atomic<u64> number = 0;
  temporary_ = path_;
  temporary_ += text(".", ::getpid(), "-", number++, ".tmp");
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  check(descriptor_ >= 0, "cannot write ", path_.string(), ": ", reason());
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!committed_) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void AtomicFile::write(std::string_view characters) {
  check(descriptor_ >= 0, "cannot write ", path_.string(), ": it is finished already");
  if (buffer_.size() + characters.size() >= kBufferBytes) flush();
  if (characters.size() < kBufferBytes) {
    buffer_ += characters;
    return;
  }
  write_all(descriptor_, characters, path_);
}

void AtomicFile::flush() {
  write_all(descriptor_, buffer_, path_);
  buffer_.clear();
}

void AtomicFile::commit() {
  check(descriptor_ >= 0, "cannot write ", path_.string(), ": it is finished already");
  flush();
  ::close(std::exchange(descriptor_, -1));
  // by name, because a library may have put another file there
  sync_named(temporary_, O_RDONLY, path_);
  check(::rename(temporary_.c_str(), path_.c_str()) == 0, "cannot write ", path_.string(), ": ",
        reason());
  committed_ = true;
  const std::filesystem::path folder = path_.parent_path();
  sync_named(folder.empty() ? std::filesystem::path(".") : folder, O_RDONLY | O_DIRECTORY, path_);
}

MappedFile::MappedFile(const std::filesystem::path& path) {
  const Descriptor descriptor(open_to_read(path));
  size_ = regular_size(descriptor.value(), path);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor.value(), 0);
  check(address != MAP_FAILED, "cannot read ", path.string(), ": ", reason());
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::string read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  const Descriptor descriptor(open_to_read(path));
  const std::size_t size = regular_size(descriptor.value(), path);
  check(size <= max_bytes, "cannot read ", path.string(), ": it has ", size, " bytes, at most ",
        max_bytes, " are expected here");
  std::string contents(size, '\0');
  std::size_t filled = 0;
  while (filled < size) {
    const ssize_t got = ::read(descriptor.value(), contents.data() + filled, size - filled);
    if (got < 0 && errno == EINTR) continue;
    check(got >= 0, "cannot read ", path.string(), ": ", reason());
    check(got > 0, "cannot read ", path.string(), ": it became shorter while it was read");
    filled += static_cast<std::size_t>(got);
  }
  return contents;
}

void write_file(const std::filesystem::path& path, std::string_view contents) {
  AtomicFile file(path);
  file.write(contents);
  file.commit();
}

}  // namespace orrery
