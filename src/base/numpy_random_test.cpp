#include "base/numpy_random.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace orrery {
namespace {

using testing::ElementsAre;

// one number that depends on every value and its place
u64 hash_of(const std::vector<i64>& values, u64 hash = 0) {
  for (const i64 value : values) {
    hash = hash * 6364136223846793005u + static_cast<u64>(value) + 1;
  }
  return hash;
}

TEST(NumpyRandom, GivesTheOutputsOfPcg64) {
  NumpyRandom random(42);
  EXPECT_EQ(random.bits64(), 14276969152011380360u);
  EXPECT_EQ(random.bits64(), 8095878257575067585u);
  EXPECT_EQ(random.bits64(), 15838336090824644132u);
}

TEST(NumpyRandom, HalvesOfOneOutputComeLowFirst) {
  NumpyRandom random(42);
  EXPECT_EQ(random.bits32(), 14276969152011380360u & 0xFFFFFFFFu);
  // a 64-bit draw in between does not touch the kept half
  EXPECT_EQ(random.bits64(), 8095878257575067585u);
  EXPECT_EQ(random.bits32(), 14276969152011380360u >> 32);
  EXPECT_EQ(random.bits32(), 15838336090824644132u & 0xFFFFFFFFu);
}

// the published evaluation: 50 of PushT's 1,869,611 valid rows, seed 42
TEST(NumpyRandom, ChoosesThePublishedStartRows) {
  auto rows = NumpyRandom(42).choice(1869611, 50);
  std::sort(rows.begin(), rows.end());
  EXPECT_THAT(rows,
              ElementsAre(119312, 126983, 160681, 166860, 172256, 176071, 239518, 308912, 341291,
                          376661, 424843, 517429, 662823, 693237, 752349, 809550, 820511, 829003,
                          833260, 842032, 842175, 935448, 959517, 984290, 1019728, 1036848, 1180960,
                          1203761, 1223763, 1267444, 1303777, 1309700, 1341378, 1375543, 1417323,
                          1423007, 1446959, 1455274, 1461207, 1469607, 1538226, 1547338, 1569976,
                          1604659, 1605206, 1659995, 1669787, 1732665, 1814823, 1823997));
}

// values of NumPy 2.4.6: default_rng(seed).choice(count, chosen, replace=False)
TEST(NumpyRandom, ChoosesInNumpysOrder) {
  struct Case {
    u64 seed;
    i64 count;
    i64 chosen;
    std::vector<i64> first;
    u64 hash;
  };
  const std::vector<Case> cases = {
      {0u, 1, 1, {0}, 1u},
      {0u, 1, 0, {}, 0u},
      {1u, 10, 10, {0, 2, 8, 5}, 2042791238398208291u},
      {42u, 100, 6, {63, 74, 42, 85}, 1358869317579954029u},
      {7u, 10000, 5000, {3609, 3856, 4037, 9626}, 11630726918908369439u},
      {8u, 10001, 200, {8203, 8223, 8565, 6067}, 13224470946333734799u},
      {8u, 10001, 201, {1512, 970, 3331, 2888}, 14098314918005247984u},
      {9u, 20000, 20000, {8487, 6152, 18596, 926}, 1194013543647904344u},
      {123456789u, 1869611, 50, {636672, 510731, 383965, 35368}, 3049154018555185052u},
      {3u, 10000000, 1000, {3710560, 3618015, 5475239, 1983628}, 1986197564696631204u},
      {18446744073709551615u,
       8589934592,
       40,
       {4296542950, 63591986, 4521673088, 4966651646},
       5260347756431251862u},
      {4294967296u,
       4294967296,
       9,
       {1301146044, 4264680390, 4108195563, 3439874037},
       4361931550552256418u},
      {5u, 4294967297, 5, {2213306431, 2881021349, 97294836, 3457461228}, 13369774018002308586u},
      {11u, 3221225472, 300, {287453298, 567531507, 1601605615, 2111347982}, 14144818363779648259u},
      {12u, 60000, 1201, {29962, 15699, 17746, 5565}, 13873190459516586315u},
  };
  for (const Case& one : cases) {
    const auto numbers = NumpyRandom(one.seed).choice(one.count, one.chosen);
    ASSERT_EQ(static_cast<i64>(numbers.size()), one.chosen);
    const auto first = std::min(one.first.size(), numbers.size());
    EXPECT_EQ(std::vector<i64>(numbers.begin(), numbers.begin() + static_cast<i64>(first)),
              one.first)
        << one.chosen << " of " << one.count;
    EXPECT_EQ(hash_of(numbers), one.hash) << one.chosen << " of " << one.count;
  }
}

// 300 seeds, sizes drawn by the generator itself; NumPy 2.4.6 gave this hash of all numbers chosen
TEST(NumpyRandom, ChoosesAlikeForManySizes) {
  NumpyRandom sizes(99);
  u64 hash = 0;
  for (i64 seed = 0; seed < 300; ++seed) {
    const i64 count = sizes.integers(1, 40000);
    const i64 most = seed % 2 != 0 ? count : std::min<i64>(count, 300);
    const i64 chosen = sizes.integers(0, most + 1);
    hash = hash_of(NumpyRandom(static_cast<u64>(seed)).choice(count, chosen), hash);
  }
  EXPECT_EQ(hash, 5608420554520764464u);
}

// NumPy 2.4.6, one generator: every way a range is drawn (nothing, 32 bits, Lemire 32, Lemire 64)
TEST(NumpyRandom, DrawsBoundedIntegers) {
  NumpyRandom random(2024);
  const auto three = [&](i64 low, i64 high) {
    const i64 a = random.integers(low, high);
    const i64 b = random.integers(low, high);
    return std::vector<i64>{a, b, random.integers(low, high)};
  };
  EXPECT_THAT(three(0, 10), ElementsAre(2, 6, 0));
  EXPECT_THAT(three(-5, 6), ElementsAre(-3, -2, -2));
  EXPECT_THAT(three(0, 4294967296), ElementsAre(3902749668, 3433680739, 3931350386));
  EXPECT_THAT(three(0, 4294967295), ElementsAre(4276937446, 337308679, 610880994));
  EXPECT_THAT(three(0, 1099511627783), ElementsAre(86559639774, 198817885739, 395435939308));
  EXPECT_THAT(three(INT64_MIN, INT64_MAX),
              ElementsAre(-6094449147534221113, 1637320377919034407, 2154718313393525019));
  EXPECT_THAT(three(3, 4), ElementsAre(3, 3, 3));
  EXPECT_THAT(three(0, 3221225472), ElementsAre(3176139143, 339471035, 1822347271));
  EXPECT_THAT(three(0, 6917529027641081856),
              ElementsAre(3217475563223708953, 6748894872106394073, 5530069428510012600));
  EXPECT_EQ(random.random(), 0x1.3192b38507f0cp-1);
  EXPECT_EQ(random.random(), 0x1.4d2875c161752p-2);
  EXPECT_EQ(random.random(), 0x1.a697a2f9095e8p-3);
}

TEST(NumpyRandom, DrawsUniformNumbers) {
  NumpyRandom random(42);
  EXPECT_EQ(random.uniform(-1.0, 1.0), 0x1.1887ef345b648p-1);
  EXPECT_EQ(random.uniform(-1.0, 1.0), -0x1.f4b533cb0dc10p-4);
}

// values of numpy.random.RandomState
TEST(OldNumpyRandom, RepeatsNumPy) {
  const auto draws = [](u64 seed) {
    OldNumpyRandom random(seed);
    std::vector<double> all;
    for (int i = 0; i < 3; ++i) all.push_back(random.integer(50, 450));
    for (int i = 0; i < 2; ++i) all.push_back(random.integer(100, 400));
    all.push_back(random.normal());
    return all;
  };
  EXPECT_THAT(draws(0), ElementsAre(222, 97, 167, 292, 351, -0x1.2258941855050p+1));
  EXPECT_THAT(draws(42), ElementsAre(152, 398, 320, 206, 171, -0x1.1ca42ce8158a6p+0));
  EXPECT_THAT(draws(4294967295), ElementsAre(340, 62, 121, 164, 314, -0x1.8349d42929b6fp-1));
  OldNumpyRandom random(1);
  EXPECT_EQ(random.integer(5, 6), 5u);
  EXPECT_THROW(random.integer(3, 3), Error);
}

TEST(NumpyRandom, SaysWhatIsWrong) {
  NumpyRandom random(1);
  EXPECT_THROW(random.integers(3, 3), Error);
  EXPECT_THROW(random.integers(4, 3), Error);
  EXPECT_THROW(random.choice(5, 6), Error);
  EXPECT_THROW(random.choice(5, -1), Error);
  EXPECT_TRUE(random.choice(0, 0).empty());
}

}  // namespace
}  // namespace orrery
