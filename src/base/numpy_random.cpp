#include "base/numpy_random.h"

#include <bit>
#include <cmath>
#include <numeric>
#include <unordered_set>
#include <utility>

#include "base/error.h"

namespace orrery {

namespace {

__extension__ using u128 = unsigned __int128;

u128 join(const std::array<u64, 2>& words) { return (u128{words[1]} << 64) | words[0]; }
std::array<u64, 2> split(u128 value) {
  return {static_cast<u64>(value), static_cast<u64>(value >> 64)};
}

// the eight words that numpy.random.SeedSequence(seed) gives a generator
std::array<u32, 8> seed_words(u64 seed) {
  // one running constant per phase: every use of it gives the next
  u32 constant = 0x43B0D7E5u;
  const auto scramble = [&constant](u32 value, u32 multiplier) {
    value ^= constant;
    constant *= multiplier;
    value *= constant;
    return value ^ (value >> 16);
  };

  // a pool of four words, each stirred into the three others
  constexpr u32 kMixPool = 0x931E8875u;
  std::array<u32, 4> pool = {static_cast<u32>(seed), static_cast<u32>(seed >> 32), 0, 0};
  for (u32& word : pool) word = scramble(word, kMixPool);
  for (std::size_t from = 0; from < pool.size(); ++from) {
    for (std::size_t to = 0; to < pool.size(); ++to) {
      if (from == to) continue;
      const u32 mixed = 0xCA01F9DDu * pool[to] - 0x4973F715u * scramble(pool[from], kMixPool);
      pool[to] = mixed ^ (mixed >> 16);
    }
  }

  constant = 0x8B51F9DDu;
  std::array<u32, 8> words;
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = scramble(pool[i % 4], 0x58F38DEDu);
  return words;
}

}  // namespace

NumpyRandom::NumpyRandom(u64 seed) {
  const auto words = seed_words(seed);
  std::array<u64, 4> values;
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = words[2 * i] | (u64{words[2 * i + 1]} << 32);
  }
  const u128 start = (u128{values[0]} << 64) | values[1];
  const u128 sequence = (u128{values[2]} << 64) | values[3];

  increment_ = split(2 * sequence + 1);
  step();
  state_ = split(join(state_) + start);
  step();
}

void NumpyRandom::step() {
  constexpr u128 kMultiplier = (u128{0x2360ED051FC65DA4u} << 64) | 0x4385DF649FCCF645u;
  state_ = split(join(state_) * kMultiplier + join(increment_));
}

u64 NumpyRandom::bits64() {
  step();
  return std::rotr(state_[0] ^ state_[1], static_cast<int>(state_[1] >> 58));
}

u32 NumpyRandom::bits32() {
  if (has_half_) {
    has_half_ = false;
    return half_;
  }
  const u64 bits = bits64();
  has_half_ = true;
  half_ = static_cast<u32>(bits >> 32);
  return static_cast<u32>(bits);
}

double NumpyRandom::random() { return static_cast<double>(bits64() >> 11) * 0x1p-53; }

u64 NumpyRandom::up_to(u64 last) {
  constexpr u64 kLast32 = 0xFFFFFFFFu;
  if (last == 0) return 0;  // nothing is drawn
  if (last == kLast32) return bits32();
  if (last == ~u64{0}) return bits64();

  // the high half of draw * count, rejecting the few low halves that would favour some numbers
  const u64 count = last + 1;
  if (last < kLast32) {
    u64 product = bits32() * count;
    if (static_cast<u32>(product) < count) {
      const u64 threshold = (kLast32 - last) % count;
      while (static_cast<u32>(product) < threshold) product = bits32() * count;
    }
    return product >> 32;
  }
  u128 product = u128{bits64()} * count;
  if (static_cast<u64>(product) < count) {
    const u64 threshold = (~u64{0} - last) % count;
    while (static_cast<u64>(product) < threshold) product = u128{bits64()} * count;
  }
  return static_cast<u64>(product >> 64);
}

i64 NumpyRandom::integers(i64 low, i64 high) {
  check(low < high, "integers: [", low, ", ", high, ") is empty");
  const u64 last = static_cast<u64>(high) - static_cast<u64>(low) - 1;
  return static_cast<i64>(static_cast<u64>(low) + up_to(last));
}

std::vector<i64> NumpyRandom::choice(i64 count, i64 chosen) {
  check(chosen >= 0 && chosen <= count, "choice: ", chosen, " different numbers of ", count,
        " were asked for");
  std::vector<i64> numbers;
  const auto shuffle_down_to = [&](i64 first) {
    for (i64 i = static_cast<i64>(numbers.size()) - 1; i >= first; --i) {
      const u64 other = up_to(static_cast<u64>(i));
      std::swap(numbers[other], numbers[static_cast<std::size_t>(i)]);
    }
  };

  if (count > 10000 && chosen > count / 50) {
    // many of many: shuffle only the tail and keep it
    numbers.resize(static_cast<std::size_t>(count));
    std::iota(numbers.begin(), numbers.end(), i64{0});
    shuffle_down_to(count - chosen > 1 ? count - chosen : 1);
    numbers.erase(numbers.begin(), numbers.end() - chosen);
    return numbers;
  }

  // R. Floyd's method (CACM 30(9), 1987): a number drawn before is replaced by the newest one, then
  // all are shuffled
  std::unordered_set<i64> taken;
  numbers.reserve(static_cast<std::size_t>(chosen));
  for (i64 newest = count - chosen; newest < count; ++newest) {
    const i64 drawn = static_cast<i64>(up_to(static_cast<u64>(newest)));
    const i64 number = taken.insert(drawn).second ? drawn : newest;
    taken.insert(number);
    numbers.push_back(number);
  }
  shuffle_down_to(1);
  return numbers;
}

u32 OldNumpyRandom::integer(u32 low, u32 high) {
  check(low < high, "integer: [", low, ", ", high, ") is empty");
  const u32 most = high - 1 - low;
  u32 mask = most;
  for (const int shift : {1, 2, 4, 8, 16}) mask |= mask >> shift;
  for (;;) {
    const u32 draw = word() & mask;
    if (draw <= most) return low + draw;
  }
}

double OldNumpyRandom::normal() {
  for (;;) {
    const double x1 = 2 * real() - 1;
    const double x2 = 2 * real() - 1;
    const double square = x1 * x1 + x2 * x2;
    if (square < 1 && square > 0) return std::sqrt(-2 * std::log(square) / square) * x2;
  }
}

double OldNumpyRandom::real() {
  const double high = word() >> 5;
  const double low = word() >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;  // 2^26, 2^53
}

}  // namespace orrery
