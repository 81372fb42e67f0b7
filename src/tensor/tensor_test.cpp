#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tensor/arena.h"

namespace orrery {
namespace {

TEST(View, IndexesSlicesAndTransposes) {
  std::vector<float> values(24);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const View<float, 3> view(values.data(), {2, 3, 4});
  EXPECT_EQ(view(1, 2, 3), 23);
  EXPECT_EQ(view[1][0](2), 14);
  EXPECT_EQ(view.slice(1, 1, 3)(0, 0, 0), 4);
  EXPECT_EQ(view.transposed(0, 2)(3, 2, 1), 23);
  EXPECT_FALSE(view.transposed(0, 2).contiguous());
  EXPECT_EQ(view.as_rows().size(0), 6);
  const View<const float, 3> constant = view;
  EXPECT_EQ(constant(0, 0, 1), 1);
}

TEST(Tensor, RefusesWrongTypesAndRanks) {
  Tensor tensor = Tensor::zeros<float>({2, 3});
  EXPECT_THROW((tensor.view<double, 2>()), Error);
  EXPECT_THROW((tensor.view<float, 3>()), Error);
  EXPECT_THROW(Tensor(DType::f32, Shape({i64{1} << 62, 16})), Error);
  EXPECT_THROW(Tensor(DType::f32, Shape({-1})), Error);
}

TEST(Tensor, ConvertsHalfAndBrain) {
  const std::vector<u16> halves = {0x3C00, 0xC000, 0x0001, 0x7C00};
  Tensor half(DType::f16, {4});
  std::memcpy(half.bytes(), halves.data(), 8);
  const Tensor wide = half.converted(DType::f32);
  EXPECT_EQ(wide.span<float>()[0], 1.0f);
  EXPECT_EQ(wide.span<float>()[1], -2.0f);
  EXPECT_EQ(wide.span<float>()[2], 0x1p-24f);
  EXPECT_TRUE(std::isinf(wide.span<float>()[3]));
}

TEST(Arena, MeasuresWhatItHandsOut) {
  Arena measure;
  measure.take<float, 1>({3});
  measure.take<float, 2>({5, 7});
  Block block(measure.used());
  Arena arena(block);
  const auto a = arena.take<float, 1>({3});
  const auto b = arena.take<float, 2>({5, 7});
  EXPECT_EQ(reinterpret_cast<std::byte*>(b.data()) - reinterpret_cast<std::byte*>(a.data()), 64);
  EXPECT_THROW((arena.take<float, 1>({1})), Error);
}

}  // namespace
}  // namespace orrery
