#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
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

// How long a rank waits for others without a pause: longer than messages take, and than steps of
// ranks of like speed differ.
constexpr double kAtOnce_s = 1e-3;

// what leaves the work when the others do not go on: not an error of this rank
struct Abandoned : Error {
  using Error::Error;
};

// One rank of the work and what it says to the others. Two threads talk, one at a time: the one
// that works while it waits for others, so that no message goes through a second thread, and the
// one that started it, all the time, so that the rank is heard while it works.
class Talker final : public Lockstep {
 public:
  Talker(World& world, const LockstepOptions& options, const std::function<void(Lockstep&)>& work)
      : Lockstep(world.rank(), world.size(), world.host()),
        world_(world),
        options_(options),
        ranks_(static_cast<std::size_t>(world.size())) {
    for (Rank& rank : ranks_) rank.heard = now_s();
    ranks_[0].host = world.host();
    worker_ = std::thread([this, &work] { run(work); });
  }
  ~Talker() override {
    {
      const std::lock_guard lock(mutex_);
      if (reason_.empty()) reason_ = "this rank has left the others";
    }
    worker_.join();
  }

  std::string lost() const override {
    const std::lock_guard lock(mutex_);
    return reason_;
  }

  bool lead() {
    std::unique_lock lock(mutex_);
    while (!everyone_is_done()) go_round_and_rest(lock);
    const bool together =
        std::none_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.silent; });
    tell_others({.kind = Note::Kind::leave, .text = together ? "together" : ""});
    wait_until_sent();
    world_.leave(together);
    if (own_failure()) std::rethrow_exception(own_failure());
    check(reason_.empty(), reason_);
    return true;
  }

  bool follow() {
    std::unique_lock lock(mutex_);
    tell(0, {.kind = Note::Kind::hello, .text = world_.host()});
    bool said_bye = false;
    double sent_until = 0;
    while (!leaving_) {
      go_round_and_rest(lock);
      if (ranks_[0].silent) {
        world_.leave(false);
        fail("rank ", rank(), " on ", world_.host(), " ends: ", reason_);
      }
      if (said_bye || !ended_) continue;
      // What this rank has sent arrives before it goes, for ending MPI waits for it; messages to a
      // rank that is gone never do.
      if (sent_until == 0) {
        sent_until = now_s() + options_.silence_s;
        if (own_failure()) {
          tell(0, {.kind = Note::Kind::failed, .text = words_of(own_failure())});
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
    std::deque<Note> pieces;  // that have come from it
  };

  // in the thread that works

  void run(const std::function<void(Lockstep&)>& work) {
    try {
      work(*this);
      end(nullptr);
    } catch (const Abandoned&) {
      end(nullptr);
    } catch (...) {
      end(std::current_exception());
    }
  }
  void end(std::exception_ptr failure) {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    failure_ = std::move(failure);
    work_ended_.notify_one();
  }

  void send(int to, i64 call, std::string bytes) override {
    const std::lock_guard lock(mutex_);
    tell(to, {.kind = Note::Kind::piece, .unit = call, .text = std::move(bytes)});
  }
  std::string receive(int from, i64 call) override {
    auto& notes = ranks_[static_cast<std::size_t>(from)].pieces;
    const double since = now_s();
    while (true) {
      {
        const std::lock_guard lock(mutex_);
        if (notes.empty()) go_round();
        if (!reason_.empty()) throw Abandoned(reason_);
        if (!notes.empty()) {
          Note note = std::move(notes.front());
          notes.pop_front();
          check(note.unit == call, "rank ", from, " is at call ", note.unit, " and rank ", rank(),
                " at call ", call, ": ranks are not at the same work");
          return std::move(note.text);
        }
      }
      // ranks of like speed are here soon; what takes longer shall not cost a core
      if (now_s() - since < kAtOnce_s) {
        std::this_thread::yield();
      } else {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    }
  }

  // in either, holding the mutex

  // what the work threw of itself, once it has ended
  const std::exception_ptr& own_failure() const { return failure_; }

  static std::string words_of(const std::exception_ptr& failure) {
    try {
      std::rethrow_exception(failure);
    } catch (...) {
      return reason_thrown();
    }
  }

  void tell(int to, Note note) { world_.send(to, bytes_of(std::move(note))); }
  void tell_others(const Note& note) {
    for (int r = 0; r < world_.size(); ++r) {
      // what a dead rank does not read would pile up
      const bool gone = ranks_[static_cast<std::size_t>(r)].silent;
      if (r != rank() && !(gone && note.kind == Note::Kind::alive)) tell(r, note);
    }
  }

  // The end for all: those that wait for each other stop to.
  void give_up(const std::string& reason) {
    if (!reason_.empty()) return;
    reason_ = reason;
    if (rank() == 0) tell_others({.kind = Note::Kind::finish, .text = reason});
  }

  // Takes what has come, says that this rank lives and finds who does not. Whether anything came.
  bool go_round() {
    bool any = false;
    while (auto message = world_.receive()) {
      any = true;
      ranks_[static_cast<std::size_t>(message->from)].heard = now_s();
      take(message->from, note_from(std::move(message->bytes)));
    }
    const double now = now_s();
    if (now - said_ >= kAliveEvery_s) {
      said_ = now;
      if (rank() == 0) {
        tell_others({.kind = Note::Kind::alive});
      } else {
        tell(0, {.kind = Note::Kind::alive});
      }
    }
    find_silent_ranks(now);
    if (rank() == 0 && reason_.empty() && own_failure()) {
      give_up(text("rank 0 on ", world_.host(), ": ", words_of(own_failure())));
    }
    return any;
  }

  // by the thread that does not work; looking once a millisecond costs no core
  void go_round_and_rest(std::unique_lock<std::mutex>& lock) {
    if (go_round() || ended_) {
      lock.unlock();
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      lock.lock();
    } else {
      work_ended_.wait_for(lock, std::chrono::microseconds(world_.moving() ? 50 : 1000));
    }
  }

  void take(int from, Note note) {
    Rank& other = ranks_[static_cast<std::size_t>(from)];
    switch (note.kind) {
      case Note::Kind::hello:
        other.host = std::move(note.text);
        break;
      case Note::Kind::piece:
        other.pieces.push_back(std::move(note));
        break;
      case Note::Kind::failed:
        give_up(text("rank ", from, " on ", other.host, ": ", note.text));
        break;
      case Note::Kind::bye:
        other.bye = true;
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
      Rank& other = ranks_[static_cast<std::size_t>(r)];
      if (r == rank() || (rank() != 0 && r != 0)) continue;
      other.heard += away;
      const double patience = options_.silence_s * (r == 0 ? kPatienceWithRank0 : 1.0);
      if (other.silent || other.bye || now - other.heard <= patience) continue;
      other.silent = true;
      const auto seconds = static_cast<i64>(now - other.heard);
      const std::string name = r == 0 ? "rank 0" : text("rank ", r, " on ", other.host);
      give_up(text(name, " has said nothing for ", seconds, " s"));
    }
  }

  bool everyone_is_done() {
    for (std::size_t r = 1; r < ranks_.size(); ++r) {
      if (!ranks_[r].bye && !ranks_[r].silent) return false;
    }
    return ended_;
  }

  bool all_sent() {
    for (int r = 0; r < world_.size(); ++r) {
      if (r != rank() && !world_.sent(r)) return false;
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

  mutable std::mutex mutex_;  // over all that follows
  World& world_;
  const LockstepOptions& options_;
  std::vector<Rank> ranks_;
  std::string reason_;  // why the work ends for all, once it does
  bool leaving_ = false, together_ = false;
  double said_ = 0, listened_ = now_s();
  std::condition_variable work_ended_;
  bool ended_ = false;
  std::exception_ptr failure_;
  std::thread worker_;  // last: it uses the rest
};

// Nobody to wait for.
class Alone final : public Lockstep {
 public:
  explicit Alone(const World& world) : Lockstep(0, 1, world.host()) {}
  std::string lost() const override { return {}; }

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
