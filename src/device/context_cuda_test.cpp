// A Context of a CUDA device: memory, copies, captured work, and what is said when a device fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "base/error.h"
#include "device/context.h"

#if defined(ORRERY_CUDA_EMULATED)
#include <cuda_runtime.h>
#endif

namespace orrery {
namespace {

using testing::HasSubstr;

#define NEEDS_CUDA                                       \
  if (std::string reason; cuda_facts(&reason).empty()) { \
    GTEST_SKIP() << "needs a CUDA device: " << reason;   \
  }                                                      \
  static_assert(true)

Context::Options on_cuda() { return {.threads = 1, .where = {Device::cuda, 0}}; }

TEST(Device, ChoicesAreReadAsPeopleWriteThem) {
  EXPECT_EQ(device_from("cpu").device, Device::cpu);
  EXPECT_EQ(device_from("cuda").device, Device::cuda);
  EXPECT_EQ(device_from("cuda:12").index, 12);
  for (const char* wrong : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1234"}) {
    EXPECT_THROW(device_from(wrong), Error) << wrong;
  }
  std::string reason = "unset";
  const bool there = device_from("auto", &reason).device == Device::cuda;
  EXPECT_EQ(there, reason.empty()) << "it says why the CPU was taken, and only then";
}

TEST(CudaContext, MemoryIsZeroedAndKeepsWhatIsUploaded) {
  NEEDS_CUDA;
  Context ctx(on_cuda());
  Block block(ctx, 4 * sizeof(float));
  std::vector<float> values(4, 1.0f);
  ctx.download(values.data(), block.data(), block.bytes());
  EXPECT_EQ(values, std::vector<float>(4, 0.0f));
  const std::vector<float> given = {1, 2, 3, 4};
  ctx.upload(block.data(), given.data(), block.bytes());
  ctx.download(values.data(), block.data(), block.bytes());
  EXPECT_EQ(values, given);
}

TEST(CudaContext, WorkFindsWhatWasSentBesideIt) {
  NEEDS_CUDA;
  Context ctx(on_cuda());
  Block first(ctx, 4 * sizeof(float)), second(ctx, 4 * sizeof(float));
  Block staging = Block::staging(ctx, first.bytes());
  ctx.join_uploads();  // of nothing
  std::vector<float> found(4);
  for (const float value : {1.0f, 2.0f}) {
    std::fill_n(reinterpret_cast<float*>(staging.data()), 4, value);
    for (Block* block : {&first, &second}) {
      ctx.upload_beside(block->data(), staging.data(), staging.bytes());
    }
    ctx.join_uploads();
    for (Block* block : {&first, &second}) {
      ctx.download(found.data(), block->data(), block->bytes());
      EXPECT_EQ(found, std::vector<float>(4, value));
    }
  }
  Context cpu({.threads = 1});
  cpu.upload_beside(found.data(), staging.data(), staging.bytes());
  cpu.join_uploads();
  EXPECT_EQ(found, std::vector<float>(4, 2.0f));
}

TEST(CudaContext, ScratchThatWasHandedOutStaysValid) {
  NEEDS_CUDA;
  Context ctx(on_cuda());
  std::byte* small = ctx.shared_scratch(64);
  EXPECT_EQ(ctx.shared_scratch(32), small);
  const std::vector<std::byte> ones(64, std::byte{1});
  EXPECT_NE(ctx.shared_scratch(1 << 20), small);
  ctx.upload(small, ones.data(), ones.size());  // captured work may still use it
  ctx.synchronize();
}

TEST(CudaContext, CapturedWorkReadsItsMemoryAtEveryReplay) {
  NEEDS_CUDA;
  Context ctx(on_cuda());
  Block from = Block::staging(ctx, sizeof(i32)), to = Block::staging(ctx, sizeof(i32));
  Block there(ctx, sizeof(i32));
  auto& given = *reinterpret_cast<i32*>(from.data());
  const auto& got = *reinterpret_cast<const i32*>(to.data());
  given = 1;
  const Graph graph = ctx.capture([&] {
    ctx.upload(there.data(), from.data(), sizeof(i32));
    ctx.download(to.data(), there.data(), sizeof(i32));
  });
  EXPECT_EQ(got, 0) << "capturing runs nothing";
  for (const i32 value : {5, 7}) {
    given = value;
    ctx.replay(graph);
    ctx.synchronize();
    EXPECT_EQ(got, value);
  }
}

TEST(CudaContext, ACaptureThatFailsLeavesTheStreamUsable) {
  NEEDS_CUDA;
  Context ctx(on_cuda());
  const Block keep_going(ctx, sizeof(i32));
  const auto breaks = [] { fail("the body gave up"); };
  const auto nothing = [] {};
  EXPECT_THROW(ctx.capture(breaks), Error);
  const auto* flag = reinterpret_cast<const i32*>(keep_going.data());
  EXPECT_THROW(ctx.capture_loop(nothing, breaks, nothing, flag), Error);
  Block block(ctx, 8);
  ctx.synchronize();
  ctx.replay(ctx.capture_loop(nothing, nothing, nothing, flag));
  ctx.synchronize();
}

TEST(CudaContext, ALoopRunsWhileItsFlagIsSet) {
  NEEDS_CUDA;
  Context ctx(on_cuda());
  // the flag goes out by the loop's own body, so it runs exactly once
  Block on = Block::staging(ctx, sizeof(i32)), off = Block::staging(ctx, sizeof(i32));
  *reinterpret_cast<i32*>(on.data()) = 1;
  Block flag(ctx, sizeof(i32)), seen(ctx, sizeof(i32));
  const Graph graph = ctx.capture_loop([&] { ctx.upload(flag.data(), on.data(), sizeof(i32)); },
                                       [&] {
                                         ctx.upload(seen.data(), on.data(), sizeof(i32));
                                         ctx.upload(flag.data(), off.data(), sizeof(i32));
                                       },
                                       [] {}, reinterpret_cast<const i32*>(flag.data()));
  ctx.replay(graph);
  i32 value = 0;
  ctx.download(&value, seen.data(), sizeof value);
  EXPECT_EQ(value, 1);
  ctx.download(&value, flag.data(), sizeof value);
  EXPECT_EQ(value, 0);
}

TEST(CudaContext, ADeviceThatIsNotThereIsNamed) {
  NEEDS_CUDA;
  try {
    Context ctx({.where = {Device::cuda, 99}});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("device 99 was asked for, this machine has "));
  }
}

#if defined(ORRERY_CUDA_EMULATED)

// what the error says that `work` ends with
std::string sentence(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class CudaFaults : public testing::Test {
 protected:
  void TearDown() override { emulation::reset(); }
};

TEST_F(CudaFaults, AtTheDoor) {
  const auto context = [] { Context ctx(on_cuda()); };
  emulation::fail_next(cudaErrorNoDevice);
  EXPECT_EQ(sentence(context),
            "CUDA: looking for devices: there is no CUDA device on this machine");
  emulation::reset();
  emulation::fail_next(cudaErrorInsufficientDriver);
  EXPECT_THAT(sentence(context), HasSubstr("the driver supports CUDA "));
  emulation::reset();
  // found, but somebody else has it: the first call that needs it says so
  for (int after = 0; after < 6; ++after) {
    emulation::fail_next(cudaErrorDevicesUnavailable, after);
    const std::string said = sentence(context);
    EXPECT_THAT(said, testing::AnyOf("no error", HasSubstr("is taken by another process")))
        << after;
    emulation::reset();
  }
  emulation::fail_next(cudaErrorNoDevice);
  std::string reason;
  EXPECT_EQ(device_from("auto", &reason).device, Device::cpu);
  EXPECT_EQ(reason, "there is no CUDA device on this machine");
}

TEST_F(CudaFaults, OutOfMemoryTellsHowMuchThereIs) {
  Context ctx(on_cuda());
  EXPECT_THAT(sentence([&] { const Block block(ctx, std::size_t{1} << 60); }),
              testing::MatchesRegex("CUDA: out of memory: 1152921504606846976 bytes were asked "
                                    "for, [0-9]+ of [0-9]+ are free"));
  // and nothing is broken
  const Block block(ctx, 64);
  ctx.synchronize();
}

TEST_F(CudaFaults, ALostDeviceStaysLostAndHandsOutNothing) {
  Context ctx(on_cuda());
  const Block block(ctx, 64);
  emulation::fail_next(cudaErrorIllegalAddress);
  EXPECT_THAT(sentence([&] { ctx.synchronize(); }), HasSubstr("waiting for the device"));
  std::byte byte{7};
  EXPECT_NE(sentence([&] { ctx.download(&byte, block.data(), 1); }), "no error");
  EXPECT_EQ(byte, std::byte{7});
  EXPECT_NE(sentence([] { Context another(on_cuda()); }), "no error");
  // a driver takes such memory back when the process ends; here it is counted
  emulation::reset();
}

#endif

}  // namespace
}  // namespace orrery
