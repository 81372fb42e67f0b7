#include "dist/share.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "base/error.h"
#include "dist/hand.h"

namespace orrery::dist {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Key;
using testing::SizeIs;
using testing::ThrowsMessage;

// What a run of threads came to.
struct Outcome {
  std::map<i64, std::string> kept;
  std::map<i64, std::set<int>> done_by;  // ranks that began a unit
  std::vector<RankFailure> told;
  bool finished = false;
  std::string error;                // of rank 0
  std::vector<std::string> others;  // errors of the other ranks
};

struct Play {
  int ranks = 2;
  i64 units = 10;
  double silence_s = 30;
  // on the rank it is called on; the unit's result is its square, in words, if this returns
  std::function<void(int rank)> start = [](int) {};
  std::function<void(int rank, i64 unit, const GoesOn&)> work = [](int, i64, const GoesOn&) {};
  std::function<void(i64 unit)> keep = [](i64) {};
  std::function<bool(i64 kept)> goes_on = [](i64) { return true; };
  std::function<void()> tell = [] {};
  int absent = -1;  // a rank that never says anything
};

Outcome play(const Play& play) {
  Outcome outcome;
  std::mutex mutex;
  auto worlds = worlds_of_threads(play.ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < play.ranks; ++rank) {
    if (rank == play.absent) continue;
    threads.emplace_back([&, rank] {
      SharedWork work;
      work.silence_s = play.silence_s;
      work.start = [&, rank]() -> UnitWork {
        play.start(rank);
        return [&, rank](i64 unit, const GoesOn& goes_on) {
          {
            const std::lock_guard lock(mutex);
            outcome.done_by[unit].insert(rank);
          }
          play.work(rank, unit, goes_on);
          return text(unit * unit);
        };
      };
      work.units = [&] {
        check(play.units >= 0, "there are no units");
        std::vector<i64> units;
        for (i64 unit = 0; unit < play.units; ++unit) units.push_back(unit);
        return units;
      };
      work.keep = [&](i64 unit, std::string result) {
        play.keep(unit);
        EXPECT_TRUE(outcome.kept.emplace(unit, std::move(result)).second) << unit << " came twice";
      };
      work.goes_on = [&] { return play.goes_on(static_cast<i64>(outcome.kept.size())); };
      work.tell = [&](const RankFailure& failure) {
        outcome.told.push_back(failure);
        play.tell();
      };
      try {
        const bool finished = share_out(*worlds[static_cast<std::size_t>(rank)], work);
        if (rank == 0) outcome.finished = finished;
      } catch (const Error& error) {
        const std::lock_guard lock(mutex);
        if (rank == 0) {
          outcome.error = error.what();
        } else {
          outcome.others.push_back(error.what());
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return outcome;
}

void expect_all(const Outcome& outcome, i64 units) {
  EXPECT_TRUE(outcome.finished);
  EXPECT_EQ(outcome.error, "");
  EXPECT_THAT(outcome.others, IsEmpty());
  ASSERT_EQ(static_cast<i64>(outcome.kept.size()), units);
  for (const auto& [unit, result] : outcome.kept) EXPECT_EQ(result, text(unit * unit));
}

void wait_ms(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

TEST(Share, EveryUnitIsDoneOnceByAnyNumberOfRanks) {
  for (const int ranks : {1, 2, 5}) {
    for (const i64 units : {0, 1, 3, 40}) {
      SCOPED_TRACE(text(ranks, " ranks, ", units, " units"));
      const Outcome outcome = play({.ranks = ranks, .units = units});
      expect_all(outcome, units);
      EXPECT_THAT(outcome.told, IsEmpty());
      for (const auto& [unit, who] : outcome.done_by) EXPECT_THAT(who, SizeIs(1)) << unit;
    }
  }
}

TEST(Share, EveryRankWorks) {
  // each unit takes until both ranks are at one
  std::atomic<int> first_units = 0;
  std::array<std::atomic<bool>, 2> began = {};
  const Outcome outcome = play({.units = 8, .work = [&](int rank, i64, const GoesOn& goes_on) {
                                  if (!began[static_cast<std::size_t>(rank)].exchange(true))
                                    ++first_units;
                                  while (first_units < 2 && goes_on()) wait_ms(1);
                                }});
  expect_all(outcome, 8);
  EXPECT_EQ(first_units, 2);
}

TEST(Share, AUnitThatFailsOnOneRankIsDoneByAnother) {
  std::atomic<int> failures = 0;
  const Outcome outcome =
      play({.ranks = 3, .units = 12, .work = [&](int rank, i64 unit, const GoesOn& goes_on) {
              if (rank == 1) {
                ++failures;
                fail("no room for unit ", unit);
              }
              // leave some for it
              while (failures < 3 && goes_on()) wait_ms(1);
            }});
  expect_all(outcome, 12);
  EXPECT_THAT(outcome.told,
              Each(AllOf(Field(&RankFailure::rank, 1),
                         Field(&RankFailure::reason, HasSubstr("no room for unit")))));
  // after three in a row it is given no more
  ASSERT_THAT(outcome.told, SizeIs(3));
  EXPECT_FALSE(outcome.told[1].gone);
  EXPECT_TRUE(outcome.told[2].gone);
}

TEST(Share, AUnitThatFailsTwiceEndsTheRun) {
  const Outcome outcome = play({.ranks = 3, .work = [](int rank, i64 unit, const GoesOn&) {
                                  check(unit != 4, "rank ", rank, " cannot do four");
                                }});
  EXPECT_FALSE(outcome.finished);
  EXPECT_THAT(outcome.error, HasSubstr("cannot do four; rank"));
  EXPECT_THAT(outcome.told, SizeIs(1));
  EXPECT_THAT(outcome.done_by.at(4), SizeIs(2));
  EXPECT_THAT(outcome.others, IsEmpty());
}

TEST(Share, AloneAFailureIsTheEnd) {
  const Outcome outcome = play({.ranks = 1, .work = [](int, i64 unit, const GoesOn&) {
                                  check(unit != 4, "cannot do four");
                                }});
  EXPECT_THAT(outcome.error, HasSubstr("rank 0 on "));
  EXPECT_THAT(outcome.error, HasSubstr("cannot do four"));
  EXPECT_THAT(outcome.told, IsEmpty());
}

TEST(Share, ARankThatCannotStartIsLeftOut) {
  for (const int broken : {0, 1}) {
    std::atomic<bool> told = false;
    const Outcome outcome =
        play({.start = [broken](int rank) { check(rank != broken, "no such model"); },
              .work =
                  [&](int, i64, const GoesOn& goes_on) {
                    while (!told && goes_on()) wait_ms(1);
                  },
              .tell = [&] { told = true; }});
    expect_all(outcome, 10);
    ASSERT_THAT(outcome.told, SizeIs(1));
    EXPECT_EQ(outcome.told[0].rank, broken);
    EXPECT_EQ(outcome.told[0].reason, "no such model");
    EXPECT_TRUE(outcome.told[0].gone);
  }
}

TEST(Share, UnitsFindWhatTheirRankStarted) {
  auto worlds = worlds_of_threads(1);
  SharedWork work;
  std::atomic<i64> first = -1;
  std::vector<i64> kept;
  work.start = [&] {
    wait_ms(20);
    first = 3;
    return [](i64, const GoesOn&) { return std::string(); };
  };
  work.units = [&] { return std::vector<i64>{first, first + 1}; };
  work.keep = [&](i64 unit, const std::string&) { kept.push_back(unit); };
  EXPECT_TRUE(share_out(*worlds[0], work));
  EXPECT_THAT(kept, testing::ElementsAre(3, 4));
}

TEST(Share, WhatUnitsThrowIsAllThatIsSaid) {
  const Outcome outcome = play({.units = -1, .start = [](int) { fail("no such model"); }});
  EXPECT_EQ(outcome.error, "there are no units");
  EXPECT_THAT(outcome.told, IsEmpty());
  EXPECT_THAT(outcome.others, IsEmpty());
}

TEST(Share, NoRankIsLeft) {
  const Outcome outcome = play({.start = [](int) { fail("no such model"); }});
  EXPECT_THAT(outcome.error, AllOf(HasSubstr("no rank is left"), HasSubstr("no such model")));
}

TEST(Share, ARankThatNeverSpeaksIsGivenUp) {
  std::atomic<bool> told = false;
  const Outcome outcome = play({.ranks = 3,
                                .units = 6,
                                .silence_s = 1.5,
                                .work =
                                    [&](int, i64, const GoesOn& goes_on) {
                                      while (!told && goes_on()) wait_ms(1);
                                    },
                                .tell = [&] { told = true; },
                                .absent = 1});
  expect_all(outcome, 6);
  ASSERT_THAT(outcome.told, SizeIs(1));
  EXPECT_EQ(outcome.told[0].rank, 1);
  EXPECT_EQ(outcome.told[0].unit, -1);
  EXPECT_THAT(outcome.told[0].reason, HasSubstr("said nothing"));
}

TEST(Share, RanksEndWhenRank0IsGone) {
  const Outcome outcome = play({.ranks = 3, .silence_s = 0.3, .absent = 0});
  ASSERT_THAT(outcome.others, SizeIs(2));
  EXPECT_THAT(outcome.others, Each(HasSubstr("rank 0 has said nothing")));
}

// takes part until its first units, and is never heard of again
TEST(Share, UnitsOfARankThatDiesAreDoneByOthers) {
  auto worlds = worlds_of_threads(2);
  SharedWork work;
  std::vector<RankFailure> told;
  std::set<i64> kept;
  std::atomic<bool> dead = false;
  work.silence_s = 1.2;
  work.start = [&dead] {
    return [&dead](i64, const GoesOn& goes_on) {
      // leave it some
      while (!dead && goes_on()) wait_ms(1);
      return std::string("done");
    };
  };
  work.units = [] { return std::vector<i64>{0, 1, 2, 3, 4, 5, 6, 7}; };
  work.keep = [&](i64 unit, const std::string&) { kept.insert(unit); };
  work.tell = [&](const RankFailure& failure) { told.push_back(failure); };
  std::set<i64> lost;
  std::thread mortal([&] {
    World& world = *worlds[1];
    world.send(0, bytes_of({.kind = Note::Kind::hello, .text = "elsewhere"}));
    world.send(0, bytes_of({.kind = Note::Kind::ready}));
    while (lost.empty()) {
      while (auto message = world.receive()) {
        const Note note = note_from(std::move(message->bytes));
        if (note.kind == Note::Kind::unit) lost.insert(note.unit);
      }
    }
    dead = true;
  });
  EXPECT_TRUE(share_out(*worlds[0], work));
  mortal.join();
  EXPECT_THAT(kept, SizeIs(8));
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].host, "elsewhere");
  EXPECT_TRUE(lost.count(told[0].unit)) << told[0].unit;
  EXPECT_TRUE(told[0].gone);
}

TEST(Share, StoppingDropsWhatIsGoingOn) {
  const Outcome outcome = play({.units = 100,
                                .work =
                                    [](int, i64 unit, const GoesOn& goes_on) {
                                      if (unit < 3) return;
                                      // for ever, were it not for the question
                                      while (goes_on()) wait_ms(1);
                                      fail("dropped");
                                    },
                                .goes_on = [](i64 kept) { return kept < 3; }});
  EXPECT_FALSE(outcome.finished);
  EXPECT_EQ(outcome.error, "");
  EXPECT_THAT(outcome.told, IsEmpty());
  EXPECT_THAT(outcome.kept, SizeIs(3));
}

TEST(Share, WhatKeepingThrowsEndsTheRun) {
  const Outcome outcome = play({.ranks = 3, .keep = [](i64) { fail("the disk is full"); }});
  EXPECT_EQ(outcome.error, "the disk is full");
  EXPECT_THAT(outcome.others, IsEmpty());
}

TEST(Share, RanksThatFailedBeforeTakeNoPart) {
  for (const int broken : {0, 1}) {
    auto worlds = worlds_of_threads(2);
    std::string error;
    i64 kept = 0;
    const auto take_part = [&](int rank) {
      World& world = *worlds[static_cast<std::size_t>(rank)];
      try {
        if (rank == broken) {
          return take_no_part(world, std::make_exception_ptr(Error("no demonstrations")));
        }
        SharedWork work;
        work.start = [] { return [](i64, const GoesOn&) { return std::string(); }; };
        work.units = [] { return std::vector<i64>{0, 1, 2, 3}; };
        work.keep = [&](i64, const std::string&) { ++kept; };
        share_out(world, work);
      } catch (const Error& caught) {
        EXPECT_EQ(rank, 0);
        error = caught.what();
      }
    };
    std::thread other([&] { take_part(1); });
    take_part(0);
    other.join();
    EXPECT_EQ(error, broken == 0 ? "no demonstrations" : "");
    EXPECT_EQ(kept, broken == 0 ? 0 : 4);
  }
}

TEST(Share, NotesComeBackAsTheyWere) {
  const Note note =
      note_from(bytes_of({.kind = Note::Kind::result, .unit = -7, .text = std::string("a\0b", 3)}));
  EXPECT_EQ(note.kind, Note::Kind::result);
  EXPECT_EQ(note.unit, -7);
  EXPECT_EQ(note.text, std::string("a\0b", 3));
  EXPECT_THAT([] { note_from("short"); }, ThrowsMessage<Error>(HasSubstr("none of ours")));
  EXPECT_THAT([] { note_from(std::string(9, '\x7f')); },
              ThrowsMessage<Error>(HasSubstr("none of ours")));
}

}  // namespace
}  // namespace orrery::dist
