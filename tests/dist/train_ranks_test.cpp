#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/atomic_file.h"
#include "base/error.h"
#include "device/context.h"
#include "tests/dist/small_training.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"

// `mpirun -n N orrery train`

namespace orrery {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

class RanksTrain : public testing::Test {
 protected:
  void SetUp() override {
#ifndef ORRERY_MPIRUN
    GTEST_SKIP() << "this build has no MPI, or no mpiexec was found";
#endif
    record_small_episodes(folder_);
    configure("config.json", 40);
  }

  void configure(const std::string& name, i64 steps) const {
    write_small_configuration(folder_, name,
                              {{"steps", steps},
                               {"batch", 5},
                               {"lr", 1e-4},
                               {"initialization", "scaled"},
                               {"ema_decay", 0.9},
                               {"validation_every", 20},
                               {"checkpoint_every", 5}});
  }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string train(const std::string& output, const std::string& more = {},
                    const std::string& config = "config.json") const {
    return text(ORRERY_PROGRAM " train --resume --threads 1 --data ", at("episodes.h5"),
                " --config ", at(config), " --output ", at(output), " ", more);
  }
  void must_do(const std::string& words) const {
    Command command(folder_, words);
    ASSERT_EQ(command.wait(), 0) << words << "\n" << command.err();
  }
  static int count_of(const std::string& part, const std::string& in) {
    int count = 0;
    for (auto found = in.find(part); found != std::string::npos; found = in.find(part, found + 1)) {
      ++count;
    }
    return count;
  }

  std::vector<json> metrics(const std::string& output) const {
    return metrics_of(folder_ / output);
  }

  // The command in a shell of every rank; one notes its process id.
  std::string noting(int rank, const std::string& words) const {
    return text("sh -c 'test $OMPI_COMM_WORLD_RANK = ", rank, " && echo $$ > ", at("pid"),
                "; exec ", words, "'");
  }
  // kills the rank that noted itself once the run has a checkpoint
  void kill_when_saved(Command& command, const std::string& output) const {
    while (command.running() && train::checkpoints_in(folder_ / output).empty()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_TRUE(command.running()) << command.err();
    ASSERT_EQ(::kill(std::stoi(read_file(folder_ / "pid", 100)), SIGKILL), 0);
  }
  // the last checkpoint is whole, and another number of ranks comes to the end from it
  void expect_to_go_on(const std::string& words, const std::string& output) const {
    const auto steps = train::checkpoints_in(folder_ / output);
    ASSERT_FALSE(steps.empty());
    EXPECT_LT(steps.front(), kLong);
    EXPECT_NO_THROW(train::read_checkpoint(folder_ / output /
                                           text("checkpoint_", steps.front(), ".safetensors")));
    must_do(words);
    EXPECT_EQ(train::checkpoints_in(folder_ / output).front(), kLong);
    EXPECT_EQ(metrics(output).back().at("step"), kLong);
  }

  static constexpr i64 kLong = 100;
  TestFolder folder_;
};

TEST_F(RanksTrain, ARunLearnsWhatOneProcessDoes) {
  must_do(train("alone"));
  const auto alone = metrics("alone");
  for (const int ranks : {2, 3}) {
    SCOPED_TRACE(text(ranks, " ranks"));
    const std::string output = text("shared-", ranks);
    Command command(folder_, on_ranks(ranks) + train(output, "--json"));
    ASSERT_EQ(command.wait(), 0) << command.err();
    // once, by rank 0
    EXPECT_THAT(command.out(), testing::MatchesRegex("\\{[^\n]*\\}\n"));
    EXPECT_THAT(command.out(), HasSubstr(text("\"ranks\":", ranks)));
    const auto shared = metrics(output);
    ASSERT_EQ(shared.size(), alone.size());
    for (std::size_t i = 0; i < alone.size(); ++i) {
      ASSERT_EQ(shared[i].at("step"), alone[i].at("step"));
      if (!alone[i].contains("total")) continue;
      // rounding, 1e-6 of SIGReg at the first step; it grows as AdamW divides by the size of
      // gradients
      const double tolerance = alone[i].at("step") == 1 ? 5e-6 : 2e-3;
      for (const char* term : {"prediction", "sigreg", "total"}) {
        EXPECT_NEAR(shared[i].at(term).get<double>(), alone[i].at(term).get<double>(), tolerance)
            << term << " of step " << alone[i].at("step");
      }
    }
    for (const char* name : {"weights.safetensors", "config.json", "statistics.json"}) {
      EXPECT_EQ(fs::file_size(folder_ / output / name), fs::file_size(folder_ / "alone" / name))
          << name;
    }
  }
}

// A device that the ranks share, so that they add up through MPI: as one rank on it, and on a CPU.
TEST_F(RanksTrain, OnADeviceTheyLearnWhatOneProcessDoes) {
  std::string reason;
  if (cuda_facts(&reason).empty()) GTEST_SKIP() << "needs a CUDA device: " << reason;
  configure("short.json", 3);
  must_do(train("alone", {}, "short.json"));
  const auto alone = metrics("alone");
  const std::string words = train("shared", "--device cuda --rank-sums host --json", "short.json");
  Command command(folder_, on_ranks(2) + words);
  ASSERT_EQ(command.wait(), 0) << command.err();
  EXPECT_THAT(command.out(), HasSubstr("\"ranks\":2"));
  EXPECT_THAT(command.out(), HasSubstr("\"device\":\"cuda\""));
  const auto shared = metrics("shared");
  ASSERT_EQ(shared.size(), alone.size());
  for (std::size_t i = 0; i < alone.size(); ++i) {
    if (!alone[i].contains("total")) continue;
    // as between ranks of a CPU
    const double tolerance = alone[i].at("step") == 1 ? 5e-6 : 2e-3;
    EXPECT_NEAR(shared[i].at("total").get<double>(), alone[i].at("total").get<double>(), tolerance)
        << "step " << alone[i].at("step");
  }
}

TEST_F(RanksTrain, StoppedAndGoneOnWithIsTheSameRun) {
  must_do(on_ranks(2) + train("whole"));
  Command first(folder_, on_ranks(2) + noting(0, train("cut")));
  kill_when_saved(first, "cut");
  EXPECT_NE(first.wait(), 0);
  must_do(on_ranks(2) + train("cut"));
  EXPECT_TRUE(read_file(folder_ / "cut/weights.safetensors", 1 << 26) ==
              read_file(folder_ / "whole/weights.safetensors", 1 << 26));
}

// mpirun is told to let the others live: they end by themselves
TEST_F(RanksTrain, WithoutOneOfThemTheOthersEnd) {
  configure("long.json", kLong);
  const std::string words = train("lost", "--rank-silence 2", "long.json");
  Command command(folder_, on_ranks(3, "--enable-recovery") + noting(1, words));
  kill_when_saved(command, "lost");
  command.wait();
  EXPECT_THAT(command.err(), HasSubstr("orrery: rank 1 on "));
  EXPECT_THAT(command.err(), HasSubstr("has said nothing for "));
  EXPECT_EQ(count_of("orrery: ", command.err()), 1) << command.err();
  expect_to_go_on(train("lost", {}, "long.json"), "lost");
}

TEST_F(RanksTrain, WithoutTheFirstTheOthersEnd) {
  configure("long.json", kLong);
  const std::string words = train("leaderless", "--rank-silence 0.5", "long.json");
  Command command(folder_, on_ranks(2, "--enable-recovery") + noting(0, words));
  kill_when_saved(command, "leaderless");
  command.wait();
  EXPECT_THAT(command.err(), HasSubstr("orrery: rank 1 on "));
  EXPECT_THAT(command.err(), HasSubstr("ends: rank 0 has said nothing for "));
  expect_to_go_on(train("leaderless", {}, "long.json"), "leaderless");
}

// mpirun, on its own, ends the job
TEST_F(RanksTrain, AJobThatIsKilledGoesOnWithAnotherNumberOfRanks) {
  configure("long.json", kLong);
  {
    Command command(folder_, on_ranks(2) + noting(1, train("killed", {}, "long.json")));
    kill_when_saved(command, "killed");
    EXPECT_NE(command.wait(), 0);
    EXPECT_THAT(command.err(), HasSubstr("signal 9"));
  }
  expect_to_go_on(on_ranks(3) + train("killed", {}, "long.json"), "killed");
}

TEST_F(RanksTrain, WhatOneRankLacksIsSaidOnce) {
  fs::create_symlink(folder_ / "episodes.h5", folder_ / "0.h5");
  Command command(folder_, on_ranks(2) + "sh -c 'exec " +
                               text(ORRERY_PROGRAM " train --data ", at("$OMPI_COMM_WORLD_RANK.h5"),
                                    " --config ", at("config.json"), " --output ", at("x"), "'"));
  EXPECT_NE(command.wait(), 0);
  EXPECT_EQ(count_of("orrery: ", command.err()), 1) << command.err();
  EXPECT_THAT(command.err(), HasSubstr("orrery: rank 1 on "));
  EXPECT_THAT(command.err(), HasSubstr("1.h5"));
}

TEST_F(RanksTrain, RanksOfDifferentRunsAreToldApart) {
  Command command(folder_, on_ranks(2) + "sh -c 'exec " +
                               train("x", "--seed $((7 + OMPI_COMM_WORLD_RANK))") + "'");
  EXPECT_NE(command.wait(), 0);
  EXPECT_THAT(command.err(), HasSubstr("rank 1 was started for another run than rank 0: "));
  EXPECT_THAT(command.err(), HasSubstr("training.seed was 7 and is 8"));
}

}  // namespace
}  // namespace orrery
