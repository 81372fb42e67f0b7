// Sums over ranks that are threads here, each with a context of its own.
#include "dist/device_sums.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "device/memory.h"
#include "dist/test_devices.h"

namespace orrery::dist {
namespace {

using testing::HasSubstr;

TEST(DeviceSums, TheWayIsChosenByName) {
  EXPECT_EQ(sums_by_from("auto"), SumsBy::automatic);
  EXPECT_EQ(sums_by_from("nccl"), SumsBy::nccl);
  EXPECT_EQ(sums_by_from("host"), SumsBy::host);
  try {
    sums_by_from("mpi");
    FAIL() << "sums by mpi";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("\"mpi\", needed auto, nccl or host"));
  }
}

#if ORRERY_CUDA

using Work = std::function<void(Context&, Lockstep&)>;

// What each rank threw, by rank; those of NCCL have a device each.
std::map<int, std::string> play(int ranks, bool own_devices, const Work& work,
                                double silence_s = 30) {
  std::mutex mutex;
  std::map<int, std::string> errors;
  auto worlds = worlds_of_threads(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        in_lockstep(*worlds[static_cast<std::size_t>(rank)], {.silence_s = silence_s},
                    [&](Lockstep& lockstep) {
                      const DeviceChoice where{Device::cuda, own_devices ? lockstep.rank() : 0};
                      Context ctx({.threads = 1, .where = where});
                      work(ctx, lockstep);
                    });
      } catch (const std::exception& thrown) {
        const std::lock_guard lock(mutex);
        errors[rank] = thrown.what();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return errors;
}

// thirds and sevenths: sums of them depend on the order
template <typename T>
T value_of(int rank, i64 i, int round) {
  return static_cast<T>(static_cast<double>(i % 1000 + 1 + round) / (3.0 + 4.0 * rank));
}

// Sums of `count` numbers, asked for each time or captured, against sums in double.
template <typename T>
void expect_sums(Context& ctx, Lockstep& lockstep, SumsBy by, i64 count, bool captured,
                 double epsilon) {
  const auto sums = device_sums(ctx, lockstep, by);
  const auto bytes = static_cast<std::size_t>(count) * sizeof(T);
  Block there(ctx, std::max<std::size_t>(1, bytes)), other(ctx, std::max<std::size_t>(1, bytes));
  Block here = Block::staging(ctx, std::max<std::size_t>(1, bytes));
  auto* values = reinterpret_cast<T*>(here.data());
  const auto work = [&] {
    ctx.upload(there.data(), here.data(), bytes);
    const View<T, 1> all(reinterpret_cast<T*>(there.data()), {count});
    if constexpr (std::is_same_v<T, float>) {
      // two beside other work, and the rest in its turn
      sums->sum_beside(all.slice(0, 0, count / 3));
      sums->sum_beside(all.slice(0, count / 3, count / 2));
      ctx.upload(other.data(), here.data(), bytes);
      sums->join();
      sums->sum(all.slice(0, count / 2, count));
    } else {
      sums->sum(all);
    }
    ctx.download(here.data(), there.data(), bytes);
  };
  Graph graph;
  for (int round = 0; round < 3; ++round) {
    for (i64 i = 0; i < count; ++i) values[i] = value_of<T>(lockstep.rank(), i, round);
    if (captured && round > 0) {
      if (!graph) graph = ctx.capture(work);
      ctx.replay(graph);
    } else {
      work();
    }
    ctx.synchronize();
    sums->check();
    for (i64 i = 0; i < count; ++i) {
      double total = 0;
      for (int rank = 0; rank < lockstep.size(); ++rank) {
        total += static_cast<double>(value_of<T>(rank, i, round));
      }
      // one rounding for each rank that joins the sum
      ASSERT_NEAR(static_cast<double>(values[i]), total, epsilon * lockstep.size() * total)
          << sums->name() << ", round " << round << ", number " << i << " of " << count;
    }
    // to the last bit the same on all ranks
    lockstep.must_agree("sums", std::string(reinterpret_cast<const char*>(values), bytes));
  }
}

void expect_sums_by(SumsBy by, int ranks, bool own_devices) {
  for (const bool captured : {false, true}) {
    for (const i64 count : {i64{1}, i64{7}, i64{30001}}) {
      const auto errors = play(ranks, own_devices, [&](Context& ctx, Lockstep& lockstep) {
        expect_sums<float>(ctx, lockstep, by, count, captured, 6e-8);
        expect_sums<double>(ctx, lockstep, by, count, captured, 1.2e-16);
      });
      for (const auto& [rank, error] : errors) ADD_FAILURE() << "rank " << rank << ": " << error;
    }
  }
}

TEST(CudaDeviceSums, ThroughTheHost) {
  ORRERY_NEEDS_A_DEVICE;
  for (const int ranks : {1, 2, 3}) expect_sums_by(SumsBy::host, ranks, false);
}

TEST(CudaDeviceSums, ByNcclAlone) {
  ORRERY_NEEDS_NCCL(1);
  expect_sums_by(SumsBy::nccl, 1, true);
}

TEST(CudaDeviceSums, ByNccl) {
  ORRERY_NEEDS_NCCL(2);
  expect_sums_by(SumsBy::nccl, 2, true);
}

TEST(CudaDeviceSums, ByNcclOnThree) {
  ORRERY_NEEDS_NCCL(3);
  expect_sums_by(SumsBy::nccl, 3, true);
}

TEST(CudaDeviceSums, RanksOfOneDeviceAddUpThroughTheHost) {
  ORRERY_NEEDS_A_DEVICE;
  const auto choose = [](SumsBy by) {
    return play(2, false, [by](Context& ctx, Lockstep& lockstep) {
      std::string notice;
      EXPECT_EQ(device_sums(ctx, lockstep, by, &notice)->name(), "the host");
      EXPECT_THAT(notice, HasSubstr("ranks add up through the host, not by NCCL: "));
    });
  };
  EXPECT_TRUE(choose(SumsBy::automatic).empty());
  const auto errors = choose(SumsBy::nccl);
  ASSERT_EQ(errors.size(), 1u);  // said once
  EXPECT_THAT(errors.at(0), HasSubstr("NCCL was asked for: "));
}

// A rank that stops coming while the others' devices wait for it.
void expect_an_end(SumsBy by, bool own_devices, bool captured, const std::string& sentence) {
  std::mutex mutex;
  int ended = 0;
  const auto errors = play(3, own_devices, [&](Context& ctx, Lockstep& lockstep) {
    const auto sums = device_sums(ctx, lockstep, by);
    Block values(ctx, 1000 * sizeof(float));
    const auto work = [&] {
      sums->sum(View<float, 1>(reinterpret_cast<float*>(values.data()), {1000}));
    };
    Graph graph;
    for (int round = 0; round < 4; ++round) {
      check(round < 2 || lockstep.rank() != 1, "the disk is full");
      if (captured && round > 0) {
        if (!graph) graph = ctx.capture(work);
        ctx.replay(graph);
      } else {
        work();
      }
      ctx.synchronize();
      try {
        sums->check();
      } catch (...) {
        const std::lock_guard lock(mutex);
        ++ended;
        throw;
      }
    }
    ADD_FAILURE() << "rank " << lockstep.rank() << " has sums that nobody else has";
  });
  EXPECT_EQ(ended, 2);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_THAT(errors.at(0), HasSubstr(sentence));
}

TEST(CudaDeviceSums, WithoutOneRankTheOthersEndThroughTheHost) {
  ORRERY_NEEDS_A_DEVICE;
  for (const bool captured : {false, true}) {
    expect_an_end(SumsBy::host, false, captured, "the disk is full");
  }
}

TEST(CudaDeviceSums, WithoutOneRankTheOthersEndByNccl) {
  ORRERY_NEEDS_NCCL(3);
  for (const bool captured : {false, true}) {
    expect_an_end(SumsBy::nccl, true, captured, "the disk is full");
  }
}

TEST(CudaDeviceSums, ARankThatDoesNotConnectIsNotWaitedFor) {
  ORRERY_NEEDS_NCCL(2);
  const auto errors = play(2, true, [](Context& ctx, Lockstep& lockstep) {
    if (lockstep.rank() == 1) {
      // as if it came along
      lockstep.gather("");
      lockstep.gather("another device");
      std::string id(128, '\0');
      lockstep.take_from_rank_0(std::as_writable_bytes(std::span<char>(id)));
      fail("the driver is too old");
    }
    device_sums(ctx, lockstep, SumsBy::nccl);
    ADD_FAILURE() << "connected with nobody";
  });
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_THAT(errors.at(0), HasSubstr("the driver is too old"));
}

#endif

}  // namespace
}  // namespace orrery::dist
