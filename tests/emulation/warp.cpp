// Collectives of a warp as plain loops over its lanes. Not instrumented: what lanes bring lies on
// their own stacks and is exchanged here, which is no race.

#include <cstring>

#include "block.h"
#include "emulation/fragments.h"
#include "formats.h"

namespace emulation {

namespace {

constexpr unsigned kAll = 0xffffffffu;

struct Shuffled {
  Shuffle kind;
  std::uint64_t value;
  unsigned operand;
  unsigned width;
  std::uint64_t result;
};

// the lane that `lane` reads; itself where the segment of `width` lanes ends
unsigned source_of(const Shuffled& mine, unsigned lane) {
  const unsigned begin = lane / mine.width * mine.width, end = begin + mine.width;
  switch (mine.kind) {
    case Shuffle::index:
      return begin + mine.operand % mine.width;
    case Shuffle::up:
      return mine.operand > lane - begin ? lane : lane - mine.operand;
    case Shuffle::down:
      return mine.operand >= end - lane ? lane : lane + mine.operand;
    case Shuffle::exclusive_or: {
      const unsigned source = (lane ^ mine.operand) % kWarp;
      return source >= end ? lane : source;
    }
  }
  return lane;
}

void complete_shuffle(void* const* lanes) {
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    auto* mine = static_cast<Shuffled*>(lanes[lane]);
    if (mine == nullptr) continue;
    const unsigned source = source_of(*mine, lane);
    if (lanes[source] == nullptr) {
      fail("a shuffle: lane %u reads lane %u, which the mask does not name", lane, source);
    }
    mine->result = static_cast<const Shuffled*>(lanes[source])->value;
  }
}

struct Ballot {
  bool predicate;
  unsigned set, named;  // lanes, when done
};

void complete_ballot(void* const* lanes) {
  unsigned set = 0, named = 0;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (lanes[lane] == nullptr) continue;
    named |= 1u << lane;
    if (static_cast<const Ballot*>(lanes[lane])->predicate) set |= 1u << lane;
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (lanes[lane] == nullptr) continue;
    static_cast<Ballot*>(lanes[lane])->set = set;
    static_cast<Ballot*>(lanes[lane])->named = named;
  }
}

struct Reduced {
  Reduction kind;
  bool is_signed;
  unsigned value, result;
};

unsigned combined(const Reduced& how, unsigned a, unsigned b) {
  const bool less = how.is_signed ? static_cast<int>(a) < static_cast<int>(b) : a < b;
  switch (how.kind) {
    case Reduction::add:
      return a + b;
    case Reduction::minimum:
      return less ? a : b;
    case Reduction::maximum:
      return less ? b : a;
    case Reduction::bit_and:
      return a & b;
    case Reduction::bit_or:
      return a | b;
    case Reduction::bit_xor:
      return a ^ b;
  }
  return a;
}

void complete_reduction(void* const* lanes) {
  bool first = true;
  unsigned total = 0;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (lanes[lane] == nullptr) continue;
    const auto& mine = *static_cast<const Reduced*>(lanes[lane]);
    total = first ? mine.value : combined(mine, total, mine.value);
    first = false;
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (lanes[lane] != nullptr) static_cast<Reduced*>(lanes[lane])->result = total;
  }
}

struct Matched {
  std::uint64_t value;
  unsigned equal;
};

void complete_match(void* const* lanes) {
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    auto* mine = static_cast<Matched*>(lanes[lane]);
    if (mine == nullptr) continue;
    mine->equal = 0;
    for (unsigned other = 0; other < kWarp; ++other) {
      if (lanes[other] == nullptr) continue;
      if (static_cast<const Matched*>(lanes[other])->value == mine->value) {
        mine->equal |= 1u << other;
      }
    }
  }
}

// Matrix products. Each lane holds registers; which elements of the matrices they are is written in
// device/ptx.h, and once more here.

struct Fragments {
  void* d;
  const std::uint32_t* a;
  const std::uint32_t* b;
};

const Fragments& fragments_of(void* const* lanes, unsigned lane) {
  return *static_cast<const Fragments*>(lanes[lane]);
}

// rows and columns of the accumulators, the same for every product: element e of lane l
unsigned row_of_d(unsigned lane, unsigned e) { return lane / 4 + 8 * (e / 2); }
unsigned column_of_d(unsigned lane, unsigned e) { return lane % 4 * 2 + e % 2; }

// Elements of Bits bits, 32 / Bits of them in a register, low bits first: a group of four lanes
// holds a row (of b a column), and a lane neighbours along k.
template <int Bits>
struct Packed {
  static constexpr unsigned kEach = 32 / Bits;
  static constexpr unsigned kDepth = Bits == 32 ? 8 : 256 / Bits;
  static std::uint32_t bits(std::uint32_t word, unsigned i) {
    if constexpr (Bits == 32) {
      return word;
    } else {
      return word >> (Bits * i) & ((1u << Bits) - 1);
    }
  }
};

// gathers a [16, depth] and b [depth, 8] as plain matrices of values, multiplies them, and adds to
// each lane's part of d
template <int Bits, typename Sum, typename Value>
void multiply(void* const* lanes, Value value) {
  constexpr unsigned depth = Packed<Bits>::kDepth, each = Packed<Bits>::kEach;
  Sum a[16][depth], b[depth][8], product[16][8] = {};
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    const Fragments& mine = fragments_of(lanes, lane);
    const unsigned group = lane / 4, first = lane % 4 * each;
    for (unsigned i = 0; i < each; ++i) {
      for (unsigned r = 0; r < 4; ++r) {
        // registers 0 and 1: rows of the upper and lower half; 2 and 3: the second half of k
        a[group + 8 * (r % 2)][first + 4 * each * (r / 2) + i] =
            value(Packed<Bits>::bits(mine.a[r], i));
      }
      for (unsigned r = 0; r < 2; ++r) {
        b[first + 4 * each * r + i][group] = value(Packed<Bits>::bits(mine.b[r], i));
      }
    }
  }
  for (unsigned row = 0; row < 16; ++row) {
    for (unsigned k = 0; k < depth; ++k) {
      for (unsigned column = 0; column < 8; ++column) {
        product[row][column] += a[row][k] * b[k][column];
      }
    }
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    auto* d = static_cast<Sum*>(fragments_of(lanes, lane).d);
    for (unsigned e = 0; e < 4; ++e) d[e] += product[row_of_d(lane, e)][column_of_d(lane, e)];
  }
}

void complete_bf16(void* const* lanes) { multiply<16, float>(lanes, bf16_value); }
void complete_tf32(void* const* lanes) { multiply<32, float>(lanes, tf32_value); }
void complete_e4m3(void* const* lanes) { multiply<8, float>(lanes, e4m3_value); }
void complete_s8(void* const* lanes) { multiply<8, std::int32_t>(lanes, s8_value); }

struct Rows {
  const uint4* row;
  std::uint32_t* parts;
  unsigned matrices;
  bool transposed;
};

void complete_rows(void* const* lanes) {
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    const Rows& mine = *static_cast<const Rows*>(lanes[lane]);
    for (unsigned m = 0; m < mine.matrices; ++m) {
      std::uint32_t part = 0;
      for (unsigned j = 0; j < 2; ++j) {
        unsigned row = lane / 4, column = lane % 4 * 2 + j;
        if (mine.transposed) {
          row = lane % 4 * 2 + j;
          column = lane / 4;
        }
        std::uint16_t halves[8];
        std::memcpy(halves, static_cast<const Rows*>(lanes[8 * m + row])->row, sizeof halves);
        part |= static_cast<std::uint32_t>(halves[column]) << (16 * j);
      }
      mine.parts[m] = part;
    }
  }
}

}  // namespace

std::uint64_t shuffle(Shuffle kind, unsigned mask, std::uint64_t value, unsigned operand,
                      int width) {
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
    fail("a shuffle over %d lanes; a power of two up to 32 was needed", width);
  }
  Shuffled mine = {kind, value, operand, static_cast<unsigned>(width), 0};
  collective("a shuffle", mask, complete_shuffle, &mine);
  return mine.result;
}

unsigned vote(Vote kind, unsigned mask, bool predicate) {
  Ballot mine = {predicate, 0, 0};
  collective("a vote", mask, complete_ballot, &mine);
  switch (kind) {
    case Vote::ballot:
      return mine.set;
    case Vote::all:
      return mine.set == mine.named ? 1 : 0;
    case Vote::any:
      return mine.set != 0 ? 1 : 0;
  }
  return 0;
}

unsigned reduce(Reduction kind, unsigned mask, unsigned value, bool is_signed) {
  Reduced mine = {kind, is_signed, value, 0};
  collective("a reduction", mask, complete_reduction, &mine);
  return mine.result;
}

unsigned match_any(unsigned mask, std::uint64_t value) {
  Matched mine = {value, 0};
  collective("__match_any_sync", mask, complete_match, &mine);
  return mine.equal;
}

void mma_bf16(float* d, const std::uint32_t* a, const std::uint32_t* b) {
  Fragments mine = {d, a, b};
  collective("mma.m16n8k16 (bf16)", kAll, complete_bf16, &mine);
}
void mma_tf32(float* d, const std::uint32_t* a, const std::uint32_t* b) {
  Fragments mine = {d, a, b};
  collective("mma.m16n8k8 (tf32)", kAll, complete_tf32, &mine);
}
void mma_s8(std::int32_t* d, const std::uint32_t* a, const std::uint32_t* b) {
  Fragments mine = {d, a, b};
  collective("mma.m16n8k32 (s8)", kAll, complete_s8, &mine);
}
void mma_e4m3(float* d, const std::uint32_t* a, const std::uint32_t* b) {
  Fragments mine = {d, a, b};
  collective("mma.m16n8k32 (e4m3)", kAll, complete_e4m3, &mine);
}

void exchange_rows(const uint4& row, std::uint32_t* parts, int matrices, bool transposed) {
  Rows mine = {&row, parts, static_cast<unsigned>(matrices), transposed};
  collective("ldmatrix", kAll, complete_rows, &mine);
}

}  // namespace emulation
