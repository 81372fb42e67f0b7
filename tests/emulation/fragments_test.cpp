// The functions of device/ptx.h against plain loops, with fragments loaded by hand and by ldmatrix:
// that the two agree is what says that the layouts are the documented ones.

#include <cmath>

#include "device/ptx.h"
#include "launching.h"

namespace emulation {
namespace {

using orrery::i32;
using orrery::u16;
using orrery::u32;
using orrery::u64;
using orrery::u8;

constexpr int kRows = 16, kColumns = 8;

// one instruction: type of elements in memory, depth, sums
struct Bf16 {
  using Element = u16;
  using Sum = float;
  static constexpr int kDepth = 16;
  static double value(Element bits) { return orrery::bf16_low(bits); }
  static void product(Sum (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    orrery::mma_m16n8k16_bf16(d, a, b);
  }
};
struct Tf32 {
  using Element = u32;
  using Sum = float;
  static constexpr int kDepth = 8;
  // what the hardware does not look at is there in the tests, too
  static double value(Element bits) { return __uint_as_float(bits & 0xffffe000u); }
  static void product(Sum (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    orrery::mma_m16n8k8_tf32(d, a, b);
  }
};
struct S8 {
  using Element = u8;
  using Sum = i32;
  static constexpr int kDepth = 32;
  static double value(Element bits) { return static_cast<std::int8_t>(bits); }
  static void product(Sum (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    orrery::mma_m16n8k32_s8(d, a, b);
  }
};
struct E4m3 {
  using Element = u8;
  using Sum = float;
  static constexpr int kDepth = 32;
  static double value(Element bits) {
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    const double size =
        exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    return (bits & 0x80) != 0 ? -size : size;
  }
  static void product(Sum (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    orrery::mma_m16n8k32_e4m3(d, a, b);
  }
};

// a [16, depth] and b transposed [8, depth] in device memory; d [16, 8] comes in and goes out. The
// words of a row are taken one by one, as the documentation numbers them.
template <typename Kind>
__global__ void product_by_hand(const u32* a, const u32* b, typename Kind::Sum* d) {
  constexpr int words = 8;  // of four bytes in a row, for every type
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  const u32 of_a[4] = {a[words * g + t], a[words * (g + 8) + t], a[words * g + t + 4],
                       a[words * (g + 8) + t + 4]};
  const u32 of_b[2] = {b[words * g + t], b[words * g + t + 4]};
  typename Kind::Sum sums[4];
  for (int e = 0; e < 4; ++e) sums[e] = d[kColumns * (g + 8 * (e / 2)) + 2 * t + e % 2];
  Kind::product(sums, of_a, of_b);
  for (int e = 0; e < 4; ++e) d[kColumns * (g + 8 * (e / 2)) + 2 * t + e % 2] = sums[e];
}

// the same through shared memory, asynchronous copies and ldmatrix
template <typename Kind>
__global__ void product_by_ldmatrix(const u32* a, const u32* b, typename Kind::Sum* d) {
  constexpr int pitch = 12;  // words in a row: 16-aligned, and no two rows on the same banks
  u32* shared = orrery::dynamic_shared<u32>();
  u32* shared_b = shared + 16 * pitch;
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  orrery::cp_async_16(shared + pitch * (lane / 2) + 4 * (lane % 2), a + 4 * lane);
  orrery::cp_async_commit();
  if (lane < 16) {
    orrery::cp_async_16(shared_b + pitch * (lane / 2) + 4 * (lane % 2), b + 4 * lane);
  }
  orrery::cp_async_commit();
  orrery::cp_async_wait<0>();
  __syncthreads();
  u32 of_a[4], of_b[2];
  orrery::ldmatrix_x4(of_a, shared + pitch * (lane % 16) + 4 * (lane / 16));
  orrery::ldmatrix_x2(of_b, shared_b + pitch * (lane % 8) + 4 * (lane / 8 % 2));
  typename Kind::Sum sums[4];
  for (int e = 0; e < 4; ++e) sums[e] = d[kColumns * (g + 8 * (e / 2)) + 2 * t + e % 2];
  Kind::product(sums, of_a, of_b);
  for (int e = 0; e < 4; ++e) d[kColumns * (g + 8 * (e / 2)) + 2 * t + e % 2] = sums[e];
}

template <typename Kind>
class Product : public ::testing::Test {};
using Kinds = ::testing::Types<Bf16, Tf32, S8, E4m3>;
TYPED_TEST_SUITE(Product, Kinds);

template <typename Element>
std::vector<u32> words_of(const std::vector<Element>& elements) {
  std::vector<u32> words(elements.size() * sizeof(Element) / 4);
  std::memcpy(words.data(), elements.data(), 4 * words.size());
  return words;
}

TYPED_TEST(Product, EqualsThePlainLoop) {
  using Kind = TypeParam;
  using Element = typename Kind::Element;
  using Sum = typename Kind::Sum;
  constexpr int depth = Kind::kDepth;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const auto element = [&] {
    if constexpr (sizeof(Element) == 4) {
      return static_cast<Element>(__float_as_uint(normal(random)));
    } else if constexpr (sizeof(Element) == 2) {
      return static_cast<Element>(orrery::bf16_bits(normal(random)));
    } else if constexpr (std::is_same_v<Sum, float>) {
      return static_cast<Element>(orrery::e4m3_bits(normal(random)));
    } else {
      return static_cast<Element>(random());
    }
  };
  std::vector<Element> a(kRows * depth), b(kColumns * depth);
  for (auto& value : a) value = element();
  for (auto& value : b) value = element();
  std::vector<Sum> before(kRows * kColumns);
  for (auto& value : before) value = static_cast<Sum>(8 * normal(random));

  for (const bool by_hand : {true, false}) {
    const OnDevice<u32> a_there(words_of(a)), b_there(words_of(b));
    const OnDevice<Sum> d(before);
    ASSERT_EQ(run({1, 32, 24 * 12 * 4}, by_hand ? product_by_hand<Kind> : product_by_ldmatrix<Kind>,
                  a_there.data(), b_there.data(), d.data()),
              cudaSuccess);
    const auto after = d.values();
    for (int row = 0; row < kRows; ++row) {
      for (int column = 0; column < kColumns; ++column) {
        const auto at = static_cast<std::size_t>(kColumns * row + column);
        double sum = before[at], size = std::abs(sum);
        for (int k = 0; k < depth; ++k) {
          const double term = Kind::value(a[static_cast<std::size_t>(depth * row + k)]) *
                              Kind::value(b[static_cast<std::size_t>(depth * column + k)]);
          sum += term;
          size += std::abs(term);
        }
        // exact products, and each of at most 33 additions rounds once
        const double tolerance = std::is_same_v<Sum, float> ? (depth + 1) * 0x1p-24 * size : 0;
        EXPECT_NEAR(after[at], sum, tolerance) << row << ", " << column;
      }
    }
  }
}

// b as it lies in a matrix [k, n] with n innermost: transposed on the way
__global__ void transposed_kernel(const u16* from, u32* parts) {
  auto* shared = orrery::dynamic_shared<u16>();
  for (int i = static_cast<int>(threadIdx.x); i < 32 * 8; i += 32) shared[i] = from[i];
  __syncthreads();
  u32 four[4], two[2];
  orrery::ldmatrix_x4_trans(four, shared + 8 * threadIdx.x);
  orrery::ldmatrix_x2_trans(two, shared + 8 * (threadIdx.x % 16));
  for (int m = 0; m < 4; ++m) parts[6 * threadIdx.x + static_cast<unsigned>(m)] = four[m];
  for (int m = 0; m < 2; ++m) parts[6 * threadIdx.x + 4 + static_cast<unsigned>(m)] = two[m];
}

TEST(Ldmatrix, TransposesWhatItIsAskedTo) {
  std::vector<u16> from(32 * 8);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<u16>(i);
  const OnDevice<u16> there(from);
  const OnDevice<u32> parts(32 * 6);
  ASSERT_EQ(run({1, 32, 512}, transposed_kernel, there.data(), parts.data()), cudaSuccess);
  const auto values = parts.values();
  for (u32 lane = 0; lane < 32; ++lane) {
    for (u32 m = 0; m < 6; ++m) {
      const u32 matrix = m % 4, row = 8 * matrix + 2 * (lane % 4), column = lane / 4;
      EXPECT_EQ(values[6 * lane + m], (8 * row + column) | (8 * (row + 1) + column) << 16);
    }
  }
}

// What a thread sees of its copies after each wait: the first of three groups, the second, all.
__global__ void copies_kernel(const u32* from, u32* seen) {
  u32* shared = orrery::dynamic_shared<u32>();
  const auto look = [&](int step) {
    for (int i = 0; i < 4; ++i) seen[4 * step + i] = shared[4 * i];
  };
  orrery::cp_async_16(shared, from);
  orrery::cp_async_commit();
  orrery::cp_async_16(shared + 4, from + 4, false);  // zeros
  orrery::cp_async_commit();
  orrery::cp_async_4(shared + 8, from + 8);
  orrery::cp_async_commit();
  orrery::cp_async_4(shared + 12, from + 12);
  look(0);
  orrery::cp_async_wait<2>();
  look(1);
  orrery::cp_async_wait<0>();
  look(2);
  orrery::cp_async_wait_all();
  look(3);
}

TEST(AsynchronousCopy, IsThereWhenWaitedForAndNotBefore) {
  std::vector<u32> from(16);
  for (u32 i = 0; i < 16; ++i) from[i] = 100 + i;
  const OnDevice<u32> there(from), seen(16);
  ASSERT_EQ(run({1, 1, 64}, copies_kernel, there.data(), seen.data()), cudaSuccess);
  const u32 none = 0xffffffffu;
  EXPECT_EQ(seen.values(), std::vector<u32>({none, none, none, none,  //
                                             100, none, none, none,   //
                                             100, 0, 108, none,       //
                                             100, 0, 108, 112}));
}

TEST(Formats, Tf32RoundsToNearestTiesAway) {
  EXPECT_EQ(orrery::to_tf32(1.0f), 0x3f800000u);
  EXPECT_EQ(orrery::to_tf32(__uint_as_float(0x3f801000u)), 0x3f802000u);  // a tie
  EXPECT_EQ(orrery::to_tf32(__uint_as_float(0x3f800fffu)), 0x3f800000u);
  EXPECT_EQ(orrery::to_tf32(__uint_as_float(0xbf801000u)), 0xbf802000u);
}

TEST(Formats, Bf16RoundsToNearestTiesToEven) {
  EXPECT_EQ(orrery::bf16_bits(1.0f), 0x3f80u);
  EXPECT_EQ(orrery::bf16_bits(__uint_as_float(0x3f808000u)), 0x3f80u);
  EXPECT_EQ(orrery::bf16_bits(__uint_as_float(0x3f818000u)), 0x3f82u);
  EXPECT_EQ(orrery::bf16_bits(__uint_as_float(0x7fc00001u)), 0x7fffu);
  EXPECT_EQ(orrery::bf16_bits(3.4028234e38f), 0x7f80u);  // infinity
  const u32 pair = orrery::pack_bf16(1.5f, -2.0f);
  EXPECT_EQ(orrery::bf16_low(pair), 1.5f);
  EXPECT_EQ(orrery::bf16_high(pair), -2.0f);
}

// every e4m3 value is its own nearest, every midpoint goes to the even neighbour
TEST(Formats, E4m3RoundsToNearestTiesToEven) {
  for (u32 bits = 0; bits < 0x7f; ++bits) {
    const auto value = static_cast<float>(E4m3::value(static_cast<u8>(bits)));
    EXPECT_EQ(orrery::e4m3_bits(value), bits);
    EXPECT_EQ(orrery::e4m3_bits(-value), bits | 0x80u);
    if (bits == 0x7e) continue;
    const auto next = static_cast<float>(E4m3::value(static_cast<u8>(bits + 1)));
    const float middle = (value + next) / 2;  // exact: one bit more
    EXPECT_EQ(orrery::e4m3_bits(middle), bits + bits % 2) << bits;
    EXPECT_EQ(orrery::e4m3_bits(std::nextafter(middle, 0.0f)), bits) << bits;
    EXPECT_EQ(orrery::e4m3_bits(std::nextafter(middle, next)), bits + 1) << bits;
  }
  EXPECT_EQ(orrery::e4m3_bits(1e9f), 0x7eu);
  EXPECT_EQ(orrery::e4m3_bits(-1e9f), 0xfeu);
  EXPECT_EQ(orrery::e4m3_bits(__int_as_float(0x7fc00000)), 0x7fu);
}

TEST(Formats, S8StaysWithin127) {
  EXPECT_EQ(orrery::s8_bits(2.5f), 2u);
  EXPECT_EQ(orrery::s8_bits(-200.0f), 0x81u);
  EXPECT_EQ(orrery::s8_bits(127.6f), 127u);
  EXPECT_EQ(orrery::pack_bytes(1, 2, 3, 255), 0xff030201u);
}

TEST(Clock, CountsNanoseconds) {
  const u64 first = orrery::global_timer();
  EXPECT_GE(orrery::global_timer(), first);
}

}  // namespace
}  // namespace emulation
