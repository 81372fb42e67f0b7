#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "dist/hand.h"
#include "dist/lockstep.h"

namespace orrery::dist {

namespace {

constexpr double kAliveEvery_s = 1;
// rank 0 also tells of the others, so it is granted more
constexpr double kPatienceWithRank0 = 4;

// what leaves the work when the others do not go on: not an error of this rank
struct Abandoned : Error {
  using Error::Error;
};

// What passes between the thread that works and the one that talks to the other ranks.
class Exchange {
 public:
  explicit Exchange(int size) : came_(static_cast<std::size_t>(size)) {}

  // by the thread that works

  void send(int to, Note note) {
    const std::lock_guard lock(mutex_);
    going_.emplace_back(to, std::move(note));
    to_talk_.notify_one();
  }
  Note receive(int from) {
    std::unique_lock lock(mutex_);
    auto& notes = came_[static_cast<std::size_t>(from)];
    waiting_ = true;
    to_talk_.notify_one();
    to_work_.wait(lock, [&] { return !notes.empty() || over_; });
    waiting_ = false;
    if (over_) throw Abandoned(*over_);
    Note note = std::move(notes.front());
    notes.pop_front();
    return note;
  }
  void end(std::exception_ptr failure, bool abandoned) {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    abandoned_ = abandoned;
    failure_ = std::move(failure);
    to_talk_.notify_one();
  }

  // by the thread that talks

  void arrive(int from, Note note) {
    const std::lock_guard lock(mutex_);
    came_[static_cast<std::size_t>(from)].push_back(std::move(note));
    to_work_.notify_one();
  }
  std::optional<std::pair<int, Note>> next_to_send() {
    const std::lock_guard lock(mutex_);
    if (going_.empty()) return std::nullopt;
    auto next = std::move(going_.front());
    going_.pop_front();
    return next;
  }
  // Nothing more will come; the first reason stays.
  void give_up(const std::string& reason) {
    const std::lock_guard lock(mutex_);
    if (!over_) over_ = reason;
    to_work_.notify_one();
  }
  bool ended() {
    const std::lock_guard lock(mutex_);
    return ended_ && going_.empty();
  }
  // after ended(): what the work threw of itself
  std::exception_ptr own_failure() const { return abandoned_ ? nullptr : failure_; }

  // Until there may be something to do. While the work waits for others, messages are looked for
  // at once; else once a millisecond, which costs no core.
  void rest(bool moving) {
    std::unique_lock lock(mutex_);
    const auto pause = std::chrono::microseconds(waiting_ || moving ? 20 : 1000);
    const bool waited = waiting_;
    to_talk_.wait_for(lock, pause, [&] { return !going_.empty() || waiting_ != waited; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable to_work_, to_talk_;
  std::vector<std::deque<Note>> came_;  // by rank
  std::deque<std::pair<int, Note>> going_;
  std::optional<std::string> over_;
  bool waiting_ = false;
  bool ended_ = false, abandoned_ = false;
  std::exception_ptr failure_;
};

class RankInStep final : public Lockstep {
 public:
  RankInStep(const World& world, Exchange& exchange)
      : Lockstep(world.rank(), world.size(), world.host()), exchange_(exchange) {}

 private:
  void send(int to, i64 call, std::string bytes) override {
    exchange_.send(to, {.kind = Note::Kind::piece, .unit = call, .text = std::move(bytes)});
  }
  std::string receive(int from, i64 call) override {
    Note note = exchange_.receive(from);
    check(note.unit == call, "rank ", from, " is at call ", note.unit, " and rank ", rank(),
          " at call ", call, ": ranks are not at the same work");
    return std::move(note.text);
  }

  Exchange& exchange_;
};

// The thread that talks, on any rank.
class Talker {
 public:
  Talker(World& world, const LockstepOptions& options, const std::function<void(Lockstep&)>& work)
      : world_(world),
        options_(options),
        exchange_(world.size()),
        ranks_(static_cast<std::size_t>(world.size())),
        worker_([this, &work] { run(work); }) {
    for (Rank& rank : ranks_) rank.heard = now_s();
    ranks_[0].host = world.host();
  }
  ~Talker() {
    exchange_.give_up("this rank has left the others");
    worker_.join();
  }
  Talker(const Talker&) = delete;
  Talker& operator=(const Talker&) = delete;

  bool lead() {
    while (!everyone_is_done()) go_round();
    const bool together =
        std::none_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.silent; });
    tell_others({.kind = Note::Kind::leave, .text = together ? "together" : ""});
    wait_until_sent();
    world_.leave(together);
    if (exchange_.own_failure()) std::rethrow_exception(exchange_.own_failure());
    check(reason_.empty(), reason_);
    return true;
  }

  bool follow() {
    tell(0, {.kind = Note::Kind::hello, .text = world_.host()});
    bool said_bye = false;
    double sent_until = 0;
    while (!leaving_) {
      go_round();
      if (said_bye || !exchange_.ended()) continue;
      // What this rank has sent arrives before it goes, for ending MPI waits for it; messages to a
      // rank that is gone never do.
      if (sent_until == 0) {
        sent_until = now_s() + options_.silence_s;
        if (const auto failure = exchange_.own_failure()) {
          tell(0, {.kind = Note::Kind::failed, .text = words_of(failure)});
        }
      }
      if (!all_sent() && now_s() < sent_until) continue;
      said_bye = true;
      tell(0, {.kind = Note::Kind::bye});
    }
    world_.leave(together_);
    return together_ && reason_.empty();
  }

 private:
  struct Rank {
    std::string host = "an unknown machine";
    double heard = 0;
    bool silent = false;  // taken for dead
    bool bye = false;
  };

  void run(const std::function<void(Lockstep&)>& work) {
    try {
      RankInStep lockstep(world_, exchange_);
      work(lockstep);
      exchange_.end(nullptr, false);
    } catch (const Abandoned&) {
      exchange_.end(nullptr, true);
    } catch (...) {
      exchange_.end(std::current_exception(), false);
    }
  }

  static std::string words_of(const std::exception_ptr& failure) {
    try {
      std::rethrow_exception(failure);
    } catch (...) {
      return reason_thrown();
    }
  }

  void tell(int to, const Note& note) { world_.send(to, bytes_of(note)); }
  void tell_others(const Note& note) {
    for (int r = 0; r < world_.size(); ++r) {
      // what a dead rank does not read would pile up
      const bool gone = ranks_[static_cast<std::size_t>(r)].silent;
      if (r != world_.rank() && !(gone && note.kind == Note::Kind::alive)) tell(r, note);
    }
  }

  // The end for all: those that wait for each other stop to.
  void give_up(const std::string& reason) {
    if (!reason_.empty()) return;
    reason_ = reason;
    exchange_.give_up(reason);
    if (world_.rank() == 0) tell_others({.kind = Note::Kind::finish, .text = reason});
  }

  // takes what has come, sends what is to go, says that this rank lives and finds who does not
  void go_round() {
    bool quiet = true;
    while (auto message = world_.receive()) {
      quiet = false;
      ranks_[static_cast<std::size_t>(message->from)].heard = now_s();
      take(message->from, note_from(std::move(message->bytes)));
    }
    while (auto next = exchange_.next_to_send()) {
      quiet = false;
      world_.send(next->first, bytes_of(std::move(next->second)));
    }
    const double now = now_s();
    if (now - said_ >= kAliveEvery_s) {
      said_ = now;
      if (world_.rank() == 0) {
        tell_others({.kind = Note::Kind::alive});
      } else {
        tell(0, {.kind = Note::Kind::alive});
      }
    }
    find_silent_ranks(now);
    if (world_.rank() == 0 && reason_.empty() && exchange_.ended() && exchange_.own_failure()) {
      give_up(text("rank 0 on ", world_.host(), ": ", words_of(exchange_.own_failure())));
    }
    if (quiet) exchange_.rest(world_.moving());
  }

  void take(int from, Note note) {
    Rank& rank = ranks_[static_cast<std::size_t>(from)];
    switch (note.kind) {
      case Note::Kind::hello:
        rank.host = std::move(note.text);
        break;
      case Note::Kind::piece:
        exchange_.arrive(from, std::move(note));
        break;
      case Note::Kind::failed:
        give_up(text("rank ", from, " on ", rank.host, ": ", note.text));
        break;
      case Note::Kind::bye:
        rank.bye = true;
        break;
      case Note::Kind::finish:
        give_up(note.text);
        break;
      case Note::Kind::leave:
        leaving_ = true;
        together_ = !note.text.empty();
        break;
      default:
        break;
    }
  }

  // rank 0 looks after all, the others after rank 0
  void find_silent_ranks(double now) {
    // while this rank did not listen it could not hear either
    const double away = now - listened_ > kAliveEvery_s ? now - listened_ : 0;
    listened_ = now;
    for (int r = 0; r < world_.size(); ++r) {
      Rank& rank = ranks_[static_cast<std::size_t>(r)];
      if (r == world_.rank() || (world_.rank() != 0 && r != 0)) continue;
      rank.heard += away;
      const double patience = options_.silence_s * (r == 0 ? kPatienceWithRank0 : 1.0);
      if (rank.silent || rank.bye || now - rank.heard <= patience) continue;
      rank.silent = true;
      const auto seconds = static_cast<i64>(now - rank.heard);
      if (r != 0) {
        give_up(text("rank ", r, " on ", rank.host, " has said nothing for ", seconds, " s"));
        continue;
      }
      world_.leave(false);
      fail("rank ", world_.rank(), " on ", world_.host(), " ends: rank 0 has said nothing for ",
           seconds, " s");
    }
  }

  bool everyone_is_done() {
    for (std::size_t r = 1; r < ranks_.size(); ++r) {
      if (!ranks_[r].bye && !ranks_[r].silent) return false;
    }
    return exchange_.ended();
  }

  bool all_sent() {
    for (int r = 0; r < world_.size(); ++r) {
      if (r != world_.rank() && !world_.sent(r)) return false;
    }
    return true;
  }

  void wait_until_sent() {
    const double until = now_s() + options_.silence_s;
    const auto arrives = [this](int r) {
      return ranks_[static_cast<std::size_t>(r)].silent || world_.sent(r);
    };
    for (int r = 1; r < world_.size(); ++r) {
      while (!arrives(r) && now_s() < until) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    }
  }

  World& world_;
  const LockstepOptions& options_;
  Exchange exchange_;
  std::vector<Rank> ranks_;
  std::string reason_;  // why the work ends for all, once it does
  bool leaving_ = false, together_ = false;
  double said_ = 0, listened_ = now_s();
  std::thread worker_;  // last: it uses the rest
};

// Nobody to wait for.
class Alone final : public Lockstep {
 public:
  explicit Alone(const World& world) : Lockstep(0, 1, world.host()) {}

 private:
  void send(int, i64, std::string) override { ORRERY_ASSERT(false); }
  std::string receive(int, i64) override { fail("a rank that is alone waits for another"); }
};

}  // namespace

bool in_lockstep(World& world, const LockstepOptions& options,
                 const std::function<void(Lockstep&)>& work) {
  if (world.size() == 1) {
    Alone alone(world);
    work(alone);
    world.leave(true);
    return true;
  }
  Talker talker(world, options, work);
  return world.rank() == 0 ? talker.lead() : talker.follow();
}

}  // namespace orrery::dist
