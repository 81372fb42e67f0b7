#include "data/chosen_episodes.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace orrery {
namespace {

TEST(ChosenEpisodes, AreTheirRowsInTheGivenOrder) {
  // a column of row numbers
  std::vector<float> rows(20);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i);
  const std::vector<i64> lengths = {5, 1, 8, 6};
  const auto made = [&] {
    TensorMap columns;
    columns.emplace("row", Tensor::of<float>({20}, rows));
    return episodes_in_memory("rows", lengths, std::move(columns));
  };
  const auto some = chosen_episodes(made(), {2, 0});
  EXPECT_EQ(some->count(), 2);
  EXPECT_EQ(some->length(0), 8);
  std::vector<float> all(13);
  some->read_f32(0, 0, 13, 1, all.data());
  EXPECT_EQ(all, (std::vector<float>{6, 7, 8, 9, 10, 11, 12, 13, 0, 1, 2, 3, 4}));
  // a stride runs on from one episode into the next
  for (i64 begin = 0; begin < 13; ++begin) {
    for (i64 stride = 1; stride < 14; ++stride) {
      std::vector<float> got(static_cast<std::size_t>((13 - begin + stride - 1) / stride));
      some->read_f32(0, begin, 13, stride, got.data());
      for (std::size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i],
                  all[static_cast<std::size_t>(begin) + i * static_cast<std::size_t>(stride)]);
      }
    }
  }
  EXPECT_THROW(chosen_episodes(made(), {4}), Error);
  EXPECT_THROW(chosen_episodes(made(), {}), Error);
}

}  // namespace
}  // namespace orrery
