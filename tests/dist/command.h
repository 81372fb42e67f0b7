#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace orrery {

// A folder of one test; gone with it.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// A command of the shell in the background; what it prints goes to files.
class Command {
 public:
  Command(const TestFolder& folder, const std::string& words);
  // kills it if it still runs
  ~Command();
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  // its exit status, or minus the signal that ended it
  int wait();
  bool running();
  // to the command itself, which must begin with exec
  void signal(int number);
  // after wait()
  std::string out() const;
  std::string err() const;

 private:
  std::filesystem::path out_, err_;
  pid_t process_ = -1;
  int status_ = 0;
};

// The words that start a command on so many ranks of this machine.
std::string on_ranks(int ranks, const std::string& options = {});

}  // namespace orrery
