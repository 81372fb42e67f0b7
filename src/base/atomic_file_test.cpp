#include "base/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "base/text.h"
#include "tests/fuzz/damage.h"

namespace orrery {
namespace {

using ::testing::HasSubstr;

// An empty folder of its own for every test.
class AtomicFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              text("orrery-files-", ::getpid(), "-",
                   ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  int file_count() const {
    int count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_)) ++count;
    return count;
  }

  std::filesystem::path folder_;
};

TEST_F(AtomicFileTest, IsThereOnlyAfterCommit) {
  const auto path = folder_ / "a.bin";
  // larger than the buffer, in pieces smaller and larger than it
  const std::string large(300'000, 'x');
  {
    AtomicFile file(path);
    file.write("head");
    file.write(large);
    file.write("tail");
    EXPECT_FALSE(std::filesystem::exists(path));
    file.commit();
    EXPECT_THROW(file.write("more"), Error);
  }
  EXPECT_EQ(read_file(path, 1 << 20), "head" + large + "tail");
  EXPECT_EQ(file_count(), 1);
}

TEST_F(AtomicFileTest, LeavesTheOldFileWhenItIsNotCommitted) {
  const auto path = folder_ / "a.bin";
  write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
  }
  EXPECT_EQ(read_file(path, 10), "old");
  EXPECT_EQ(file_count(), 1);
  write_file(path, "newer");
  EXPECT_EQ(read_file(path, 10), "newer");
}

TEST_F(AtomicFileTest, KeepsWhatALibraryWroteUnderTheTemporaryName) {
  const auto path = folder_ / "a.bin";
  AtomicFile file(path);
  // by rename, as libzip does
  std::ofstream(folder_ / "other") << "by name";
  std::filesystem::rename(folder_ / "other", file.temporary());
  file.commit();
  EXPECT_EQ(read_file(path, 10), "by name");
}

TEST_F(AtomicFileTest, SaysWhatIsWrong) {
  const auto missing = folder_ / "no" / "a.bin";
  EXPECT_EQ(error_of([&] { AtomicFile file(missing); }),
            "cannot write " + missing.string() + ": No such file or directory");
  EXPECT_THAT(error_of([&] { AtomicFile file(folder_); }), HasSubstr("it is a folder"));
  EXPECT_EQ(error_of([&] { read_file(missing, 10); }),
            "cannot read " + missing.string() + ": No such file or directory");
  EXPECT_THAT(error_of([&] { MappedFile file(folder_); }), HasSubstr("not a regular file"));
  write_file(folder_ / "long", "12345");
  EXPECT_THAT(error_of([&] { read_file(folder_ / "long", 4); }), HasSubstr("it has 5 bytes"));
}

TEST_F(AtomicFileTest, RemovesTheTemporaryWhenTheDiskIsFull) {
  // a limit on file sizes stands for a full disk: write() fails in the same place
  const auto path = folder_ / "a.bin";
  struct rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit tight = before;
  tight.rlim_cur = 100'000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  const std::string message = error_of([&] { write_file(path, std::string(1'000'000, 'x')); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(message, "cannot write " + path.string() + ": File too large");
  EXPECT_EQ(file_count(), 0);
}

TEST_F(AtomicFileTest, MapsAFile) {
  const auto path = folder_ / "a.bin";
  write_file(path, "abc");
  const MappedFile file(path);
  ASSERT_EQ(file.bytes().size(), 3u);
  EXPECT_EQ(file.bytes()[2], std::byte{'c'});
  write_file(folder_ / "empty", "");
  EXPECT_EQ(MappedFile(folder_ / "empty").bytes().size(), 0u);
}

}  // namespace
}  // namespace orrery
