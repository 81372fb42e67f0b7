#include "dist/lockstep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <map>
#include <mutex>
#include <thread>

#include "base/error.h"

namespace orrery::dist {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

struct Outcome {
  std::map<int, bool> ended_well;
  std::map<int, std::string> errors;
};

// One thread a rank; `absent` is a rank that never says anything.
Outcome play(int ranks, const std::function<void(Lockstep&)>& work, double silence_s = 30,
             int absent = -1) {
  Outcome outcome;
  std::mutex mutex;
  auto worlds = worlds_of_threads(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    if (rank == absent) continue;
    threads.emplace_back([&, rank] {
      bool well = false;
      std::string error;
      try {
        well = in_lockstep(*worlds[static_cast<std::size_t>(rank)], {.silence_s = silence_s}, work);
      } catch (const std::exception& thrown) {
        error = thrown.what();
      }
      const std::lock_guard lock(mutex);
      outcome.ended_well[rank] = well;
      if (!error.empty()) outcome.errors[rank] = error;
    });
  }
  for (auto& thread : threads) thread.join();
  return outcome;
}

void expect_well(const Outcome& outcome, int ranks) {
  EXPECT_EQ(static_cast<int>(outcome.ended_well.size()), ranks);
  for (const auto& [rank, well] : outcome.ended_well) EXPECT_TRUE(well) << "rank " << rank;
  for (const auto& [rank, error] : outcome.errors)
    ADD_FAILURE() << "rank " << rank << ": " << error;
}

// thirds and sevenths: sums of them depend on the order
template <typename T>
T value_of(int rank, std::size_t i) {
  return static_cast<T>(static_cast<double>(i % 1000 + 1) / (3.0 + 4.0 * rank));
}

template <typename T>
void expect_sums(int ranks, std::size_t count) {
  std::vector<T> expected(count);
  for (std::size_t i = 0; i < count; ++i) {
    double total = 0;
    for (int rank = 0; rank < ranks; ++rank) total += static_cast<double>(value_of<T>(rank, i));
    expected[i] = static_cast<T>(total);
  }
  std::mutex mutex;
  const Outcome outcome = play(ranks, [&](Lockstep& lockstep) {
    std::vector<T> values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = value_of<T>(lockstep.rank(), i);
    lockstep.sum(std::span<T>(values));
    const std::lock_guard lock(mutex);
    // to the last bit, on every rank
    EXPECT_TRUE(values == expected) << ranks << " ranks, " << count << " values";
  });
  expect_well(outcome, ranks);
}

TEST(Lockstep, SumsAreTakenInTheOrderOfRanks) {
  for (const int ranks : {1, 2, 3, 5}) {
    // one way and there and back, a part without values, more than one round
    for (const std::size_t count :
         {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{40001}}) {
      expect_sums<float>(ranks, count);
      expect_sums<double>(ranks, count);
    }
  }
  expect_sums<float>(2, (std::size_t{1} << 21) + 3);
}

TEST(Lockstep, ManyCallsInARowStayInOrder) {
  const Outcome outcome = play(3, [](Lockstep& lockstep) {
    for (int round = 0; round < 200; ++round) {
      // the ranks come at different times
      if (round % 3 == lockstep.rank()) std::this_thread::yield();
      double value = round + lockstep.rank();
      lockstep.sum(std::span<double>(&value, 1));
      check(value == 3 * round + 3, "round ", round, " came to ", value);
      int number = lockstep.rank() == 0 ? round : -1;
      lockstep.take_from_rank_0(std::as_writable_bytes(std::span<int>(&number, 1)));
      check(number == round, "round ", round, " was told ", number);
    }
  });
  expect_well(outcome, 3);
}

TEST(Lockstep, EveryRankIsHeardByAll) {
  std::mutex mutex;
  const Outcome outcome = play(3, [&](Lockstep& lockstep) {
    const auto all = lockstep.gather(text("rank ", lockstep.rank()));
    const bool some = lockstep.any(lockstep.rank() == 1), none = lockstep.any(false);
    lockstep.must_agree("the answer", "42");
    const std::lock_guard lock(mutex);
    EXPECT_THAT(all, ElementsAre("rank 0", "rank 1", "rank 2"));
    EXPECT_TRUE(some);
    EXPECT_FALSE(none);
  });
  expect_well(outcome, 3);
}

TEST(Lockstep, WhoDiffersIsNamed) {
  const Outcome outcome = play(3, [](Lockstep& lockstep) {
    lockstep.must_agree("the weights", lockstep.rank() == 2 ? "b" : "a");
  });
  EXPECT_THAT(outcome.errors.at(0),
              AllOf(HasSubstr("rank 2 on "), HasSubstr(" does not have the weights of rank 0 on "),
                    HasSubstr(": b is not a")));
  EXPECT_EQ(outcome.errors.size(), 1u);  // said once
  for (const auto& [rank, well] : outcome.ended_well) EXPECT_FALSE(well) << rank;
}

TEST(Lockstep, AFailureEndsTheWorkForAllAndIsSaidByRank0) {
  for (const int failing : {0, 1, 2}) {
    std::mutex mutex;
    int left = 0;
    const Outcome outcome = play(3, [&](Lockstep& lockstep) {
      try {
        float value = 1;
        lockstep.sum(std::span<float>(&value, 1));
        check(lockstep.rank() != failing, "the disk is full");
        lockstep.sum(std::span<float>(&value, 1));
        ADD_FAILURE() << "nobody comes to this";
      } catch (...) {
        const std::lock_guard lock(mutex);
        ++left;
        throw;
      }
    });
    EXPECT_EQ(left, 3);
    ASSERT_EQ(outcome.errors.size(), 1u);
    if (failing == 0) {
      EXPECT_EQ(outcome.errors.at(0), "the disk is full");
    } else {
      EXPECT_THAT(outcome.errors.at(0), AllOf(HasSubstr(text("rank ", failing, " on ")),
                                              HasSubstr(": the disk is full")));
    }
    for (const auto& [rank, well] : outcome.ended_well) EXPECT_FALSE(well) << rank;
  }
}

TEST(Lockstep, ASilentRankEndsTheWork) {
  const auto work = [](Lockstep& lockstep) {
    float value = 1;
    lockstep.sum(std::span<float>(&value, 1));
  };
  const Outcome outcome = play(3, work, 1.5, 2);
  EXPECT_EQ(outcome.errors.size(), 1u);
  EXPECT_THAT(outcome.errors.at(0), AllOf(HasSubstr("rank 2 on "), HasSubstr("said nothing for ")));
  EXPECT_FALSE(outcome.ended_well.at(1));

  // nobody is left to speak for the others
  const Outcome leaderless = play(3, work, 0.5, 0);
  EXPECT_EQ(leaderless.errors.size(), 2u);
  EXPECT_THAT(leaderless.errors.at(1), HasSubstr("rank 0 has said nothing for "));
}

// a rank lives on while its work takes longer than any silence
TEST(Lockstep, LongWorkIsNotSilence) {
  const Outcome outcome = play(
      2,
      [](Lockstep& lockstep) {
        if (lockstep.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(2500));
        float value = 1;
        lockstep.sum(std::span<float>(&value, 1));
      },
      1.5);
  expect_well(outcome, 2);
}

TEST(Lockstep, WorkThatDiffersIsAnError) {
  const Outcome outcome = play(2, [](Lockstep& lockstep) {
    std::vector<float> values(static_cast<std::size_t>(3 + lockstep.rank()));
    lockstep.sum(std::span<float>(values));
  });
  EXPECT_THAT(outcome.errors.at(0), HasSubstr("not at the same work"));
}

}  // namespace
}  // namespace orrery::dist
