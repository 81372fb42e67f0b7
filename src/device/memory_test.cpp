#include "device/memory.h"

#include <gtest/gtest.h>

#include "device/peak_memory.h"

namespace orrery {
namespace {

TEST(Block, LargeAndSmallAreZeroedAndAligned) {
  // around the size from which large pages are asked for
  for (const std::size_t bytes :
       {std::size_t{1}, std::size_t{4097}, std::size_t{8} << 20, (std::size_t{24} << 20) + 100}) {
    const Block block(bytes);
    EXPECT_EQ(0u, reinterpret_cast<std::uintptr_t>(block.data()) % kAlignment);
    std::size_t others = 0;
    for (std::size_t i = 0; i < bytes; ++i) others += block.data()[i] != std::byte{0} ? 1u : 0u;
    EXPECT_EQ(0u, others) << bytes;
  }
  EXPECT_EQ(nullptr, Block(0).data());
}

TEST(PeakMemory, GrowsWithWhatIsHeld) {
  const std::size_t before = peak_memory_bytes();
  constexpr std::size_t kBytes = std::size_t{512} << 20;
  const Block block(kBytes);
  EXPECT_GE(peak_memory_bytes(), kBytes);
  EXPECT_GE(peak_memory_bytes(), before);
}

}  // namespace
}  // namespace orrery
