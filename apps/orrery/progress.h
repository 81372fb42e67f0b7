#pragma once

#include <string>

#include "base/types.h"

namespace orrery::cli {

// Tells how far long work is, on standard error: on a terminal one line that is rewritten, in a log
// a plain line every ten seconds. Rate and time left are of the whole run so far.
class Progress {
 public:
  // "recording", 100, "episodes"
  Progress(std::string what, i64 total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `note` is added at the end of the line, for example the loss
  void update(i64 done, const std::string& note = {});

 private:
  std::string what_;
  std::string unit_;
  i64 total_;
  bool terminal_;
  double start_s_;
  double told_s_;
  bool line_open_ = false;
};

// True once Ctrl-C or a polite request to end has come. The first call installs the handlers: from
// then on such a request does not end the process, and a second one does.
bool stop_requested();

}  // namespace orrery::cli
