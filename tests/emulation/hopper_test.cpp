// The functions of device/tma.h and device/wgmma.h against plain loops, and kernels with a mistake
// in them.

#include <cmath>
#include <functional>

#include "device/tma.h"
#include "device/wgmma.h"
#include "launching.h"

namespace emulation {
namespace {

using orrery::i32;
using orrery::u32;
using orrery::u64;
using orrery::u8;

constexpr int kColumns = kWarpgroupColumns;
constexpr std::size_t kShared = 64 * 1024;

// one block with kShared bytes of shared memory
template <typename... P, typename... A>
cudaError_t run_block(unsigned threads, void (*kernel)(P...), A... arguments) {
  EXPECT_EQ(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(kShared)),
            cudaSuccess);
  return run({1, threads, kShared}, kernel, arguments...);
}

CUtensorMap map_of(const void* data, u64 row_bytes, u64 rows, u64 stride, u32 box_rows) {
  void* function = nullptr;
  EXPECT_EQ(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                             cudaEnableDefault),
            cudaSuccess);
  CUtensorMap map = {};
  const u64 sizes[] = {row_bytes, rows};
  const u32 box[] = {128, box_rows}, steps[] = {1, 1};
  EXPECT_EQ(reinterpret_cast<decltype(&encode_tiled)>(function)(
                &map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<void*>(data), sizes, &stride,
                box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
            CUDA_SUCCESS);
  return map;
}

std::vector<u8> random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<u8> bytes(count);
  for (u8& byte : bytes) byte = static_cast<u8>(random());
  return bytes;
}

// boxes

__global__ void copy_box(CUtensorMap map, int inner, int outer, int rows, u8* out) {
  std::byte* box = orrery::pattern_start(orrery::dynamic_shared<std::byte>());
  auto* barrier = reinterpret_cast<u64*>(box + 128 * rows);
  if (threadIdx.x == 0) {
    orrery::init_barrier(barrier, 1);
    orrery::publish_barriers();
    orrery::arrive_expecting(barrier, static_cast<u32>(128 * rows));
    orrery::load_box(box, map, inner, outer, barrier);
  }
  __syncthreads();
  orrery::wait_phase(barrier, 0);
  for (int row = static_cast<int>(threadIdx.x); row < rows; row += 32) {
    for (u32 byte = 0; byte < 128; ++byte) {
      out[128 * row + static_cast<int>(byte)] =
          static_cast<u8>(box[orrery::box_place(static_cast<u32>(row), byte)]);
    }
  }
}

TEST(Boxes, HoldTheMatrixAndZerosBeyond) {
  constexpr int kRows = 21, kStride = 320, kWidth = 300, kBoxRows = 16;
  const auto bytes = random_bytes(kRows * kStride, 3);
  const OnDevice<u8> matrix(bytes);
  for (const char* order : kOrders) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    for (const auto& [inner, outer] : {std::pair(0, 0), std::pair(128, 16), std::pair(256, 8)}) {
      const OnDevice<u8> out(128 * kBoxRows);
      const CUtensorMap map = map_of(matrix.data(), kWidth, kRows, kStride, kBoxRows);
      ASSERT_EQ(run_block(32, copy_box, map, inner, outer, kBoxRows, out.data()), cudaSuccess);
      const auto got = out.values();
      for (int r = 0; r < kBoxRows; ++r) {
        for (int b = 0; b < 128; ++b) {
          const bool there = outer + r < kRows && inner + b < kWidth;
          const auto place = static_cast<std::size_t>((outer + r) * kStride + inner + b);
          ASSERT_EQ(got[static_cast<std::size_t>(128 * r + b)], there ? bytes[place] : 0)
              << "row " << r << ", byte " << b;
        }
      }
    }
  }
}

TEST(Boxes, AreRefusedWhereTheDriverRefusesThem) {
  alignas(64) CUtensorMap map;
  u64 sizes[] = {128, 8}, stride = 128;
  u32 box[] = {128, 8}, steps[] = {1, 1};
  u64 data = 4096;
  auto type = CU_TENSOR_MAP_DATA_TYPE_UINT8;
  const auto status = [&] {
    return encode_tiled(&map, type, 2, reinterpret_cast<void*>(data), sizes, &stride, box, steps,
                        CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                        CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  };
  EXPECT_EQ(status(), CUDA_SUCCESS);
  const auto refused = [&](auto& what, auto value) {
    const auto before = what;
    what = value;
    EXPECT_EQ(status(), CUDA_ERROR_INVALID_VALUE);
    what = before;
  };
  refused(data, u64{4100});
  refused(stride, u64{136});
  refused(stride, u64{1} << 40);
  refused(sizes[1], u64{0});
  refused(box[1], 257u);
  refused(box[0], 8u);
  refused(type, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16);  // 256 bytes of a row: beyond the swizzle
  EXPECT_EQ(status(), CUDA_SUCCESS);
}

// products of a warpgroup

struct Bf16 {
  using Sum = float;
  static constexpr int kBytes = 2;
  static double value(const u8* bytes) {
    return orrery::bf16_low(static_cast<u32>(bytes[0] | bytes[1] << 8));
  }
  static void product(Sum (&d)[24][4], u64 a, u64 b) { orrery::wgmma_bf16(d, a, b); }
};
struct S8 {
  using Sum = i32;
  static constexpr int kBytes = 1;
  static double value(const u8* bytes) { return static_cast<std::int8_t>(bytes[0]); }
  static void product(Sum (&d)[24][4], u64 a, u64 b) { orrery::wgmma_s8(d, a, b); }
};
struct E4m3 {
  using Sum = float;
  static constexpr int kBytes = 1;
  static double value(const u8* bytes) {
    const int exponent = bytes[0] >> 3 & 15, mantissa = bytes[0] & 7;
    const double size =
        exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    return (bytes[0] & 0x80) != 0 ? -size : size;
  }
  static void product(Sum (&d)[24][4], u64 a, u64 b) { orrery::wgmma_e4m3(d, a, b); }
};

// a [64, 128 bytes] and b [192, 128 bytes] come as boxes, d [64, 192] leaves
template <typename Kind>
__global__ void warpgroup_product(CUtensorMap a_map, CUtensorMap b_map, typename Kind::Sum* d) {
  std::byte* a = orrery::pattern_start(orrery::dynamic_shared<std::byte>());
  std::byte* b = a + 64 * 128;
  auto* barrier = reinterpret_cast<u64*>(b + kColumns * 128);
  if (threadIdx.x == 0) {
    orrery::init_barrier(barrier, 1);
    orrery::publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x == 32) {
    orrery::arrive_expecting(barrier, (64 + kColumns) * 128);
    orrery::load_box(a, a_map, 0, 0, barrier);
    orrery::load_box(b, b_map, 0, 0, barrier);
  }
  orrery::wait_phase(barrier, 0);
  typename Kind::Sum sums[24][4] = {};
  orrery::wgmma_fence();
  for (u32 step = 0; step < 4; ++step) {
    Kind::product(sums, orrery::wgmma_descriptor(orrery::shared_address(a)) + 2 * step,
                  orrery::wgmma_descriptor(orrery::shared_address(b)) + 2 * step);
    orrery::wgmma_commit();
  }
  orrery::wgmma_wait<0>();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  for (int j = 0; j < 24; ++j) {
    for (int e = 0; e < 4; ++e) {
      const int row = thread / 32 * 16 + lane / 4 + 8 * (e / 2);
      d[kColumns * row + 8 * j + lane % 4 * 2 + e % 2] = sums[j][e];
    }
  }
}

template <typename Kind>
class WarpgroupProductOf : public ::testing::Test {};
using Kinds = ::testing::Types<Bf16, S8, E4m3>;
TYPED_TEST_SUITE(WarpgroupProductOf, Kinds);

TYPED_TEST(WarpgroupProductOf, EqualsThePlainLoop) {
  using Kind = TypeParam;
  constexpr int kDepth = 128 / Kind::kBytes;
  auto a = random_bytes(64 * 128, 5), b = random_bytes(kColumns * 128, 6);
  for (auto* bytes : {&a, &b}) {
    for (std::size_t i = 0; i < bytes->size(); ++i) {
      // no NaN and no huge values: bf16 of exponents about 0; e4m3 below 448
      u8& byte = (*bytes)[i];
      if (Kind::kBytes == 2 && i % 2 == 1) byte = static_cast<u8>((byte & 0x80) | 0x3f);
      if (std::is_same_v<Kind, E4m3>) byte &= 0xbf;
    }
  }
  const OnDevice<u8> device_a(a), device_b(b);
  const CUtensorMap a_map = map_of(device_a.data(), 128, 64, 128, 64);
  const CUtensorMap b_map = map_of(device_b.data(), 128, kColumns, 128, kColumns);
  for (const char* order : kOrders) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    const OnDevice<typename Kind::Sum> d(64 * kColumns);
    ASSERT_EQ(run_block(128, warpgroup_product<Kind>, a_map, b_map, d.data()), cudaSuccess);
    const auto got = d.values();
    for (int row = 0; row < 64; ++row) {
      for (int column = 0; column < kColumns; ++column) {
        double sum = 0, size = 0;
        for (int k = 0; k < kDepth; ++k) {
          const double product =
              Kind::value(&a[static_cast<std::size_t>(128 * row + Kind::kBytes * k)]) *
              Kind::value(&b[static_cast<std::size_t>(128 * column + Kind::kBytes * k)]);
          sum += product;
          size += std::abs(product);
        }
        // f32 sums of kDepth products; integers are exact
        const double allowed =
            std::is_same_v<typename Kind::Sum, float> ? kDepth * 0x1p-24 * size : 0;
        ASSERT_NEAR(static_cast<double>(got[static_cast<std::size_t>(kColumns * row + column)]),
                    sum, allowed)
            << "row " << row << ", column " << column;
      }
    }
  }
}

// a ring of two stages that one thread fills and a warpgroup reads

struct RingMistake {
  bool read_early = false, write_early = false, give_back_early = false;
};

__global__ void ring(CUtensorMap map, int chunks, float* out, RingMistake mistake) {
  std::byte* stages = orrery::pattern_start(orrery::dynamic_shared<std::byte>());
  auto* full = reinterpret_cast<u64*>(stages + 2 * kColumns * 128);
  u64* empty = full + 2;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      orrery::init_barrier(full + i, 1);
      orrery::init_barrier(empty + i, 4);
    }
    orrery::publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x == 128) {
    for (int n = 0; n < chunks; ++n) {
      const u32 round = static_cast<u32>(n / 2 % 2);
      if (!mistake.write_early) orrery::wait_phase(empty + n % 2, round ^ 1);
      orrery::arrive_expecting(full + n % 2, kColumns * 128);
      orrery::load_box(stages + n % 2 * kColumns * 128, map, 128 * n, 0, full + n % 2);
    }
  }
  if (threadIdx.x >= 128) return;
  float sums[24][4] = {};
  const auto give_back = [&](int n) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) orrery::arrive(empty + n % 2);
  };
  for (int n = 0; n < chunks; ++n) {
    if (!mistake.read_early) orrery::wait_phase(full + n % 2, static_cast<u32>(n / 2 % 2));
    const u32 at = orrery::shared_address(stages + n % 2 * kColumns * 128);
    orrery::wgmma_fence();
    for (u32 step = 0; step < 4; ++step) {
      const u64 both = orrery::wgmma_descriptor(at) + 2 * step;
      orrery::wgmma_bf16(sums, both, both);
    }
    orrery::wgmma_commit();
    if (mistake.give_back_early) give_back(n);
    orrery::wgmma_wait<0>();
    if (!mistake.give_back_early) give_back(n);
  }
  if (mistake.read_early) {
    for (int n = chunks - 2; n < chunks; ++n) {
      orrery::wait_phase(full + n % 2, static_cast<u32>(n / 2 % 2));
    }
  }
  for (int i = 0; i < 96; ++i)
    out[96 * threadIdx.x + static_cast<unsigned>(i)] = sums[i / 4][i % 4];
}

// chunk n is 2^n all over, so that a chunk that was not read, or twice, shows
bool ring_is_right(const char* order, RingMistake mistake, int chunks = 7) {
  constexpr int kChunks = 7;
  const Set set("ORRERY_EMULATED_ORDER", order);
  std::vector<orrery::u16> ones(kColumns * 64 * kChunks);
  for (std::size_t i = 0; i < ones.size(); ++i) {
    ones[i] = static_cast<orrery::u16>(0x3f80 + (i / 64 % kChunks) * 0x80);
  }
  const OnDevice<orrery::u16> matrix(ones);
  const CUtensorMap map = map_of(matrix.data(), 128 * kChunks, kColumns, 128 * kChunks, kColumns);
  const OnDevice<float> out(128 * 96);
  EXPECT_EQ(run_block(160, ring, map, chunks, out.data(), mistake), cudaSuccess);
  float wanted = 0;
  for (int n = 0; n < chunks; ++n) wanted += 64 * std::ldexp(1.0f, 2 * n);
  for (const float value : out.values()) {
    if (!(value == wanted)) return false;
  }
  return true;
}

TEST(Rings, KeepInStepInEveryOrder) {
  for (const char* order : kOrders) EXPECT_TRUE(ring_is_right(order, {})) << order;
}

#if defined(__SANITIZE_THREAD__)
TEST(Rings, ShowWhoDoesNotWait) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(ring_is_right("forward", {.read_early = true}, 2), "data race");
  EXPECT_DEATH(ring_is_right("reverse", {.give_back_early = true}), "data race");
}
#else
TEST(Rings, ShowWhoDoesNotWait) {
  // loads come late, or at once; either finds its mistake
  EXPECT_FALSE(ring_is_right("forward", {.read_early = true}, 2));
  EXPECT_FALSE(ring_is_right("reverse", {.give_back_early = true}));
}
#endif

// mistakes that end the program

class HopperMistake : public ::testing::Test {
 protected:
  HopperMistake() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

enum class Wrong { unmade, nobody, odd, too_many, alone, no_fence, touched, different, unwaited };

__global__ void wrong_kernel(Wrong wrong) {
  std::byte* shared = orrery::pattern_start(orrery::dynamic_shared<std::byte>());
  auto* barrier = reinterpret_cast<u64*>(shared);
  const u64 matrix = orrery::wgmma_descriptor(orrery::shared_address(shared) + 1024);
  float sums[24][4] = {};
  switch (wrong) {
    case Wrong::unmade:
      return orrery::arrive(barrier);
    case Wrong::nobody:
      if (threadIdx.x == 0) orrery::init_barrier(barrier, 1);
      __syncthreads();
      return orrery::wait_phase(barrier, 0);
    case Wrong::odd:
      return orrery::init_barrier(reinterpret_cast<u64*>(shared + 4), 1);
    case Wrong::too_many:
      if (threadIdx.x > 0) return;
      orrery::init_barrier(barrier, 1);
      orrery::arrive_expecting(barrier, 16);
      return orrery::arrive(barrier);
    case Wrong::alone:
      if (threadIdx.x >= 32) return;
      orrery::wgmma_fence();
      return orrery::wgmma_bf16(sums, matrix, matrix);
    case Wrong::no_fence:
      return orrery::wgmma_bf16(sums, matrix, matrix);
    case Wrong::touched:
      orrery::wgmma_fence();
      orrery::wgmma_bf16(sums, matrix, matrix);
      orrery::wgmma_commit();
      sums[3][1] += 1;
      return orrery::wgmma_wait<0>();
    case Wrong::different:
      orrery::wgmma_fence();
      return orrery::wgmma_bf16(sums, matrix + threadIdx.x / 32 * 64, matrix);
    case Wrong::unwaited:
      orrery::wgmma_fence();
      orrery::wgmma_bf16(sums, matrix, matrix);
      return orrery::wgmma_commit();
  }
}

TEST_F(HopperMistake, EndsWithASentence) {
  const std::pair<Wrong, const char*> cases[] = {
      {Wrong::unmade, "a barrier that was not initialised"},
      {Wrong::nobody, "deadlock: .*waits for a phase of an mbarrier"},
      {Wrong::odd, "no multiple of 8"},
      {Wrong::too_many, "more arrive than the 1 wanted"},
      {Wrong::alone, "waits for the rest of its warpgroup at wgmma, thread .* has finished"},
      {Wrong::no_fence, "without wgmma.fence"},
      {Wrong::touched, "its sums were changed while it was under way"},
      {Wrong::different, "ask for different products"},
      {Wrong::unwaited, "products of thread 0 were not waited for"},
  };
  for (const auto& [wrong, sentence] : cases) {
    EXPECT_DEATH(run_block(128, wrong_kernel, wrong), sentence);
  }
}

TEST_F(HopperMistake, ProducerThatDoesNotWait) {
  EXPECT_DEATH(ring_is_right("forward", {.write_early = true}), "more arrive than the 1 wanted");
}

__global__ void load_without_wait(CUtensorMap map) {
  std::byte* box = orrery::pattern_start(orrery::dynamic_shared<std::byte>());
  auto* barrier = reinterpret_cast<u64*>(box + 8 * 128);
  orrery::init_barrier(barrier, 1);
  orrery::arrive_expecting(barrier, 8 * 128);
  orrery::load_box(box, map, 0, 0, barrier);
}
TEST_F(HopperMistake, LoadThatNobodyWaitsFor) {
  const Set set("ORRERY_EMULATED_ORDER", "forward");
  const OnDevice<u8> matrix(8 * 128);
  EXPECT_DEATH(run_block(1, load_without_wait, map_of(matrix.data(), 128, 8, 128, 8)),
               "1 loads of boxes are under way");
}

TEST_F(HopperMistake, MapOfTheHostsMemory) {
  alignas(16) static u8 host[1024];
  EXPECT_DEATH(run_block(1, load_without_wait, map_of(host, 128, 8, 128, 8)),
               "argument 0 points to .* which is no memory of the device");
}

}  // namespace
}  // namespace emulation
