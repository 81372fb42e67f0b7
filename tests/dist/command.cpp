#include "tests/dist/command.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "base/atomic_file.h"
#include "base/error.h"

namespace orrery {

TestFolder::TestFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "orrery-ranks-XXXXXX").string();
  check(::mkdtemp(name.data()) != nullptr, "no temporary folder");
  path_ = name;
}

TestFolder::~TestFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Command::Command(const TestFolder& folder, const std::string& words) {
  static std::atomic<int> count = 0;
  const int number = count++;
  out_ = folder / text("out-", number);
  err_ = folder / text("err-", number);
  process_ = ::fork();
  check(process_ >= 0, "cannot fork");
  if (process_ != 0) return;
  ::setpgid(0, 0);
  // what MPI and its plugins forget is not ours
  const char* asan = std::getenv("ASAN_OPTIONS");
  ::setenv(
      "ASAN_OPTIONS",
      (asan == nullptr ? std::string("detect_leaks=0") : text(asan, ":detect_leaks=0")).c_str(), 1);
  const int out = ::open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int err = ::open(err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int in = ::open("/dev/null", O_RDONLY);
  ::dup2(in, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(err, STDERR_FILENO);
  ::execl("/bin/sh", "sh", "-c", words.c_str(), nullptr);
  ::_exit(127);
}

Command::~Command() {
  if (process_ <= 0) return;
  ::kill(-process_, SIGKILL);
  ::waitpid(process_, nullptr, 0);
}

int Command::wait() {
  if (process_ > 0) {
    int status = 0;
    ::waitpid(process_, &status, 0);
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    process_ = -1;
  }
  return status_;
}

bool Command::running() {
  if (process_ <= 0) return false;
  siginfo_t info = {};
  ::waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT);
  return info.si_pid == 0;
}

void Command::signal(int number) {
  if (process_ > 0) ::kill(process_, number);
}

std::string Command::out() const { return read_file(out_, 1 << 26); }
std::string Command::err() const { return read_file(err_, 1 << 26); }

std::string on_ranks([[maybe_unused]] int ranks, [[maybe_unused]] const std::string& options) {
#ifdef ORRERY_MPIRUN
  // ranks of a test share what cores there are
  return text("exec " ORRERY_MPIRUN " --oversubscribe --bind-to none ",
              ::geteuid() == 0 ? "--allow-run-as-root " : "", options, " -n ", ranks, " ");
#else
  return {};
#endif
}

}  // namespace orrery
