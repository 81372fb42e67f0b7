// Kernels and host code with a mistake in them, each of which must end the program with a sentence
// that says so. What only a sanitizer can see is tested in that sanitizer's build.

#include "device/ptx.h"
#include "fiber.h"
#include "launching.h"

#if defined(__SANITIZE_THREAD__)
#define ORRERY_UNDER_TSAN 1
// a race ends the program, as every other mistake does
extern "C" const char* __tsan_default_options() { return "halt_on_error=1:atexit_sleep_ms=0"; }
#endif

namespace emulation {
namespace {

class Mistake : public ::testing::Test {
 protected:
  Mistake() {
    // a program of its own for each: sanitizers and stacks do not take well to a fork alone
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

__global__ void some_wait(int* out) {
  if (threadIdx.x < 40) __syncthreads();
  out[threadIdx.x] = 1;
}
TEST_F(Mistake, BarrierThatNotAllReach) {
  const OnDevice<int> out(64);
  EXPECT_DEATH(run({1, 64}, some_wait, out.data()),
               "some_wait, block \\(0, 0, 0\\): deadlock: thread \\(0, 0, 0\\) waits at "
               "__syncthreads, thread \\(4., 0, 0\\) has finished");
}

__global__ void named_by_three(int* out) {
  orrery::barrier_sync(1, threadIdx.x < 32 ? 64 : 96);
  out[threadIdx.x] = 1;
}
TEST_F(Mistake, BarrierForDifferentNumbers) {
  const OnDevice<int> out(64);
  EXPECT_DEATH(run({1, 64}, named_by_three, out.data()), "barrier 1 is waited at for (64|96)");
}

__global__ void not_me(int* out) {
  out[threadIdx.x] = __shfl_sync(0x0000ffffu, static_cast<int>(threadIdx.x), 0);
}
TEST_F(Mistake, MaskWithoutTheCaller) {
  const OnDevice<int> out(32);
  EXPECT_DEATH(run({1, 32}, not_me, out.data()),
               "thread \\(16, 0, 0\\): a shuffle with the mask 0x0000ffff, which does not name the "
               "calling lane 16");
}

__global__ void one_is_gone(int* out) {
  if (threadIdx.x == 7) return;
  out[threadIdx.x] = __any_sync(0xffffffffu, 1);
}
TEST_F(Mistake, MaskNamesALaneThatFinished) {
  for (const char* order : kOrders) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    const OnDevice<int> out(32);
    EXPECT_DEATH(run({1, 32}, one_is_gone, out.data()), "lane 7 has finished");
  }
}

__global__ void everybody(int* out) { out[threadIdx.x] = __any_sync(0xffffffffu, 1); }
TEST_F(Mistake, MaskNamesLanesThatAWarpHasNot) {
  const OnDevice<int> out(48);
  EXPECT_DEATH(run({1, 48}, everybody, out.data()), "the warp has 16 lanes");
}

__global__ void reads_outside(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 20);
}
TEST_F(Mistake, ShuffleFromALaneNotNamed) {
  const OnDevice<int> out(32);
  EXPECT_DEATH(run({1, 32}, reads_outside, out.data()), "reads lane 20, which the mask does not");
}

__global__ void two_ways(int* out) {
  if (threadIdx.x % 2 == 0) {
    out[threadIdx.x] = __any_sync(0xffffffffu, 1);
  } else {
    __syncwarp();
  }
}
TEST_F(Mistake, LanesMeetInDifferentPlaces) {
  const OnDevice<int> out(32);
  EXPECT_DEATH(run({1, 32}, two_ways, out.data()), "lane 0 is in a vote");
}

__global__ void odd_row(orrery::u32* out) {
  auto* shared = orrery::dynamic_shared<unsigned char>();
  orrery::u32 parts[2];
  orrery::ldmatrix_x2(parts, shared + 8 * (threadIdx.x % 16));
  out[threadIdx.x] = parts[0];
}
TEST_F(Mistake, RowOfAMatrixAtAnOddAddress) {
  const OnDevice<orrery::u32> out(32);
  EXPECT_DEATH(run({1, 32, 1024}, odd_row, out.data()), "not a multiple of 16");
}

__global__ void fill(float* out, float value) { out[threadIdx.x] = value; }
TEST_F(Mistake, HostPointerGivenToAKernel) {
  std::vector<float> host(32);
  EXPECT_DEATH(run({1, 32}, fill, host.data(), 1.0f),
               "kernel emulation::fill: argument 0 points to");
}

struct Window {
  const float* begin;
  const float* data() const { return begin; }
};
__global__ void through_window(float* out, Window window) { out[threadIdx.x] = window.begin[0]; }
TEST_F(Mistake, HostPointerWithinAnArgument) {
  const OnDevice<float> out(32);
  float host = 0;
  EXPECT_DEATH(run({1, 32}, through_window, out.data(), Window{&host}), "argument 1 points to");
}

TEST_F(Mistake, GraphThatOutlivesItsMemory) {
  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaGraphExec_t executable = nullptr;
  {
    const OnDevice<float> out(32);
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    run({1, 32, 0, stream}, fill, out.data(), 1.0f);
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(stream, &graph);
    cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
  }
  EXPECT_DEATH(cudaGraphLaunch(executable, stream), "argument 0 points to .* freed");
  cudaGraphExecDestroy(executable);
  cudaStreamDestroy(stream);
}

// Without a barrier a thread reads what its neighbour has not written yet: in one of the orders it
// is NaN, in every build.
__global__ void neighbour(float* out) {
  auto* shared = orrery::dynamic_shared<float>();
  shared[threadIdx.x] = 1.0f;
  out[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}
#if !defined(ORRERY_UNDER_TSAN)
TEST_F(Mistake, MissingBarrierShowsInTheResult) {
  const OnDevice<float> out(64);
  for (const char* order : kOrders) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    ASSERT_EQ(run({1, 64, 256}, neighbour, out.data()), cudaSuccess);
    int missing = 0;
    for (const float value : out.values()) missing += value != value ? 1 : 0;
    EXPECT_GT(missing, 0) << order;
  }
}
#else
TEST_F(Mistake, MissingBarrierIsARace) {
  const OnDevice<float> out(64);
  EXPECT_DEATH(run({1, 64, 256}, neighbour, out.data()), "data race");
}

__global__ void static_neighbour(float* out) {
  __shared__ float shared[64];
  shared[threadIdx.x] = 1.0f;
  __syncwarp();  // not enough: the neighbour may be of another warp
  out[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}
TEST_F(Mistake, WarpBarrierWhereABlocksIsNeeded) {
  const OnDevice<float> out(64);
  EXPECT_DEATH(run({1, 64}, static_neighbour, out.data()), "data race");
  EXPECT_EQ(run({1, 32}, static_neighbour, out.data()), cudaSuccess);  // one warp: enough
}

// shuffles do not order memory
__global__ void shuffle_as_barrier(float* out) {
  __shared__ float shared[32];
  shared[threadIdx.x] = 1.0f;
  __shfl_sync(0xffffffffu, 1, 0);
  out[threadIdx.x] = shared[31 - threadIdx.x];
}
TEST_F(Mistake, ShuffleInsteadOfAWarpBarrier) {
  const OnDevice<float> out(32);
  EXPECT_DEATH(run({1, 32}, shuffle_as_barrier, out.data()), "data race");
}

__global__ void all_add(int* sum) { *sum += 1; }
TEST_F(Mistake, BlocksThatShareASumWithoutAtomics) {
  const OnDevice<int> sum(std::vector<int>(1, 0));
  EXPECT_DEATH(run({2, 1}, all_add, sum.data()), "data race");
}

// the ring is filled again before everybody has read it
__global__ void ring(const float* x, float* out) {
  __shared__ float stage[32];
  float sum = 0;
  for (int step = 0; step < 4; ++step) {
    stage[threadIdx.x] = x[32 * step + static_cast<int>(threadIdx.x)];
    __syncthreads();
    sum += stage[31 - threadIdx.x];
  }
  out[threadIdx.x] = sum;
}
TEST_F(Mistake, SecondBarrierOfALoopMissing) {
  const OnDevice<float> x(std::vector<float>(128, 1.0f)), out(32);
  EXPECT_DEATH(run({1, 32}, ring, x.data(), out.data()), "data race");
}
#endif

#if defined(EMULATION_ASAN)
__global__ void beyond(int floats) {
  auto* shared = orrery::dynamic_shared<volatile float>();
  shared[floats - 32 + static_cast<int>(threadIdx.x)] = 1.0f;
}
TEST_F(Mistake, BeyondDynamicSharedMemory) {
  EXPECT_EQ(run({1, 32, 400}, beyond, 100), cudaSuccess);
  EXPECT_DEATH(run({1, 32, 400}, beyond, 101), "heap-buffer-overflow");
}

__global__ void beyond_static(int shift, float* out) {
  __shared__ float shared[32];
  shared[static_cast<int>(threadIdx.x) + shift] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x];
}
TEST_F(Mistake, BeyondStaticSharedMemory) {
  const OnDevice<float> out(32);
  EXPECT_EQ(run({1, 32}, beyond_static, 0, out.data()), cudaSuccess);
  EXPECT_DEATH(run({1, 32}, beyond_static, 1, out.data()),
               "global-buffer-overflow|out of bounds for type");
}

TEST_F(Mistake, BeyondGlobalMemory) {
  const OnDevice<float> out(31);
  EXPECT_DEATH(run({1, 32}, fill, out.data(), 1.0f), "use-after-poison");
}

TEST_F(Mistake, HostReadsTheDevicesMemory) {
  const OnDevice<float> out(32);
  const volatile float* seen = out.data();
  EXPECT_DEATH(static_cast<void>(seen[3]), "use-after-poison");
  run({1, 32}, fill, out.data(), 1.0f);
  EXPECT_DEATH(static_cast<void>(seen[3]), "use-after-poison");
}
#endif

}  // namespace
}  // namespace emulation
