#include "dist/share.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "dist/hand.h"

namespace orrery::dist {

namespace {

constexpr double kAliveEvery_s = 1;
// units a rank has at most, the one it works on among them
constexpr std::size_t kUnitsAhead = 2;
constexpr int kFailuresInARow = 3;
// rank 0 also keeps results and decides what is to be done, so it is granted more
constexpr double kPatienceWithRank0 = 4;

// Until there may be something to receive. Short enough for pieces of large messages to follow each
// other, and long enough that listening costs no core: 1 ms is 0.1 % of a unit of a second.
void rest(World& world) {
  std::this_thread::sleep_for(world.moving() ? std::chrono::microseconds(50)
                                             : std::chrono::microseconds(1000));
}

// every rank but 0
void follow(World& world, const SharedWork& work) {
  const auto say = [&world](Note note) { world.send(0, bytes_of(std::move(note))); };
  say({.kind = Note::Kind::hello, .text = world.host()});
  Hand hand(work.start);
  bool finishing = false, said_bye = false;
  double heard = now_s(), said = now_s();
  while (true) {
    bool quiet = true;
    while (auto message = world.receive()) {
      quiet = false;
      heard = now_s();
      const Note note = note_from(std::move(message->bytes));
      if (note.kind == Note::Kind::unit) hand.give(note.unit);
      if (note.kind == Note::Kind::finish) {
        finishing = true;
        hand.stop();
      }
      if (note.kind == Note::Kind::leave) return world.leave(!note.text.empty());
    }
    while (auto note = hand.next()) {
      quiet = false;
      if (!finishing) say(std::move(*note));
    }
    const double now = now_s();
    if (finishing && hand.ended() && !said_bye) {
      said_bye = true;
      say({.kind = Note::Kind::bye});
    }
    if (!said_bye && now - said >= kAliveEvery_s) {
      said = now;
      say({.kind = Note::Kind::alive});
    }
    check(now - heard <= kPatienceWithRank0 * work.silence_s, "rank ", world.rank(), " on ",
          world.host(), " ends: rank 0 has said nothing for ", static_cast<i64>(now - heard), " s");
    if (quiet) rest(world);
  }
}

class Leader {
 public:
  Leader(World& world, const SharedWork& work)
      : world_(world),
        work_(work),
        ranks_(static_cast<std::size_t>(world.size())),
        hand_(work.start) {
    for (Rank& rank : ranks_) rank.heard = now_s();
    ranks_[0].host = world.host();
  }

  bool run() {
    try {
      const bool done = lead();
      dismiss();
      return done;
    } catch (...) {
      dismiss();
      throw;
    }
  }

 private:
  struct Rank {
    std::string host = "an unknown machine";
    bool works = false;   // is ready and may be given units
    bool gone = false;    // will not be given any more
    bool silent = false;  // taken for dead
    bool bye = false;
    std::vector<i64> holds;
    double heard = 0;
    int failures = 0;  // in a row
  };
  struct Unit {
    bool done = false;
    std::vector<RankFailure> failures;
  };

  bool lead() {
    // so that `units` finds what `start` made
    const Rank& own = ranks_[0];
    while (!own.works && !own.gone) {
      if (!work_.goes_on()) return false;
      if (!listen()) rest(world_);
    }
    for (const i64 unit : work_.units()) {
      check(units_.try_emplace(unit).second, "unit ", unit, " is to be done twice");
      waiting_.push_back(unit);
    }
    left_ = units_.size();
    has_units_ = true;
    for (const RankFailure& failure : untold_) work_.tell(failure);
    while (left_ > 0) {
      if (!work_.goes_on()) return false;
      const bool quiet = !listen();
      hand_out();
      if (quiet) rest(world_);
    }
    return true;
  }

  // takes what has come; whether anything has
  bool listen() {
    bool any = false;
    while (auto message = world_.receive()) {
      any = true;
      const int from = message->from;
      ranks_[static_cast<std::size_t>(from)].heard = now_s();
      take(from, note_from(std::move(message->bytes)));
    }
    while (auto note = hand_.next()) {
      any = true;
      take(0, std::move(*note));
    }

    const double now = now_s();
    // while this rank did not listen it could not hear either
    const double away = now - listened_ > kAliveEvery_s ? now - listened_ : 0;
    listened_ = now;
    for (int r = 1; r < world_.size(); ++r) {
      Rank& rank = ranks_[static_cast<std::size_t>(r)];
      rank.heard += away;
      if (rank.silent || rank.bye || now - rank.heard <= work_.silence_s) continue;
      rank.silent = true;
      if (!rank.gone) {
        give_up(r, text("it has said nothing for ", static_cast<i64>(now - rank.heard), " s"));
      }
    }
    if (now - said_ >= kAliveEvery_s) {
      said_ = now;
      to_all({.kind = Note::Kind::alive});
    }
    return any;
  }

  void take(int from, Note note) {
    Rank& rank = ranks_[static_cast<std::size_t>(from)];
    switch (note.kind) {
      case Note::Kind::hello:
        rank.host = note.text;
        break;
      case Note::Kind::ready:
        rank.works = !rank.gone;
        break;
      case Note::Kind::useless:
        if (!rank.gone) give_up(from, note.text);
        break;
      case Note::Kind::result:
        take_result(rank, std::move(note));
        break;
      case Note::Kind::failed:
        take_failure(from, std::move(note));
        break;
      case Note::Kind::bye:
        rank.bye = true;
        break;
      default:
        break;
    }
  }

  void take_result(Rank& rank, Note note) {
    std::erase(rank.holds, note.unit);
    rank.failures = 0;
    const auto found = units_.find(note.unit);
    // a rank that was given up may still be the first
    if (dismissing_ || found == units_.end() || found->second.done) return;
    found->second.done = true;
    std::erase(waiting_, note.unit);
    --left_;
    work_.keep(note.unit, std::move(note.text));
  }

  void take_failure(int from, Note note) {
    Rank& rank = ranks_[static_cast<std::size_t>(from)];
    const auto found = units_.find(note.unit);
    if (dismissing_ || rank.gone || found == units_.end()) return;
    std::erase(rank.holds, note.unit);
    if (found->second.done) return;
    ++rank.failures;
    auto& failures = found->second.failures;
    failures.push_back({.rank = from,
                        .host = rank.host,
                        .unit = note.unit,
                        .reason = std::move(note.text),
                        .gone = rank.failures >= kFailuresInARow});
    waiting_.push_front(note.unit);
    if (rank.failures >= kFailuresInARow) retire(rank);
    if (failures.size() > 1) fail_of(failures);
    must_be_possible(note.unit);
    tell(failures.back());
  }

  void give_up(int from, std::string reason) {
    Rank& rank = ranks_[static_cast<std::size_t>(from)];
    if (!dismissing_) {
      tell({.rank = from,
            .host = rank.host,
            .unit = rank.holds.empty() ? -1 : rank.holds.front(),
            .reason = reason,
            .gone = true});
    }
    last_reason_ = text("rank ", from, " on ", rank.host, ": ", reason);
    retire(rank);
  }

  // What keeps a rank from starting may be what `units` throws, and is then said once.
  void tell(const RankFailure& failure) {
    if (has_units_) {
      work_.tell(failure);
    } else {
      untold_.push_back(failure);
    }
  }

  void retire(Rank& rank) {
    rank.gone = true;
    rank.works = false;
    for (auto unit = rank.holds.rbegin(); unit != rank.holds.rend(); ++unit) {
      if (!units_[*unit].done) waiting_.push_front(*unit);
    }
    rank.holds.clear();
  }

  void hand_out() {
    for (std::size_t most = 1; most <= kUnitsAhead; ++most) {
      for (int r = 0; r < world_.size(); ++r) {
        Rank& rank = ranks_[static_cast<std::size_t>(r)];
        // the last units go to whoever is free first
        if (most > 1 && waiting_.size() < ranks_.size()) break;
        if (!rank.works || rank.holds.size() >= most) continue;
        const auto unit = std::find_if(waiting_.begin(), waiting_.end(),
                                       [&](i64 one) { return !has_failed(one, r); });
        if (unit == waiting_.end()) continue;
        rank.holds.push_back(*unit);
        if (r == 0) {
          hand_.give(*unit);
        } else {
          world_.send(r, bytes_of({.kind = Note::Kind::unit, .unit = *unit}));
        }
        waiting_.erase(unit);
      }
    }
    for (const i64 unit : waiting_) must_be_possible(unit);
  }

  bool has_failed(i64 unit, int rank) {
    const auto& failures = units_[unit].failures;
    return std::any_of(failures.begin(), failures.end(),
                       [rank](const RankFailure& failure) { return failure.rank == rank; });
  }

  void must_be_possible(i64 unit) {
    for (int r = 0; r < world_.size(); ++r) {
      if (!ranks_[static_cast<std::size_t>(r)].gone && !has_failed(unit, r)) return;
    }
    const auto& failures = units_[unit].failures;
    if (!failures.empty()) fail_of(failures);
    fail("no rank is left that can work; ", last_reason_);
  }

  [[noreturn]] static void fail_of(const std::vector<RankFailure>& failures) {
    std::string all;
    for (const RankFailure& failure : failures) {
      all += text(all.empty() ? "" : "; ", "rank ", failure.rank, " on ", failure.host, ": ",
                  failure.reason);
    }
    fail(all);
  }

  void to_all(const Note& note) {
    for (int r = 1; r < world_.size(); ++r) {
      // what a dead rank does not read would pile up
      if (note.kind == Note::Kind::alive && ranks_[static_cast<std::size_t>(r)].silent) continue;
      world_.send(r, bytes_of(note));
    }
  }

  // Nobody goes before all have said their last word: ending MPI waits for everyone and for every
  // message.
  void dismiss() {
    dismissing_ = true;
    to_all({.kind = Note::Kind::finish});
    hand_.stop();
    const auto all = [this](auto holds) {
      for (int r = 1; r < world_.size(); ++r) {
        if (!ranks_[static_cast<std::size_t>(r)].silent &&
            !holds(r, ranks_[static_cast<std::size_t>(r)])) {
          return false;
        }
      }
      return true;
    };
    while (!all([](int, const Rank& rank) { return rank.bye; }) || !hand_.ended()) {
      if (!listen()) rest(world_);
    }
    const bool together =
        std::none_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.silent; });
    to_all({.kind = Note::Kind::leave, .text = together ? "together" : ""});
    const double since = now_s();
    while (!all([this](int r, const Rank&) { return world_.sent(r); }) &&
           now_s() - since < work_.silence_s) {
      rest(world_);
    }
    world_.leave(together);
  }

  World& world_;
  const SharedWork& work_;
  std::vector<Rank> ranks_;
  std::map<i64, Unit> units_;
  std::deque<i64> waiting_;
  std::size_t left_ = 0;
  bool has_units_ = false;
  std::vector<RankFailure> untold_;
  double listened_ = now_s(), said_ = 0;
  bool dismissing_ = false;
  std::string last_reason_;
  Hand hand_;  // last: it ends before the rest goes
};

}  // namespace

std::string sentence_of(const RankFailure& failure, const std::string& what) {
  std::string sentence = text("rank ", failure.rank, " on ", failure.host);
  sentence += failure.gone ? " is given no more work" : " failed";
  if (!what.empty()) sentence += text(" at ", what);
  sentence += text(": ", failure.reason);
  if (!what.empty()) sentence += text("; ", what, " will be done again by another rank");
  return sentence;
}

bool share_out(World& world, const SharedWork& work) {
  if (world.rank() == 0) return Leader(world, work).run();
  follow(world, work);
  return true;
}

void take_no_part(World& world, std::exception_ptr failure) {
  SharedWork work;
  work.start = [&failure]() -> UnitWork { std::rethrow_exception(failure); };
  work.units = [&failure]() -> std::vector<i64> { std::rethrow_exception(failure); };
  share_out(world, work);
}

}  // namespace orrery::dist
