#include "env/pusht_draw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "base/random.h"

namespace orrery::pusht {
namespace {

constexpr Colour kBack = {255, 255, 255};
constexpr Colour kInk = {10, 200, 30};

IntPoint random_point(Random& random, int low, int high) {
  const auto one = [&] {
    return low + static_cast<int>(random.below(static_cast<u64>(high - low)));
  };
  const int x = one();
  return {x, one()};
}

// Any primitive, anywhere: a window shows what the whole picture shows there.
TEST(Canvas, WindowsShowTheWholePicture) {
  Random random(5, 1);
  Canvas whole;
  Canvas part;
  for (int i = 0; i < 4000; ++i) {
    const IntPoint corner = random_point(random, 0, 450);
    const Rect window = {corner.x, corner.y, corner.x + 1 + static_cast<int>(random.below(60)),
                         corner.y + 1 + static_cast<int>(random.below(60))};
    std::array<IntPoint, 5> points;
    // near the window or beyond the picture's border
    const bool near = random.below(2) == 0;
    for (IntPoint& p : points) {
      p = near ? random_point(random, -20, 20) : random_point(random, -60, 572);
      if (near) p = {p.x + corner.x, p.y + corner.y};
    }
    const int radius = 1 + static_cast<int>(random.below(20));
    const auto draw = [&](Canvas& canvas, const Rect& rect) {
      canvas.start(rect, kBack);
      const auto rule = i % 8 < 4 ? PolygonRule::integer : PolygonRule::real;
      if (i % 4 == 0) canvas.polygon(points, kInk, rule);
      if (i % 4 == 1) canvas.fat_line(points[0], points[1], kInk, rule);
      if (i % 4 == 2) canvas.disc(points[0], radius, kInk);
      if (i % 4 == 3) canvas.smooth_line(points[0], points[1], kInk);
    };
    draw(whole, {0, 0, kCanvasSize, kCanvasSize});
    draw(part, window);
    for (int y = window.y0; y < window.y1; ++y) {
      ASSERT_TRUE(
          std::equal(part.row(y) + window.x0, part.row(y) + window.x1, whole.row(y) + window.x0))
          << "case " << i << ", row " << y;
    }
  }
}

int inked(const Canvas& canvas, int y) {
  int count = 0;
  for (int x = canvas.window().x0; x < canvas.window().x1; ++x) {
    count += canvas.row(y)[x] != 0xffffff;
  }
  return count;
}

// counts by hand from the rules of the primitives
TEST(Canvas, Primitives) {
  Canvas canvas;
  const Rect window = {0, 0, 40, 40};
  canvas.start(window, kBack);
  canvas.polygon(std::array<IntPoint, 4>{{{5, 5}, {10, 5}, {10, 9}, {5, 9}}}, kInk,
                 PolygonRule::integer);
  EXPECT_EQ(inked(canvas, 4), 0);
  for (int y = 5; y <= 9; ++y) EXPECT_EQ(inked(canvas, y), 6) << y;
  EXPECT_EQ(inked(canvas, 10), 0);

  canvas.start(window, kBack);
  canvas.disc({20, 20}, 2, kInk);
  EXPECT_EQ(inked(canvas, 18), 2);
  EXPECT_EQ(inked(canvas, 19), 4);
  EXPECT_EQ(inked(canvas, 20), 4);
  EXPECT_EQ(inked(canvas, 21), 2);

  // an edge that runs leftwards is rounded towards its upper end: x = trunc(-3 / 4 k) + 10
  canvas.start(window, kBack);
  const std::array<IntPoint, 3> triangle = {{{10, 5}, {7, 9}, {10, 9}}};
  canvas.polygon(triangle, kInk, PolygonRule::integer);
  EXPECT_EQ(inked(canvas, 6), 1);  // trunc(-0.75) + 10 = 10
  canvas.start(window, kBack);
  canvas.polygon(triangle, kInk, PolygonRule::real);
  EXPECT_EQ(inked(canvas, 6), 2);  // trunc(9.25)

  canvas.start(window, kBack);
  canvas.smooth_line({3, 3}, {3, 8}, {0, 0, 0});
  for (int y = 3; y <= 8; ++y) EXPECT_EQ(canvas.row(y)[3], 0u);
  EXPECT_EQ(canvas.row(5)[4], 0xffffffu);
}

// OpenCV's integer bilinear filter, written as the plain formula: columns beyond the border take
// its pixel, rows beyond it blend its row with itself
std::vector<u8> resized(const std::vector<u8>& canvas, int size) {
  struct Weights {
    int from, to;
    int first, second;
  };
  std::vector<Weights> across, down;
  for (int i = 0; i < size; ++i) {
    const auto f = static_cast<float>((i + 0.5) * (512.0 / size) - 0.5);
    const int k = static_cast<int>(std::floor(f));
    const float t = f - static_cast<float>(k);
    down.push_back({std::max(k, 0), std::min(k + 1, 511),
                    static_cast<int>(std::nearbyint((1 - t) * 2048)),
                    static_cast<int>(std::nearbyint(t * 2048))});
    across.push_back(down.back());
    if (k < 0) across.back() = {0, 0, 2048, 0};
    if (k >= 511) across.back() = {511, 511, 2048, 0};
  }
  std::vector<u8> result;
  for (const Weights& v : down) {
    for (const Weights& h : across) {
      for (int c = 0; c < 3; ++c) {
        const auto row = [&](int y) {
          const u8* s = &canvas[static_cast<std::size_t>(y * 512 * 3 + c)];
          return s[h.from * 3] * h.first + s[h.to * 3] * h.second;
        };
        result.push_back(static_cast<u8>(
            (((v.first * (row(v.from) >> 4)) >> 16) + ((v.second * (row(v.to) >> 4)) >> 16) + 2) >>
            2));
      }
    }
  }
  return result;
}

// Frames put together from windows are the whole canvas resized, wherever bodies are.
TEST(Painter, FramesAreTheResizedCanvas) {
  Random random(6, 1);
  const BodyShape tee = body_shape(ShapeKind::tee, 30);
  World world(body_shape(ShapeKind::circle, 40), 0, tee, {});
  Look look = {.goal_angle = 0.8, .goal_parts = world.block_parts()};
  std::map<int, Painter> painters;
  for (const int size : {96, 224, 512, 680}) painters.emplace(size, size);
  std::map<int, std::vector<u8>> frames;
  int touching = 0;
  for (int i = 0; i < 60; ++i) {
    const auto number = [&] { return -80 + 670 * random.uniform_double(); };
    WorldState state;
    state.block = {number(), number()};
    state.block_angle = 7 * random.uniform_double();
    // half of the time near the block, to have marks of contacts
    state.agent =
        i % 2 == 0 ? Point{number(), number()} : Point{state.block.x + 30, state.block.y + 20};
    world.set_state(state, PoseOrder::angle_first);
    std::vector<DrawnShape> shapes;
    std::vector<ContactMark> marks;
    world.drawn(shapes, marks);
    touching += !marks.empty();
    look.background[0] = static_cast<u8>(i < 30 ? 255 : 60);
    for (auto& [size, painter] : painters) {
      painter.set_look(look);
      frames[size].resize(static_cast<std::size_t>(size * size * 3));
      painter.draw(shapes, marks, View<u8, 3>(frames[size].data(), {size, size, 3}));
    }
    for (const int size : {96, 224, 680}) {
      EXPECT_TRUE(frames[size] == resized(frames[512], size)) << i << ", " << size << " pixels";
    }
  }
  EXPECT_GT(touching, 5);
}

// rows of a frame of zeros that a cross paints: the number of red pixels in each
std::vector<int> red_pixels(int size, const Point& at) {
  std::vector<u8> values(static_cast<std::size_t>(size * size * 3));
  View<u8, 3> frame(values.data(), {size, size, 3});
  draw_cross(at, frame);
  std::vector<int> counts;
  for (int y = 0; y < size; ++y) {
    int count = 0;
    for (int x = 0; x < size; ++x) count += frame(y, x, 0) == 255;
    if (count > 0) counts.push_back(count);
  }
  return counts;
}

// Counts read off cv2.drawMarker of OpenCV 5.0.0: 8 long and 1 thick, 18 and 2, 56 and 7.
TEST(Cross, IsOpenCvs) {
  EXPECT_EQ(red_pixels(96, {256, 256}), (std::vector<int>{1, 1, 1, 1, 9, 1, 1, 1, 1}));
  EXPECT_EQ(red_pixels(224, {256, 256}),
            (std::vector<int>{1, 3, 3, 3, 3, 3, 3, 3, 3, 19, 21, 19, 3, 3, 3, 3, 3, 3, 3, 3, 1}));
  std::vector<int> large = {1, 5, 7, 7};
  large.insert(large.end(), 24, 9);
  large.insert(large.end(), {57, 61, 63, 63, 65, 63, 63, 61, 57});
  large.insert(large.end(), 24, 9);
  large.insert(large.end(), {7, 7, 5, 1});
  EXPECT_EQ(red_pixels(680, {256, 256}), large);
}

TEST(Cross, IsCutAtTheBorder) {
  // a quarter of it; and one whose centre is just outside, so that only the sides of an arm show
  EXPECT_EQ(red_pixels(96, {0, 0}), (std::vector<int>{5, 1, 1, 1, 1}));
  EXPECT_EQ(red_pixels(680, {512, 512}).size(), 31u);
  EXPECT_EQ(red_pixels(680, {-1e9, 256}).size(), 0u);
}

TEST(Painter, OtherSizesAreRefused) { EXPECT_THROW(Painter(100), Error); }

}  // namespace
}  // namespace orrery::pusht
