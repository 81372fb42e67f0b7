#include "device/tensor_map.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "base/error.h"
#include "device/ring.h"
#include "device/wgmma_layout.h"

namespace orrery {
namespace {

const void* at(std::size_t address) { return reinterpret_cast<const void*>(address); }

TEST(TensorMap, SaysWhatTheMatrixIs) {
  const TensorMapShape shape = tensor_map_shape(at(4096), 384, 257, 400, 128);
  EXPECT_EQ(shape.data, at(4096));
  EXPECT_EQ(shape.sizes[0], 384u);
  EXPECT_EQ(shape.sizes[1], 257u);
  EXPECT_EQ(shape.row_stride, 400u);
  EXPECT_EQ(shape.box[0], 128u);
  EXPECT_EQ(shape.box[1], 128u);
  EXPECT_EQ(shape.box_bytes(), 16384u);
}

TEST(TensorMap, RefusesWhatTheEngineDoesNotTake) {
  constexpr i64 kBig = i64{1} << 32, kFar = i64{1} << 40;
  struct Case {
    std::size_t address;
    i64 row_bytes, rows, stride;
    bool taken;
  };
  for (const Case& c :
       {Case{48, 16, 3, 16, true}, Case{16, 1, kBig, 16, true}, Case{16, kBig, 2, kFar - 16, true},
        Case{40, 16, 3, 16, false}, Case{48, 16, 3, 24, false}, Case{16, 128, 4, 112, false},
        Case{16, 128, 4, kFar, false}, Case{16, 128, 4, -128, false}, Case{16, 128, 4, 0, false},
        Case{16, 0, 4, 128, false}, Case{16, 128, 0, 128, false},
        Case{16, 16, kBig + 1, 16, false}}) {
    EXPECT_EQ(tensor_map_takes(at(c.address), c.row_bytes, c.rows, c.stride), c.taken);
    if (c.taken) {
      EXPECT_NO_THROW(tensor_map_shape(at(c.address), c.row_bytes, c.rows, c.stride, 256));
    } else {
      EXPECT_THROW(tensor_map_shape(at(c.address), c.row_bytes, c.rows, c.stride, 256), Error);
    }
  }
  EXPECT_THROW(tensor_map_shape(at(16), 128, 4, 128, 0), Error);
  EXPECT_THROW(tensor_map_shape(at(16), 128, 4, 128, 257), Error);
}

TEST(TensorMap, BoxesLieAsWarpgroupsReadThem) {
  std::set<u32> places;
  for (u32 row = 0; row < 256; ++row) {
    for (u32 byte = 0; byte < kBoxBytes; ++byte) {
      EXPECT_EQ(box_place(row, byte), wgmma_place(row, byte)) << row << ", " << byte;
      places.insert(box_place(row, byte));
    }
  }
  EXPECT_EQ(places.size(), 256 * kBoxBytes);
  EXPECT_EQ(*places.rbegin(), 256 * kBoxBytes - 1);
}

// a barrier as the hardware has it: the parity of the phase that is under way, and who is missing
struct Barrier {
  int wanted, missing;
  u32 phase = 0;
  explicit Barrier(int count) : wanted(count), missing(count) {}
  bool passed(u32 parity) const { return phase != parity; }
  void arrive() {
    ASSERT_GT(missing, 0) << "more arrivals than a phase has";
    if (--missing > 0) return;
    missing = wanted;
    phase ^= 1;
  }
};

// One producer and several consumers take turns in an order of chance, each as far as the barriers
// let it: what a consumer reads is what was meant for its step, and nothing is overwritten that
// somebody still wants.
void expect_in_step(int places, int consumers, int steps, u64 seed) {
  std::vector<Barrier> full(static_cast<std::size_t>(places), Barrier(1));
  std::vector<Barrier> empty(static_cast<std::size_t>(places), Barrier(consumers));
  std::vector<int> holds(static_cast<std::size_t>(places), -1), readers(holds.size(), 0);
  struct Side {
    RingStep step;
    int done = 0;
  };
  std::vector<Side> sides(static_cast<std::size_t>(consumers) + 1);
  const auto act = [&](std::size_t who) {
    Side& side = sides[who];
    if (side.done == steps) return false;
    const auto place = static_cast<std::size_t>(side.step.place);
    if (who == 0) {
      if (!empty[place].passed(side.step.empty_parity())) return false;
      EXPECT_EQ(readers[place], 0) << "overwritten before it was read";
      holds[place] = side.done;
      readers[place] = consumers;
      full[place].arrive();
    } else {
      if (!full[place].passed(side.step.full_parity())) return false;
      EXPECT_EQ(holds[place], side.done);
      --readers[place];
      empty[place].arrive();
    }
    ++side.done;
    side.step.advance(places);
    return true;
  };
  u64 chance = seed;
  int idle = 0;
  const auto finished = [&] {
    for (const Side& side : sides) {
      if (side.done < steps) return false;
    }
    return true;
  };
  while (!finished()) {
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    idle = act(static_cast<std::size_t>((chance >> 33) % sides.size())) ? 0 : idle + 1;
    ASSERT_LT(idle, 10000) << "nobody can go on";
  }
}

TEST(Ring, KeepsProducerAndConsumersInStep) {
  for (const int places : {1, 2, 3, 4, 7}) {
    for (const int consumers : {1, 2, 8}) {
      for (u64 seed = 0; seed < 20; ++seed) expect_in_step(places, consumers, 50, seed);
    }
  }
}

TEST(Ring, NeverTakesOneRoundForAnother) {
  // each side is never more than one round from the other, so parities of two rounds in turn differ
  RingStep step;
  for (int n = 0; n < 40; ++n) {
    EXPECT_EQ(step.place, n % 5);
    EXPECT_EQ(step.full_parity(), static_cast<u32>(n / 5 % 2));
    EXPECT_NE(step.full_parity(), step.empty_parity());
    step.advance(5);
  }
}

}  // namespace
}  // namespace orrery
