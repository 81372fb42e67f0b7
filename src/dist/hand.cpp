#include "dist/hand.h"

#include <cstring>
#include <exception>

#include "base/error.h"

namespace orrery::dist {

namespace {

constexpr std::size_t kHead = 1 + sizeof(i64);

}  // namespace

std::string reason_thrown() {
  try {
    throw;
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception that says nothing";
  }
}

// the kind, the unit, and the text as it is; all ranks are of one build, on machines of one kind
std::string bytes_of(Note note) {
  std::string head(kHead, static_cast<char>(note.kind));
  std::memcpy(head.data() + 1, &note.unit, sizeof note.unit);
  note.text.insert(0, head);
  return std::move(note.text);
}

Note note_from(std::string bytes) {
  check(bytes.size() >= kHead && bytes[0] >= 0 && bytes[0] <= static_cast<char>(Note::Kind::piece),
        "a message of ", bytes.size(), " bytes from another rank is none of ours");
  Note note;
  note.kind = static_cast<Note::Kind>(bytes[0]);
  std::memcpy(&note.unit, bytes.data() + 1, sizeof note.unit);
  bytes.erase(0, kHead);
  note.text = std::move(bytes);
  return note;
}

Hand::Hand(std::function<UnitWork()> start)
    : start_(std::move(start)), thread_([this] { run(); }) {}

Hand::~Hand() {
  stop();
  thread_.join();
}

void Hand::give(i64 unit) {
  const std::lock_guard lock(mutex_);
  units_.push_back(unit);
  changed_.notify_one();
}

std::optional<Note> Hand::next() {
  const std::lock_guard lock(mutex_);
  if (said_.empty()) return std::nullopt;
  Note note = std::move(said_.front());
  said_.pop_front();
  return note;
}

void Hand::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_one();
}

void Hand::say(Note note) {
  const std::lock_guard lock(mutex_);
  said_.push_back(std::move(note));
}

std::optional<i64> Hand::wait_for_unit() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopping_ || !units_.empty(); });
  if (stopping_) return std::nullopt;
  const i64 unit = units_.front();
  units_.pop_front();
  return unit;
}

void Hand::run() {
  try {
    const UnitWork work = start_();
    say({.kind = Note::Kind::ready});
    while (const auto unit = wait_for_unit()) {
      try {
        say({.kind = Note::Kind::result, .unit = *unit, .text = work(*unit, [this] {
                                                          return !stopping_;
                                                        })});
      } catch (...) {
        // what was dropped half-way did not fail
        if (!stopping_) say({.kind = Note::Kind::failed, .unit = *unit, .text = reason_thrown()});
      }
    }
  } catch (...) {
    say({.kind = Note::Kind::useless, .text = reason_thrown()});
  }
  ended_ = true;
}

}  // namespace orrery::dist
