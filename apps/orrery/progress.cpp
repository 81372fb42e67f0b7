#include "progress.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <iostream>

#include "base/clock.h"

namespace orrery::cli {

namespace {

constexpr double kTerminalEvery = 0.1;  // seconds
constexpr double kLogEvery = 10;

// 75 -> "1:15"
std::string duration(double seconds) {
  char text[32];
  const auto whole = static_cast<long>(seconds + 0.5);
  if (whole >= 3600) {
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
  } else {
    std::snprintf(text, sizeof text, "%ld:%02ld", whole / 60, whole % 60);
  }
  return text;
}

volatile std::sig_atomic_t stop_flag = 0;

extern "C" void request_stop(int signal) {
  stop_flag = 1;
  std::signal(signal, SIG_DFL);
}

}  // namespace

Progress::Progress(std::string what, i64 total, std::string unit)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_s_(now_s()),
      told_s_(start_s_) {}

Progress::~Progress() {
  if (line_open_) std::cerr << "\n";
}

void Progress::update(i64 done, const std::string& note) {
  const double now = now_s();
  const bool finished = done >= total_;
  if (!finished && now - told_s_ < (terminal_ ? kTerminalEvery : kLogEvery)) return;
  told_s_ = now;
  const double seconds = now - start_s_;
  const double rate = static_cast<double>(done) / (seconds > 0 ? seconds : 1);
  char line[160];
  std::snprintf(line, sizeof line, "%s %lld/%lld %s, %.4g/s, %s %s", what_.c_str(),
                static_cast<long long>(done), static_cast<long long>(total_), unit_.c_str(), rate,
                finished ? "took" : "left",
                duration(finished   ? seconds
                         : rate > 0 ? static_cast<double>(total_ - done) / rate
                                    : 0)
                    .c_str());
  // to the start of the line, and clear what a longer one left
  if (terminal_) std::cerr << "\r\x1b[K";
  std::cerr << line << (note.empty() ? "" : ", ") << note;
  if (!terminal_ || finished) std::cerr << "\n";
  line_open_ = terminal_ && !finished;
  std::cerr.flush();
}

bool stop_requested() {
  static const bool installed = [] {
    std::signal(SIGINT, request_stop);
    std::signal(SIGTERM, request_stop);
    return true;
  }();
  static_cast<void>(installed);
  return stop_flag != 0;
}

}  // namespace orrery::cli
