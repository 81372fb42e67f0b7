#include "eval/shared_evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <thread>

#include "base/error.h"

namespace orrery {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

// nothing was played: numbers that tell seed and case
EpisodeRecord record_of(u64 seed, i64 index) {
  EpisodeRecord record;
  record.index = index;
  record.start = {.row = static_cast<i64>(seed) * 100 + index};
  record.steps = 1;
  record.distances = {0.1 + static_cast<double>(index), 1.0 / 3};
  record.states = {{1, 2}, {3, std::numeric_limits<double>::quiet_NaN()}};
  record.actions = {{0.1f, -0.0f}};
  return record;
}

struct Outcome {
  std::map<u64, std::map<i64, i64>> rows;  // start rows by seed and case
  std::vector<std::vector<i64>> groups;    // cases that were kept together
  std::vector<std::string> told;
  std::string error;
  bool finished = false;
};

// By threads; `broken` is a rank that fails.
Outcome play(int ranks, i64 group, const std::set<i64>& known, int broken = -1) {
  Outcome outcome;
  auto worlds = dist::worlds_of_threads(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      SharedEvaluation shared;
      shared.seeds = {42, 7};
      shared.episodes = 11;
      shared.group = [group] { return group; };
      shared.start = [rank, broken]() -> SharedEvaluation::Cases {
        check(rank != broken, "no such data");
        return [](u64 seed, i64 first, i64 count, const dist::GoesOn&) {
          std::vector<EpisodeRecord> records;
          for (i64 i = first; i < first + count; ++i) records.push_back(record_of(seed, i));
          return records;
        };
      };
      shared.known = [&known](u64 seed, i64 index) { return seed == 7 && known.count(index) > 0; };
      shared.keep = [&outcome](u64 seed, const std::vector<EpisodeRecord>& records) {
        std::vector<i64> group_of_cases;
        for (const EpisodeRecord& record : records) {
          EXPECT_TRUE(outcome.rows[seed].emplace(record.index, record.start.row).second);
          group_of_cases.push_back(record.index);
        }
        outcome.groups.push_back(group_of_cases);
      };
      shared.tell = [&outcome](const std::string& sentence) { outcome.told.push_back(sentence); };
      try {
        const bool finished = evaluate_shared(*worlds[static_cast<std::size_t>(rank)], shared);
        if (rank == 0) outcome.finished = finished;
      } catch (const Error& error) {
        EXPECT_EQ(rank, 0);
        outcome.error = error.what();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return outcome;
}

TEST(SharedEvaluate, EveryCaseOfEverySeedIsPlayedOnce) {
  for (const int ranks : {1, 3}) {
    for (const i64 group : {1, 4, 50}) {
      SCOPED_TRACE(text(ranks, " ranks, groups of ", group));
      const Outcome outcome = play(ranks, group, {});
      EXPECT_TRUE(outcome.finished) << outcome.error;
      for (const u64 seed : {u64{42}, u64{7}}) {
        ASSERT_EQ(outcome.rows.at(seed).size(), 11u);
        for (const auto& [index, row] : outcome.rows.at(seed)) {
          EXPECT_EQ(row, static_cast<i64>(seed) * 100 + index);
        }
      }
    }
  }
}

TEST(SharedEvaluate, WhatIsKnownIsLeftOutAndGroupsStayWhereTheyAre) {
  Outcome outcome = play(1, 4, {2, 4, 5, 6, 7});
  EXPECT_TRUE(outcome.finished) << outcome.error;
  ASSERT_EQ(outcome.groups.size(), 6u);
  outcome.groups.erase(outcome.groups.begin(), outcome.groups.begin() + 3);
  EXPECT_THAT(outcome.groups,
              ElementsAre(ElementsAre(0, 1), ElementsAre(3), ElementsAre(8, 9, 10)));
}

TEST(SharedEvaluate, ARankWithoutDataIsLeftOut) {
  const Outcome outcome = play(2, 4, {}, /*broken=*/1);
  EXPECT_TRUE(outcome.finished) << outcome.error;
  EXPECT_EQ(outcome.rows.at(7).size(), 11u);
  // it may be too late to matter
  for (const std::string& sentence : outcome.told) EXPECT_THAT(sentence, HasSubstr("no such data"));
}

TEST(SharedEvaluate, GroupsLetEveryRankHaveSome) {
  EXPECT_EQ(group_for_ranks(50, 2, 8), 6);
  EXPECT_EQ(group_for_ranks(500, 2, 8), 8);
  EXPECT_EQ(group_for_ranks(500, 2, 0), 62);
  EXPECT_EQ(group_for_ranks(3, 16, 8), 1);
}

TEST(SharedEvaluate, RecordsTravelWithTheirPictures) {
  EpisodeRecord record = record_of(42, 3);
  record.success = true;
  record.film = {Image{2, 1, {1, 2, 3, 4, 5, 255}}, Image{1, 1, {0, 7, 9}}};
  record.goal = Image{1, 1, {8, 8, 8}};
  record.plans.push_back({.step = 0, .plan_ms = 1.5, .cost = 0.1, .nearest = {4, 0, 1000000}});
  const std::string bytes = packed_records({record, record_of(42, 4)});
  const auto back = records_from_packed(bytes);
  ASSERT_EQ(back.size(), 2u);
  EXPECT_EQ(back[0].index, 3);
  EXPECT_TRUE(back[0].success);
  EXPECT_EQ(back[0].distances, record.distances);
  EXPECT_TRUE(std::isnan(back[0].states[1][1]));
  EXPECT_TRUE(std::signbit(back[0].actions[0][1]));
  ASSERT_EQ(back[0].film.size(), 2u);
  EXPECT_EQ(back[0].film[0].height, 2);
  EXPECT_EQ(back[0].film[0].rgb, record.film[0].rgb);
  EXPECT_EQ(back[0].goal.rgb, record.goal.rgb);
  EXPECT_EQ(back[0].plans[0].nearest, record.plans[0].nearest);
  EXPECT_THAT(back[1].film, IsEmpty());

  // whatever is cut off or changed is found out, or is another record; never more than that
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    EXPECT_THROW(records_from_packed(bytes.substr(0, at)), Error) << at;
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    try {
      records_from_packed(damaged);
    } catch (const Error&) {
    }
  }
  EXPECT_THAT([] { records_from_packed(std::string(1, '\xf6')); },
              ThrowsMessage<Error>(HasSubstr("no records")));
}

}  // namespace
}  // namespace orrery
