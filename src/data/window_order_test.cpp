#include "data/window_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "data/loader.h"

namespace orrery {
namespace {

// rows in chunks, nothing in them
class Chunked final : public Episodes {
 public:
  Chunked(std::vector<i64> lengths, i64 chunk)
      : Episodes("chunked", std::move(lengths)), chunk_(chunk) {
    columns_.push_back({"pixels", DType::uint8, {2, 2, 3}});
    columns_.push_back({"action", DType::f32, {1}});
  }
  i64 chunk_rows(i64) const override { return chunk_; }

 protected:
  void do_read(i64 index, i64 begin, i64 end, i64 stride, std::byte* out) const override {
    for (i64 row = begin; row < end; row += stride) {
      const i64 bytes = column(index).row_bytes();
      for (i64 i = 0; i < bytes; ++i)
        *out++ = index == 0 ? static_cast<std::byte>(row) : std::byte{0};
    }
  }

 private:
  i64 chunk_;
};

std::vector<i64> some_lengths(i64 count) {
  std::vector<i64> lengths;
  for (i64 e = 0; e < count; ++e) lengths.push_back(e * 37 % 120);
  return lengths;
}

std::vector<i64> order_of(const WindowOrders& orders, i64 epoch, i64 size) {
  const auto order = orders.of_epoch(epoch);
  std::vector<i64> list;
  for (i64 place = 0; place < size; ++place) list.push_back(order->window(place));
  return list;
}

TEST(WindowOrder, EveryEpochVisitsEveryWindowOnce) {
  for (const i64 chunk : {1, 7, 100, 100000}) {
    const Chunked episodes(some_lengths(300), chunk);
    for (const WindowShape shape : {WindowShape{5, 4}, WindowShape{1, 1}, WindowShape{40, 3}}) {
      const Windows windows(episodes, shape);
      for (const WindowOrder kind :
           {WindowOrder::in_order, WindowOrder::shuffled, WindowOrder::by_chunk}) {
        for (const i64 group_bytes : {i64{1}, i64{20000}, i64{1} << 40}) {
          const WindowOrders orders(windows, kind, 5, 0, group_bytes);
          std::set<std::vector<i64>> different;
          for (i64 epoch = 0; epoch < 3; ++epoch) {
            std::vector<i64> list = order_of(orders, epoch, windows.size());
            different.insert(list);
            std::sort(list.begin(), list.end());
            for (i64 i = 0; i < windows.size(); ++i) {
              ASSERT_EQ(list[static_cast<std::size_t>(i)], i);
            }
          }
          EXPECT_EQ(different.size(),
                    kind == WindowOrder::in_order || windows.size() < 2 ? 1u : 3u);
        }
      }
    }
  }
}

TEST(WindowOrder, DependsOnTheSeedAlone) {
  const Chunked episodes(some_lengths(100), 50);
  const Windows windows(episodes, {5, 4});
  const WindowOrders one(windows, WindowOrder::by_chunk, 5, 0, 20000);
  const WindowOrders same(windows, WindowOrder::by_chunk, 5, 0, 20000);
  const WindowOrders other(windows, WindowOrder::by_chunk, 6, 0, 20000);
  order_of(same, 7, windows.size());  // what was asked before does not matter
  EXPECT_EQ(order_of(one, 2, windows.size()), order_of(same, 2, windows.size()));
  EXPECT_NE(order_of(one, 2, windows.size()), order_of(other, 2, windows.size()));
}

// decodings of a cache that holds `held` chunks, least recently used dropped
i64 decodings(const Windows& windows, const std::vector<i64>& order, i64 chunk, std::size_t held) {
  std::vector<i64> cache;
  i64 count = 0;
  for (const i64 window : order) {
    const i64 row = windows[window].row;
    for (i64 step = 0; step < windows.shape().num_steps; ++step) {
      const i64 wanted = (row + step * windows.shape().frameskip) / chunk;
      const auto found = std::find(cache.begin(), cache.end(), wanted);
      if (found != cache.end()) {
        cache.erase(found);
      } else {
        ++count;
      }
      cache.insert(cache.begin(), wanted);
      if (cache.size() > held) cache.pop_back();
    }
  }
  return count;
}

TEST(WindowOrder, ByChunkDecodesEachChunkAboutOnce) {
  const Chunked episodes(std::vector<i64>(300, 100), 100);
  const Windows windows(episodes, {5, 4});
  const i64 chunks = episodes.rows() / 100;
  // a row has 12 bytes: groups of 40 chunks, a cache of 60
  const WindowOrders orders(windows, WindowOrder::by_chunk, 1, 0, 40 * 1200);
  const i64 by_chunk = decodings(windows, order_of(orders, 0, windows.size()), 100, 60);
  // a block has two chunks and reaches into a third
  EXPECT_LE(by_chunk, chunks * 16 / 10);
  const WindowOrders random(windows, WindowOrder::shuffled, 1, 0, 40 * 1200);
  EXPECT_GT(decodings(windows, order_of(random, 0, windows.size()), 100, 60), chunks * 20);
  // and yet a batch is of many places
  const auto order = orders.of_epoch(0);
  std::set<i64> episodes_seen;
  for (i64 place = 0; place < 64; ++place) {
    episodes_seen.insert(windows[order->window(place)].episode);
  }
  EXPECT_GE(episodes_seen.size(), 15u);
}

TEST(WindowOrder, ManyThreadsMakeTheSameBatches) {
  const Chunked episodes(some_lengths(200), 30);
  const Windows windows(episodes, {2, 3});
  const ZScore scale(std::vector<double>{0}, std::vector<double>{1});
  const LoaderOptions options = {.batch = 16, .seed = 4, .order = WindowOrder::by_chunk};
  LoaderOptions many = options;
  many.threads = 4;
  many.prefetch = 6;
  WindowLoader one(windows, scale, options), four(windows, scale, many);
  // on, back, far ahead, and over the end of an epoch
  std::vector<i64> steps;
  for (i64 step = 0; step < 40; ++step) steps.push_back(step);
  for (const i64 step : {3, 4, 500, 501, 502, 0}) steps.push_back(step);
  for (i64 step = one.steps_per_epoch() - 3; step < one.steps_per_epoch() + 3; ++step) {
    steps.push_back(step);
  }
  for (const i64 step : steps) {
    const WindowBatch& a = one.batch(step);
    const WindowBatch& b = four.batch(step);
    ASSERT_EQ(a.windows, b.windows) << step;
    ASSERT_EQ(0, std::memcmp(a.pixels.data(), b.pixels.data(),
                             static_cast<std::size_t>(a.pixels.numel())));
    ASSERT_EQ(a.pixels.data()[0], static_cast<u8>(windows[a.windows[0]].row));
  }
}

}  // namespace
}  // namespace orrery
