#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "bench/results.h"
#include "models/lewm/weights.h"
#include "ops/test_support.h"

namespace orrery::bench {
namespace {

// one figure of known size and results
Report known_report() {
  Report report;
  report.machine = {"a machine, 2 cores", "a compiler", "abc", "AVX2", 2};
  report.limits = {100e9, 10e9, 8e9};
  report.results = {{"encode/1", {2.0, 1.5, 15}, {100e6, 1e6}, {}},
                    {"copy", {1.0, 1.0, 15}, {0, 5e6}, {}},
                    {"tworoom/step", {1e-4, 1e-4, 15}, {}, {}}};
  return report;
}

TEST(Measure, TakesAsManyRunsAsAskedFor) {
  i64 calls = 0;
  const Timing timing = measure([&] { ++calls; }, 3);
  EXPECT_EQ(timing.runs, 3);
  EXPECT_GT(calls, 3) << "short work is called several times a run";
  EXPECT_LE(timing.min_ms, timing.median_ms);
}

TEST(Work, OfTheFullEncoderByHand) {
  // 256 patches of 588 numbers to 192; 11 blocks of 257 tokens, of the last keys and values of all
  // and the rest of CLS alone; 192 x 2048 x 192 once
  const double block = 2.0 * 257 * 192 * (3 * 192) + 4.0 * 257 * 257 * 192 + 2.0 * 257 * 192 * 192 +
                       2 * 2.0 * 257 * 192 * 768;
  const double last =
      2.0 * 257 * 192 * (3 * 192) + 4.0 * 257 * 192 + 2.0 * 192 * 192 + 2 * 2.0 * 192 * 768;
  const double whole = 2.0 * 256 * 588 * 192 + 11 * block + last + 2 * 2.0 * 192 * 2048;
  EXPECT_DOUBLE_EQ(encode_work(lewm::Config{}, 1).flops, whole);
  EXPECT_DOUBLE_EQ(encode_work(lewm::Config{}, 8).flops, 8 * whole);
}

TEST(Work, ReadsEveryWeightOfTheFullModelOnce) {
  // what is left are biases, norms, positions and CLS: a hundredth
  const lewm::Config config;
  const double weights = encode_work(config, 1).bytes + rollout_work(config, 1, 1).bytes;
  const double all = 4.0 * static_cast<double>(lewm::layout_of(config).parameters);
  EXPECT_GT(weights, 0.985 * all);
  EXPECT_LT(weights, 1.005 * all);  // and a frame of 0.15 MB
}

TEST(Work, OfARolloutIsThatOfItsWindows) {
  // one block is one frame predicted: no savings to count
  const lewm::Config config;
  EXPECT_DOUBLE_EQ(rollout_work(config, 7, 1).flops, predict_work(config, 7, 1).flops);
  // five blocks cost less than five windows of three
  EXPECT_LT(rollout_work(config, 7, 5).flops, 5 * predict_work(config, 7, 3).flops);
}

TEST(Results, ShareIsOfTheLimitThatBinds) {
  const Report report = known_report();
  const Share compute = share_of(report.results[0], report.limits);
  EXPECT_STREQ(compute.limit, "f32 peak");
  EXPECT_DOUBLE_EQ(compute.share, 0.5);  // 1 ms of multiply-adds in 2 ms
  const Share memory = share_of(report.results[1], report.limits);
  EXPECT_STREQ(memory.limit, "bandwidth");
  EXPECT_DOUBLE_EQ(memory.share, 0.5);
  EXPECT_EQ(share_of(report.results[2], report.limits).limit, nullptr);
}

TEST(Results, ReducedPrecisionIsHeldToTheRateOfTheDevicesLibrary) {
  const Result bf16{"encode/256/bf16", {2.0, 2.0, 15}, {100e9, 1e6}, {}};
  Limits limits{60e12, 3e12, 0};
  EXPECT_STREQ(share_of(bf16, limits).limit, "bandwidth") << "nobody measured the rate";
  limits.tensor_flops_per_s = 200e12;
  EXPECT_STREQ(share_of(bf16, limits).limit, "bf16 rate");
  EXPECT_DOUBLE_EQ(share_of(bf16, limits).share, 0.25);  // 0.5 ms of products in 2 ms
  const Result f32{"encode/256/f32", {2.0, 2.0, 15}, {60e9, 1e6}, {}};
  EXPECT_STREQ(share_of(f32, limits).limit, "f32 peak");
  EXPECT_DOUBLE_EQ(share_of(f32, limits).share, 0.5);
}

TEST(Results, TheRateOfTheLibraryIsReadFromItsMeasurement) {
  const auto path = std::filesystem::temp_directory_path() / text("orrery-limits-", getpid());
  std::ofstream(path) << R"({"device": "x", "bf16_gemm_tflops": 790.5, "shapes": []})";
  Report report = known_report();
  add_limits(path, report);
  EXPECT_DOUBLE_EQ(report.limits.tensor_flops_per_s, 790.5e12);
  const Report back = report_from_json(nlohmann::json::parse(json_of(report).dump()), "test");
  EXPECT_DOUBLE_EQ(back.limits.tensor_flops_per_s, 790.5e12);
  std::ofstream(path) << R"({"device": "x"})";
  EXPECT_THROW(add_limits(path, report), Error);
  std::filesystem::remove(path);
}

TEST(Results, WhatADeviceLostIsToldAndTheWorstRoundCounts) {
  Report one = known_report();
  one.results[0].device_bytes = 5'000'000;
  Report two = one;
  two.results[0].device_growth_bytes = 2'000'000;
  const Report all = merged({one, two});
  const auto json = json_of(all, all.results[0]);
  EXPECT_EQ(json["device_bytes"], 5'000'000);
  EXPECT_EQ(json["device_growth_bytes"], 2'000'000);
  EXPECT_FALSE(json_of(all, all.results[1]).contains("device_bytes"));
  EXPECT_NE(table_of(all).find("5 MB"), std::string::npos);
  EXPECT_EQ(table_of(known_report()).find("growth"), std::string::npos);
}

TEST(Results, ReadBackAsWritten) {
  Report report = known_report();
  report.results[0].peers = {{"torch f32", 3.0}};
  const auto json = json_of(report);
  EXPECT_EQ(json_of(report_from_json(nlohmann::json::parse(json.dump()), "test")), json);
  EXPECT_THROW(report_from_json(nlohmann::json::parse(R"({"figures": [{}]})"), "test"), Error);
}

TEST(Results, RoundsMergeToTheMedianOfMedians) {
  const Report one = known_report();
  Report two = one;
  two.limits.flops_per_s = 200e9;
  two.results[0].timing = {4.0, 1.0, 10};
  const Report all = merged({one, two});
  EXPECT_DOUBLE_EQ(all.results[0].timing.median_ms, 3.0);
  EXPECT_DOUBLE_EQ(all.results[0].timing.min_ms, 1.0);
  EXPECT_EQ(all.results[0].timing.runs, 25);
  EXPECT_DOUBLE_EQ(all.limits.flops_per_s, 200e9);
  two.machine.commit = "def";
  EXPECT_THROW(merged({one, two}), Error);
  two = one;
  two.results.pop_back();
  EXPECT_THROW(merged({one, two}), Error);
}

TEST(Results, PeersAreThoseThatDidAllParts) {
  const std::vector<Figure> figures = {
      {"encode/1", {}, {{"encode 1 frame"}}},
      {"copy", {}, {{"rollout", 30}, {"encode 1 frame", 2}}},
      {"tworoom/step", {}},
  };
  const std::map<std::string, double> times = {{"encode 1 frame onnxruntime f32", 1.0},
                                               {"encode 1 frame torch f32", 5.0},
                                               {"encode 10 frame torch f32", 7.0},
                                               {"rollout torch f32", 2.0},
                                               {"rollout torch bf16", 1.0}};
  Report report = known_report();
  add_peers(times, figures, report);
  ASSERT_EQ(report.results[0].peers.size(), 2u);
  EXPECT_EQ(report.results[0].peers[0].name, "torch f32");
  ASSERT_EQ(report.results[1].peers.size(), 1u);
  EXPECT_DOUBLE_EQ(report.results[1].peers[0].median_ms, 30 * 2.0 + 2 * 5.0);
  EXPECT_TRUE(report.results[2].peers.empty());

  const auto json = json_of(report, report.results[0]);
  EXPECT_EQ(json["peer"], "torch f32");
  EXPECT_EQ(json["peer_median"], 5.0);
  EXPECT_EQ(json["ratio"], 2.5);
  EXPECT_TRUE(json_of(report, report.results[2])["ratio"].is_null());
  EXPECT_NE(table_of(report).find("2.50"), std::string::npos);
}

TEST(Results, PeersFileMayHoldFailuresAndNotes) {
  const auto path = std::filesystem::temp_directory_path() / text("orrery-peers-", getpid());
  std::ofstream(path) << R"({"threads": 2, "torch": "2", "note": "x", "a openvino": "no module",
                             "a torch f32": {"median_ms": 3.5, "min_ms": 3}})";
  EXPECT_EQ(read_peers(path), (std::map<std::string, double>{{"a torch f32", 3.5}}));
  std::ofstream(path) << R"({"a torch f32": {"median_ms": "fast"}})";
  EXPECT_THROW(read_peers(path), Error);
  std::filesystem::remove(path);
}

TEST(Figures, AreChosenByNameAndByGroup) {
  const std::vector<Figure> figures = {{"a/1", {}}, {"a/2", {}, {}, true}, {"ab", {}}};
  const auto names = [&](const std::vector<std::string>& asked, bool slow) {
    std::string all;
    for (const Figure& figure : chosen_figures(figures, asked, slow)) all += figure.name + " ";
    return all;
  };
  EXPECT_EQ(names({}, false), "a/1 ab ");
  EXPECT_EQ(names({}, true), "a/1 a/2 ab ");
  EXPECT_EQ(names({"a"}, false), "a/1 a/2 ");
  EXPECT_EQ(names({"ab", "a/2", "ab"}, false), "a/2 ab ");
  EXPECT_THROW(names({"b"}, false), Error);
}

// Two small figures for real. Nothing timed is asserted but that there is something.
TEST(Figures, RunToResultsWithEveryKey) {
  Context ctx({.threads = 2});
  const auto figures =
      chosen_figures(all_figures(""), {"gemm/257x192x192", "layer_norm/257x192"}, false);
  ASSERT_EQ(figures.size(), 2u);
  i64 told = 0;
  const Report report =
      measure_figures(ctx, figures, 1, [&](i64 index, const std::string&) { told += index + 1; });
  EXPECT_EQ(told, 1 + 2);
  EXPECT_GT(report.limits.flops_per_s, 0);
  EXPECT_GT(report.limits.bytes_per_s(), 0);
  ASSERT_EQ(report.results.size(), 2u);
  for (const Result& result : report.results) {
    const auto json = json_of(report, result);
    for (const char* key :
         {"name", "unit", "median", "min", "runs", "limit_share", "limit", "flops", "bytes", "peer",
          "peer_median", "ratio", "threads", "machine", "compiler", "commit", "cpu_path"}) {
      EXPECT_TRUE(json.contains(key)) << key;
    }
    EXPECT_GT(json["median"], 0.0);
    EXPECT_GT(json["limit_share"], 0.0);
    EXPECT_EQ(json["runs"], 1);
    EXPECT_EQ(json["threads"], 2);
  }
}

// a model small enough for a device that is emulated
CudaSizes small_sizes() {
  CudaSizes sizes;
  sizes.config.encoder = {
      .image_size = 28, .patch = 14, .hidden = 32, .layers = 1, .heads = 2, .mlp = 64};
  sizes.config.predictor = {
      .input = 32, .hidden = 32, .output = 32, .depth = 1, .heads = 2, .head_dim = 16, .mlp = 64};
  sizes.config.action.output = 32;
  sizes.config.projector = {.input = 32, .hidden = 64, .output = 32};
  sizes.config.pred_proj = sizes.config.projector;
  sizes.frames = 2;
  sizes.icem_samples = 40;
  sizes.cem_samples = 32;
  sizes.cem_iterations = 2;
  sizes.environments = 2;
  sizes.windows = 2;
  return sizes;
}

TEST(CudaFigures, HaveThePublishedNames) {
  const auto all = cuda_figures();
  for (const char* name :
       {"encode/1/f32", "encode/256/bf16", "encode/256/fp8", "plan/icem1024x5/bf16",
        "plan/cem300x30/f32", "plan/cem300x30x50env/bf16", "train_step/128/bf16"}) {
    EXPECT_EQ(chosen_figures(all, {name}, false).size(), 1u) << name;
  }
}

TEST(CudaFigures, RunAndGiveFiniteNumbers) {
  ORRERY_NEEDS_CUDA;
  Context ctx(test::on_cuda());
  const auto all = cuda_figures(small_sizes());
  for (const char* name : {"encode/1/f32", "encode/2/bf16", "rollout_cost/32x5x2env/bf16",
                           "plan/icem40x5/f32", "plan/cem32x2x2env/bf16", "train_step/2/f32"}) {
    SCOPED_TRACE(name);
    const auto chosen = chosen_figures(all, {name}, false);
    ASSERT_EQ(chosen.size(), 1u);
    const Prepared ready = chosen[0].prepare(ctx);
    ready.run();
    ready.check();
    const auto free_before = free_device_bytes(ctx);
    ready.run();
    ready.check();
    EXPECT_EQ(free_device_bytes(ctx), free_before) << "running takes memory";
    EXPECT_GT(ready.work.flops, 0);
  }
}

#if ORRERY_CUDA
TEST(CudaFigures, LimitsAreMeasured) {
  ORRERY_NEEDS_CUDA;
  Context ctx(test::on_cuda());
  const Limits limits = cuda::measure_limits(ctx, {.rounds = 2, .copy_bytes = 4096});
  EXPECT_GT(limits.flops_per_s, 0);
  EXPECT_GT(limits.bytes_per_s(), 0);
}
#endif

}  // namespace
}  // namespace orrery::bench
