#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>

#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/philox.h"
#include "tests/dist/small_training.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"

// `orrery train` as a process of its own, killed without warning and resumed.

namespace orrery {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Resume : public testing::Test {
 protected:
  Resume() {
    record_small_episodes(folder_);
    write_small_configuration(folder_, "config.json",
                              {{"steps", kSteps},
                               {"batch", 4},
                               {"accumulate", 2},
                               {"lr", 1e-3},
                               {"ema_decay", 0.99},
                               {"groups", {{{"match", ".*bias$"}, {"weight_decay", 0.0}}}},
                               {"validation_every", 7},
                               {"checkpoint_every", 3}});
  }

  std::string words(const fs::path& output) const {
    return text("exec " ORRERY_PROGRAM " train --resume --threads 1 --data ",
                (folder_ / "episodes.h5").string(), " --config ",
                (folder_ / "config.json").string(), " --output ", output.string());
  }
  void train(const fs::path& output) const {
    Command command(folder_, words(output));
    ASSERT_EQ(command.wait(), 0) << command.err();
  }

  static bool writes(const fs::path& output) {
    std::error_code gone;  // a file may go while it is looked at
    for (fs::directory_iterator at(output, gone), end; !gone && at != end; at.increment(gone)) {
      if (at->path().extension() == ".tmp") return true;
    }
    return false;
  }

  static i64 newest(const fs::path& output) {
    const auto steps = train::checkpoints_in(output);
    return steps.empty() ? -1 : steps.front();
  }

  // weights bit for bit, the whole of the last checkpoint, and what was measured
  static void expect_same(const fs::path& output, const fs::path& expected) {
    for (const char* name :
         {"weights.safetensors", "weights_best.safetensors", "weights_ema.safetensors",
          "config.json", "statistics.json", "training.json"}) {
      EXPECT_TRUE(read_file(output / name, 1 << 26) == read_file(expected / name, 1 << 26)) << name;
    }
    const auto last = train::read_checkpoint(output / checkpoint_name());
    const auto whole = train::read_checkpoint(expected / checkpoint_name());
    ASSERT_EQ(last.tensors.size(), whole.tensors.size());
    for (const auto& [name, tensor] : whole.tensors) {
      EXPECT_EQ(std::memcmp(tensor.bytes(), last.tensors.at(name).bytes(),
                            static_cast<std::size_t>(tensor.byte_count())),
                0)
          << name;
    }
    EXPECT_EQ(last.notes.at("best"), whole.notes.at("best"));
    EXPECT_EQ(metrics_without_times(output), metrics_without_times(expected));
    EXPECT_FALSE(writes(output)) << "a temporary file was left";
  }
  static std::string checkpoint_name() { return text("checkpoint_", kSteps, ".safetensors"); }
  static std::vector<json> metrics_without_times(const fs::path& output) {
    std::vector<json> lines = metrics_of(output);
    for (json& line : lines) {
      line.erase("seconds");
      line.erase("samples_per_s");
    }
    return lines;
  }

  static constexpr i64 kSteps = 90;
  TestFolder folder_;
};

TEST_F(Resume, FromFiftyKillsToTheSameBits) {
  const fs::path whole = folder_ / "whole", cut = folder_ / "cut";
  const double start = now_s();
  train(whole);
  const double seconds = now_s() - start;

  // delays such that all the kills together let about one run through
  int kills = 0, while_writing = 0, attempts = 0;
  while (kills < ORRERY_KILLS) {
    const u32 draw = philox(5, 0, static_cast<u64>(attempts++))[0];
    Command command(folder_, words(cut));
    const double began = now_s();
    const double delay = 0.02 + 0.1 * seconds * static_cast<double>(draw % 1000) / 1000.0;
    // every third waits until a file is being written
    const bool wait_for_writing = attempts % 3 == 0;
    while (command.running() && now_s() - began < delay) std::this_thread::yield();
    while (wait_for_writing && command.running() && !writes(cut)) std::this_thread::yield();
    const bool running = command.running();
    command.signal(SIGKILL);
    const int status = command.wait();
    if (running && status == -SIGKILL) {
      ++kills;
      while_writing += writes(cut);
      continue;
    }
    // it came to its end before: judged, and begun anew
    ASSERT_EQ(status, 0) << command.err();
    expect_same(cut, whole);
    fs::remove_all(cut);
  }
  EXPECT_GT(while_writing, 0);
  RecordProperty("attempts", attempts);
  RecordProperty("while_writing", while_writing);
  train(cut);
  expect_same(cut, whole);
}

TEST_F(Resume, ARequestToEndIsHeardAfterTheStep) {
  const fs::path whole = folder_ / "whole", cut = folder_ / "cut";
  train(whole);
  for (const int signal : {SIGTERM, SIGINT}) {
    const i64 before = newest(cut);
    Command command(folder_, words(cut));
    while (command.running() && newest(cut) == before) std::this_thread::yield();
    command.signal(signal);
    ASSERT_EQ(command.wait(), 1) << command.err();
    EXPECT_THAT(command.err(), testing::HasSubstr(text("stopped after step ", newest(cut),
                                                       "; the last checkpoint is kept in ")));
  }
  train(cut);
  expect_same(cut, whole);
}

}  // namespace
}  // namespace orrery
