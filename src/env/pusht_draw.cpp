#include "env/pusht_draw.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace orrery::pusht {

namespace {

constexpr Colour kWallColour = {211, 211, 211};
constexpr Colour kContactColour = {231, 76, 60};
constexpr double kRim = 4;  // of the agent, around its lighter disc
constexpr IntPoint kWalls[4][2] = {
    {{5, 506}, {5, 5}}, {{5, 5}, {506, 5}}, {{506, 5}, {506, 506}}, {{5, 506}, {506, 506}}};

// outlines and round ends reach this far beyond the corners, contact marks one pixel less
constexpr int kMargin = 4;

// far outside, coordinates are only as good as "far outside"
constexpr double kFar = 1 << 20;

int whole(double value) { return static_cast<int>(std::nearbyint(std::clamp(value, -kFar, kFar))); }
IntPoint whole(const Point& p) { return {whole(p.x), whole(p.y)}; }

Colour lighter(const Colour& colour) {
  Colour result;
  for (std::size_t c = 0; c < 3; ++c) {
    result[c] =
        static_cast<u8>(std::nearbyint(std::min(1.2f * static_cast<float>(colour[c]), 255.0f)));
  }
  return result;
}

Rect around(std::span<const IntPoint> points, int margin) {
  Rect rect = {points[0].x, points[0].y, points[0].x, points[0].y};
  for (const IntPoint& p : points) {
    rect = {std::min(rect.x0, p.x), std::min(rect.y0, p.y), std::max(rect.x1, p.x),
            std::max(rect.y1, p.y)};
  }
  return {rect.x0 - margin, rect.y0 - margin, rect.x1 + margin + 1, rect.y1 + margin + 1};
}

std::array<IntPoint, 4> corners_of(const DrawnShape& shape) {
  return {whole(shape.corners[0]), whole(shape.corners[1]), whole(shape.corners[2]),
          whole(shape.corners[3])};
}

Rect box_of(const DrawnShape& shape) {
  if (shape.radius > 0) {
    return around(std::array{whole(shape.centre)}, whole(shape.radius) + 1);
  }
  return around(corners_of(shape), kMargin);
}

Rect box_of(const ContactMark& mark) {
  return around(std::array{whole(mark.from), whole(mark.to)}, 2);
}

// the published drawing closes an outline by its first corner once more
void fill(Canvas& canvas, const std::array<IntPoint, 4>& corners, const Colour& colour,
          PolygonRule rule) {
  canvas.polygon(std::array{corners[0], corners[1], corners[2], corners[3], corners[0]}, colour,
                 rule);
}

}  // namespace

Painter::Painter(int size) : size_(size) {
  check(draws(size), "pusht: pictures are 96, 224, 512 or 680 pixels a side, ", size,
        " was asked for");
  const double scale = static_cast<double>(kCanvasSize) / size;
  constexpr int kLast = kCanvasSize - 1;
  for (int i = 0; i < size; ++i) {
    const auto source = static_cast<float>((i + 0.5) * scale - 0.5);
    const auto from = static_cast<int>(std::floor(source));
    const float share = source - static_cast<float>(from);
    const int first = static_cast<int>(std::nearbyint((1 - share) * 2048));
    const int second = static_cast<int>(std::nearbyint(share * 2048));
    const int here = std::clamp(from, 0, kLast);
    down_.push_back({here, std::clamp(from + 1, 0, kLast), first, second});
    const bool beyond = from < 0 || from >= kLast;
    across_.push_back(beyond ? Tap{here, here, 2048, 0} : down_.back());
  }
}

void Painter::set_look(const Look& look) {
  if (background_drawn_ && look == look_) return;
  look_ = look;
  background_.resize(static_cast<std::size_t>(size_ * size_ * 3));
  patch({0, 0, size_, size_}, {}, {}, View<u8, 3>(background_.data(), {size_, size_, 3}));
  background_drawn_ = true;
}

void Painter::draw_window(const Rect& window, std::span<const DrawnShape> shapes,
                          std::span<const ContactMark> marks) {
  canvas_.start(window, look_.background);
  if (look_.draws_goal) {
    const double c = std::cos(look_.goal_angle);
    const double s = std::sin(look_.goal_angle);
    for (const auto& part : look_.goal_parts) {
      std::array<IntPoint, 4> corners;
      for (std::size_t i = 0; i < corners.size(); ++i) {
        corners[i] = whole(Point{c * part[i].x - s * part[i].y + look_.goal_position.x,
                                 s * part[i].x + c * part[i].y + look_.goal_position.y});
      }
      fill(canvas_, corners, look_.goal, look_.rule);
    }
  }
  for (const DrawnShape& shape : shapes) {
    if (!window.meets(box_of(shape))) continue;
    const Colour& colour = shape.agent ? look_.agent : look_.block;
    if (shape.radius > 0) {
      const IntPoint centre = whole(shape.centre);
      canvas_.disc(centre, whole(shape.radius), colour);
      canvas_.disc(centre, whole(shape.radius - kRim), lighter(colour));
      continue;
    }
    const auto corners = corners_of(shape);
    fill(canvas_, corners, lighter(colour), look_.rule);
    for (std::size_t i = 0; i < corners.size(); ++i) {
      canvas_.fat_line(corners[i], corners[(i + 1) % corners.size()], colour, look_.rule);
    }
  }
  for (const auto& wall : kWalls) {
    canvas_.fat_line(wall[0], wall[1], kWallColour, look_.rule);
  }
  for (const ContactMark& mark : marks) {
    canvas_.smooth_line(whole(mark.from), whole(mark.to), kContactColour);
  }
}

Rect Painter::output_rect(const Rect& canvas) const {
  // the last tap before `end` and the first whose second pixel is not before `begin`
  const auto first = [](const std::vector<Tap>& taps, int begin) {
    const auto it = std::lower_bound(taps.begin(), taps.end(), begin,
                                     [](const Tap& tap, int at) { return tap.to < at; });
    return static_cast<int>(it - taps.begin());
  };
  const auto end = [](const std::vector<Tap>& taps, int stop) {
    const auto it = std::lower_bound(taps.begin(), taps.end(), stop,
                                     [](const Tap& tap, int at) { return tap.from < at; });
    return static_cast<int>(it - taps.begin());
  };
  return {first(across_, canvas.x0), first(down_, canvas.y0), end(across_, canvas.x1),
          end(down_, canvas.y1)};
}

void Painter::reduce(const Rect& output, View<u8, 3> frame) const {
  for (int y = output.y0; y < output.y1; ++y) {
    const Tap& down = down_[static_cast<std::size_t>(y)];
    const u32* upper = canvas_.row(down.from);
    const u32* lower = canvas_.row(down.to);
    u8* out = &frame(y, output.x0, 0);
    for (int x = output.x0; x < output.x1; ++x, out += 3) {
      const Tap& across = across_[static_cast<std::size_t>(x)];
      const u32 a = upper[across.from];
      const u32 b = upper[across.to];
      const u32 c = lower[across.from];
      const u32 d = lower[across.to];
      if (a == b && a == c && a == d) {
        // weights sum to 2048 and what truncation takes is less than the rounding gives
        out[0] = static_cast<u8>(a);
        out[1] = static_cast<u8>(a >> 8);
        out[2] = static_cast<u8>(a >> 16);
        continue;
      }
      for (int channel = 0; channel < 3; ++channel) {
        const auto level = [&](u32 pixel) {
          return static_cast<int>((pixel >> (8 * channel)) & 0xff);
        };
        const int above = level(a) * across.first + level(b) * across.second;
        const int below = level(c) * across.first + level(d) * across.second;
        out[channel] = static_cast<u8>(
            (((down.first * (above >> 4)) >> 16) + ((down.second * (below >> 4)) >> 16) + 2) >> 2);
      }
    }
  }
}

void Painter::patch(const Rect& output, std::span<const DrawnShape> shapes,
                    std::span<const ContactMark> marks, View<u8, 3> frame) {
  const auto tap = [](const std::vector<Tap>& taps, int i) {
    return taps[static_cast<std::size_t>(i)];
  };
  const Rect window = {tap(across_, output.x0).from, tap(down_, output.y0).from,
                       tap(across_, output.x1 - 1).to + 1, tap(down_, output.y1 - 1).to + 1};
  draw_window(window, shapes, marks);
  reduce(output, frame);
}

void Painter::draw(std::span<const DrawnShape> shapes, std::span<const ContactMark> marks,
                   View<u8, 3> frame) {
  check(frame.shape() == Shape({size_, size_, 3}) && frame.contiguous(),
        "pusht: a frame has shape ", Shape({size_, size_, 3}), ", ", frame.shape(), " was given");
  ORRERY_ASSERT(background_drawn_);
  std::memcpy(frame.data(), background_.data(), background_.size());

  // windows that have a pixel in common become one, so that nothing is drawn twice
  changed_.clear();
  const auto add = [&](const Rect& box) {
    Rect rect = output_rect(box);
    if (rect.empty()) return;
    for (std::size_t i = 0; i < changed_.size();) {
      if (changed_[i].meets(rect)) {
        rect = rect.united(changed_[i]);
        changed_[i] = changed_.back();
        changed_.pop_back();
        i = 0;
      } else {
        ++i;
      }
    }
    changed_.push_back(rect);
  };
  for (const DrawnShape& shape : shapes) add(box_of(shape));
  for (const ContactMark& mark : marks) add(box_of(mark));
  for (const Rect& rect : changed_) patch(rect, shapes, marks, frame);
}

void draw_cross(const Point& at, View<u8, 3> frame) {
  const auto height = static_cast<int>(frame.size(0)), width = static_cast<int>(frame.size(1));
  const int side = std::min(height, width);
  // numbers as the published code cuts them: towards zero, the factors as doubles
  const int half = static_cast<int>(8.0 / 96 * side) / 2;
  const int thick = static_cast<int>(1.0 / 96 * side);
  // a thick line is a rectangle around it, inclusive, and a disc at each end
  const int beside = thick > 1 ? (thick + 1) / 2 : 0;
  const auto cut = [](double value) { return static_cast<int>(std::clamp(value, -kFar, kFar)); };
  const int x = cut(at.x / kCanvasSize * width), y = cut(at.y / kCanvasSize * height);
  const auto run = [&](int x1, int x2, int row) {
    if (row < 0 || row >= height) return;
    for (int i = std::max(x1, 0); i <= std::min(x2, width - 1); ++i) {
      u8* pixel = &frame(row, i, 0);
      pixel[0] = 255;
      pixel[1] = pixel[2] = 0;
    }
  };
  for (int i = -beside; i <= beside; ++i) run(x - half, x + half, y + i);
  for (int i = -half; i <= half; ++i) run(x - beside, x + beside, y + i);
  for (const auto& [cx, cy] :
       {std::pair(x - half, y), {x + half, y}, {x, y - half}, {x, y + half}}) {
    // an eighth of the circle, walked with an error that says when to step inwards
    int error = 0;
    for (int along = 0, out = beside; along <= out;) {
      for (const int sign : {-1, 1}) {
        run(cx - out, cx + out, cy + sign * along);
        run(cx - along, cx + along, cy + sign * out);
      }
      error += 2 * along + 1;
      ++along;
      if (error > 0) {
        error -= 2 * out - 1;
        --out;
      }
    }
  }
}

}  // namespace orrery::pusht
