#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/atomic_file.h"
#include "base/error.h"
#include "tests/dist/command.h"

namespace orrery {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

class Ranks : public testing::Test {
 protected:
  void SetUp() override {
#ifndef ORRERY_MPIRUN
    GTEST_SKIP() << "this build has no MPI, or no mpiexec was found";
#endif
  }

  std::string bytes(const std::string& name) const { return read_file(folder_ / name, 1 << 28); }

  std::string record(const std::string& name, int episodes,
                     const std::string& more = "--policy mixed") const {
    return text(ORRERY_PROGRAM " record --seed 11 --image-size 48 --episodes ", episodes,
                " --output ", (folder_ / name).string(), " ", more);
  }

  // its error output when it does not end well
  void must_do(const std::string& words) const {
    Command command(folder_, words);
    ASSERT_EQ(command.wait(), 0) << words << "\n" << command.err();
  }

  // Until as many parts of a recording are there; false when the command ends before.
  bool wait_for_parts(Command& command, const std::string& name, int parts) const {
    while (command.running()) {
      int found = 0;
      std::error_code none;
      for (const auto& entry :
           std::filesystem::directory_iterator(folder_ / (name + ".parts"), none)) {
        found += entry.path().extension() == ".part";
      }
      if (found >= parts) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }

  // The command in a shell of every rank; rank 1 notes its process id.
  std::string noting_rank_1(const std::string& words) const {
    return text("sh -c 'test $OMPI_COMM_WORLD_RANK = 1 && echo $$ > ", (folder_ / "pid").string(),
                "; exec ", words, "'");
  }
  void kill_rank_1() const { ASSERT_EQ(::kill(std::stoi(bytes("pid")), SIGKILL), 0); }

  TestFolder folder_;
};

TEST_F(Ranks, ARecordingHasTheSameBytes) {
  must_do(record("alone.h5", 40));
  for (const int ranks : {2, 3}) {
    Command command(folder_, on_ranks(ranks) + record("shared.h5", 40, "--policy mixed --json"));
    ASSERT_EQ(command.wait(), 0) << command.err();
    // once, by rank 0
    EXPECT_THAT(command.out(), MatchesRegex("\\{[^{]*\\}\n"));
    EXPECT_THAT(command.out(), HasSubstr(text("\"ranks\":", ranks)));
    EXPECT_TRUE(bytes("shared.h5") == bytes("alone.h5")) << ranks << " ranks";
    EXPECT_FALSE(std::filesystem::exists(folder_ / "shared.h5.parts"));
  }
}

TEST_F(Ranks, MisuseAndErrorsAreSaidOnce) {
  Command misuse(folder_, on_ranks(2) + ORRERY_PROGRAM " record --outptu x.h5");
  EXPECT_EQ(misuse.wait(), 2);
  const auto said = misuse.err().find("--output is required");
  EXPECT_NE(said, std::string::npos);
  EXPECT_EQ(misuse.err().find("--output is required", said + 1), std::string::npos);

  Command error(folder_, on_ranks(2) + record("x.h5", 8, "--policy lucky"));
  EXPECT_NE(error.wait(), 0);
  EXPECT_THAT(error.err(), HasSubstr("lucky"));
  const auto first = error.err().find("orrery: ");
  EXPECT_EQ(error.err().find("orrery: ", first + 1), std::string::npos) << error.err();
}

TEST_F(Ranks, ARankThatCannotWorkIsToldOfAndTheOthersDoItsPart) {
  must_do(record("shown-0.h5", 3, "--env pusht --policy weak --max-steps 30"));
  const std::string replay = "--env pusht --policy replay --demonstrations ";
  const auto shown = [&](const std::string& rank) {
    return (folder_ / ("shown-" + rank + ".h5")).string();
  };
  must_do(record("alone.h5", 12, replay + shown("0")));
  // a file that one machine lacks
  Command command(
      folder_, on_ranks(3) + "sh -c 'exec " +
                   record("shared.h5", 12, replay + shown("$((OMPI_COMM_WORLD_RANK / 2))")) + "'");
  ASSERT_EQ(command.wait(), 0) << command.err();
  EXPECT_THAT(command.err(), HasSubstr("orrery: rank 2 on "));
  EXPECT_THAT(command.err(), HasSubstr("is given no more work: "));
  EXPECT_THAT(command.err(), HasSubstr("shown-1.h5"));
  EXPECT_TRUE(bytes("shared.h5") == bytes("alone.h5"));
}

// mpirun is told to let the others live
TEST_F(Ranks, ARankThatIsKilledIsToldOfAndItsEpisodesAreDoneByOthers) {
  must_do(record("alone.h5", 400));
  Command command(folder_,
                  on_ranks(2, "--enable-recovery") +
                      noting_rank_1(record("shared.h5", 400, "--policy mixed --rank-silence 3")));
  ASSERT_TRUE(wait_for_parts(command, "shared.h5", 2)) << command.err();
  kill_rank_1();
  ASSERT_EQ(command.wait(), 0) << command.err();
  EXPECT_THAT(command.err(), HasSubstr("orrery: rank 1 on "));
  EXPECT_THAT(command.err(), HasSubstr("is given no more work at episodes "));
  EXPECT_THAT(command.err(), HasSubstr("it has said nothing for "));
  EXPECT_THAT(command.err(), HasSubstr("will be done again by another rank"));
  EXPECT_TRUE(bytes("shared.h5") == bytes("alone.h5"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "shared.h5.parts"));
}

// mpirun, on its own, ends the job; what was recorded is there for the next
TEST_F(Ranks, AJobThatIsKilledGoesOnWhereItWas) {
  must_do(record("alone.h5", 400));
  const std::string again = on_ranks(2) + noting_rank_1(record("shared.h5", 400));
  {
    Command command(folder_, again);
    ASSERT_TRUE(wait_for_parts(command, "shared.h5", 2)) << command.err();
    kill_rank_1();
    EXPECT_NE(command.wait(), 0);
    EXPECT_THAT(command.err(), HasSubstr("signal 9"));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "shared.h5"));
  }
  Command command(folder_, again);
  ASSERT_EQ(command.wait(), 0) << command.err();
  EXPECT_THAT(command.err(), HasSubstr("of 400 episodes are there already, in "));
  EXPECT_TRUE(bytes("shared.h5") == bytes("alone.h5"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "shared.h5.parts"));
}

// what an evaluation found, but for how long it took and on how many ranks
nlohmann::json without_times(const nlohmann::json& value) {
  nlohmann::json result = value;
  if (value.is_object()) {
    for (const char* key : {"ms", "plan_ms", "seconds", "ranks"}) result.erase(key);
  }
  if (value.is_structured()) {
    for (auto& one : result) one = without_times(one);
  }
  return result;
}

class RanksEval : public Ranks {
 protected:
  // the shipped model, planning in a hurry
  std::string eval(const std::string& name, const std::string& more = {},
                   const std::string& size = "--episodes 9 --seed 3 8 --record-episodes 25") const {
    return text(ORRERY_PROGRAM
                " eval --env tworoom --model " ORRERY_SOURCE_DIR
                "/models/tworoom --samples 30 --elites 5 --iterations 3 --table --trace --output ",
                (folder_ / name).string(), " ", size, " ", more);
  }
  nlohmann::json found(const std::string& name) const {
    return without_times(nlohmann::json::parse(bytes(name)));
  }
};

TEST_F(RanksEval, AnEvaluationFindsTheSame) {
  must_do(eval("alone.json"));
  Command command(folder_, on_ranks(2) + eval("shared.json"));
  ASSERT_EQ(command.wait(), 0) << command.err();
  EXPECT_EQ(found("shared.json"), found("alone.json"));
  EXPECT_EQ(found("shared.json").at("runs").size(), 2u);
  // once, by rank 0
  EXPECT_EQ(command.out().find("seed 3: "), command.out().rfind("seed 3: "));
}

TEST_F(RanksEval, ARankThatIsKilledIsToldOfAndItsEpisodesArePlayedByOthers) {
  must_do(eval("alone.json"));
  Command command(folder_, on_ranks(2, "--enable-recovery") +
                               noting_rank_1(eval("shared.json", "--rank-silence 2 --resume " +
                                                                     (folder_ / "kept").string())));
  while (command.running() && !std::filesystem::exists(folder_ / "kept")) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  kill_rank_1();
  ASSERT_EQ(command.wait(), 0) << command.err();
  EXPECT_EQ(found("shared.json"), found("alone.json"));
  // with one group in its hands, or none when it had just finished
  if (command.err().find("rank 1 on ") != std::string::npos) {
    EXPECT_THAT(command.err(), HasSubstr("it has said nothing for "));
  }
}

TEST_F(RanksEval, AJobThatIsKilledGoesOnWhereItWas) {
  must_do(eval("alone.json"));
  const std::string again =
      on_ranks(2) + noting_rank_1(eval("shared.json", "--resume " + (folder_ / "kept").string()));
  {
    Command command(folder_, again);
    while (command.running() && !std::filesystem::exists(folder_ / "kept")) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    kill_rank_1();
    command.wait();
  }
  const auto kept = nlohmann::json::parse(bytes("kept"));
  Command command(folder_, again);
  ASSERT_EQ(command.wait(), 0) << command.err();
  EXPECT_EQ(found("shared.json"), found("alone.json"));
  // what was kept was not played again: its times are those of the first run
  const auto after = nlohmann::json::parse(bytes("kept"));
  for (const auto& [seed, records] : kept.at("seeds").items()) {
    for (const auto& record : records) {
      EXPECT_THAT(after.at("seeds").at(seed), testing::Contains(record));
    }
  }
}

// the page has films, which travel too
TEST_F(RanksEval, AReportShowsEveryEpisode) {
  const std::string size = "--episodes 4 --record-episodes 8 --goal-offset 10";
  const auto with_page = [&](const std::string& name) {
    return eval(name + ".json", "--report " + (folder_ / (name + ".html")).string(), size);
  };
  must_do(with_page("alone"));
  must_do(on_ranks(2) + with_page("shared"));
  const auto films = [](const std::string& page) {
    std::size_t count = 0;
    for (auto at = page.find("data:image/"); at != std::string::npos;
         at = page.find("data:image/", at + 1)) {
      ++count;
    }
    return count;
  };
  EXPECT_EQ(films(bytes("shared.html")), films(bytes("alone.html")));
  EXPECT_GE(films(bytes("shared.html")), 4u);
}

// without mpirun nothing of MPI is begun, whatever the build has
TEST(OneProcess, IsAloneAndTellsWhatTheBuildHas) {
  const TestFolder folder;
  Command command(folder, ORRERY_PROGRAM " info --json");
  ASSERT_EQ(command.wait(), 0) << command.err();
#ifdef ORRERY_MPI
  EXPECT_THAT(command.out(), HasSubstr("\"mpi\": \"Open MPI"));
#else
  EXPECT_THAT(command.out(), HasSubstr("\"mpi\": \"no\""));
#endif
}

}  // namespace
}  // namespace orrery
