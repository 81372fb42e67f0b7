#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "dist/share.h"

namespace orrery::dist {

// What ranks say to each other while they share work, or work in lockstep.
struct Note {
  enum class Kind : char {
    // to rank 0
    hello,    // text: the host
    alive,    // nothing new
    ready,    // can work
    useless,  // cannot; text: why
    result,   // unit, text: what came out
    failed,   // unit, text: why
    bye,      // works no more and says nothing more
    // from rank 0; alive as well
    unit,    // to be done
    finish,  // no more units come, and nobody wants the rest
    leave,   // text: "together", or empty
    // between any two ranks in lockstep
    piece,  // unit: number of the call; text: its bytes
  };
  Kind kind = Kind::alive;
  i64 unit = -1;
  std::string text;
};

std::string bytes_of(Note note);
// Error: bytes that are no note.
Note note_from(std::string bytes);
// In a handler: what is being thrown, in words.
std::string reason_thrown();

// A thread that does units, one after the other, so that its rank can listen meanwhile.
class Hand {
 public:
  explicit Hand(std::function<UnitWork()> start);
  ~Hand();
  Hand(const Hand&) = delete;
  Hand& operator=(const Hand&) = delete;

  void give(i64 unit);
  // what it has to say (ready, useless, result, failed), in order
  std::optional<Note> next();
  // Nothing more is begun, and what is going on may be dropped.
  void stop();
  // whether it works no more, be it after stop() or because it could not start
  bool ended() const { return ended_; }

 private:
  void run();
  void say(Note note);
  std::optional<i64> wait_for_unit();

  std::function<UnitWork()> start_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<i64> units_;
  std::deque<Note> said_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> ended_ = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace orrery::dist
