#include "data/goals.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace orrery {

namespace {

// The exponential law by layers of equal area: G. Marsaglia, W. W. Tsang, "The ziggurat method for
// generating random variables", J. Stat. Soft. 5(8), 2000, with 256 layers and 53 bits, as NumPy
// has it.
struct Layers {
  static constexpr int kCount = 256;
  static constexpr double kTail = 7.69711747013104972;       // where the lowest layer ends
  static constexpr double kArea = 0.0039496598225815571993;  // of a layer

  std::array<u64, kCount> inside;   // below: the draw needs no second look
  std::array<double, kCount> step;  // from 53 bits to x
  std::array<double, kCount> height;

  Layers() {
    constexpr double kTwo53 = 9007199254740992.0;
    double x = kTail;
    const double low = kArea / std::exp(-kTail);
    inside[0] = static_cast<u64>(kTail / low * kTwo53);
    inside[1] = 0;
    step[0] = low / kTwo53;
    step[kCount - 1] = kTail / kTwo53;
    height[0] = 1;
    height[kCount - 1] = std::exp(-kTail);
    for (std::size_t i = kCount - 2; i >= 1; --i) {
      const double inner = -std::log(kArea / x + std::exp(-x));
      inside[i + 1] = static_cast<u64>(inner / x * kTwo53);
      step[i] = inner / kTwo53;
      height[i] = std::exp(-inner);
      x = inner;
    }
  }
};

const Layers& layers() {
  static const Layers made;
  return made;
}

}  // namespace

GoalDraws::GoalDraws(const Windows& windows, GoalOptions options)
    : windows_(&windows), options_(options), random_(options.seed) {
  double total = 0;
  for (const double p : options_.probabilities) {
    check(p >= 0, "a goal's probability of ", p, " was asked for");
    total += p;
  }
  check(std::abs(total - 1) <= 1e-5, "the probabilities of goals add up to ", total, ", not 1");
  const WindowShape& shape = windows.shape();
  const i64 current = options_.current_steps.value_or(shape.num_steps);
  check(current >= 1, "a window's current observation is number ", current, ", 1 is the first");
  now_ = (current - 1) * shape.frameskip;
  const bool later = options_.probabilities[1] > 0 || options_.probabilities[2] > 0;

  i64 left = 0, skipped = 0;
  for (const i64 episode : windows.chosen()) {
    const i64 length = windows.episodes().length(episode);
    const i64 count = std::max<i64>(0, length - shape.span() + 1);
    // start + now_ + frameskip < length
    const i64 kept = later ? std::clamp<i64>(length - now_ - shape.frameskip, 0, count) : count;
    skipped_.push_back(skipped);
    left += kept;
    skipped += count - kept;
    before_.push_back(left);
  }
}

i64 GoalDraws::window(i64 index) const {
  check(index >= 0 && index < size(), "window ", index, " with a goal was asked for, there are ",
        size());
  const auto at = static_cast<std::size_t>(std::upper_bound(before_.begin(), before_.end(), index) -
                                           before_.begin());
  return index + skipped_[at];
}

double GoalDraws::exponential() {
  for (;;) {
    u64 bits = random_.bits64() >> 3;
    const auto layer = static_cast<std::size_t>(bits & 255u);
    bits >>= 8;
    const double x = static_cast<double>(bits) * layers().step[layer];
    if (bits < layers().inside[layer]) return x;
    if (layer == 0) return Layers::kTail - std::log1p(-random_.random());
    const auto& height = layers().height;
    if ((height[layer - 1] - height[layer]) * random_.random() + height[layer] < std::exp(-x)) {
      return x;
    }
  }
}

i64 GoalDraws::geometric(double p) {
  if (p < 1.0 / 3) {
    const double z = std::ceil(-exponential() / std::log1p(-p));
    return z >= 9.223372036854776e18 ? std::numeric_limits<i64>::max() : static_cast<i64>(z);
  }
  // likely to stop soon: the sum of the law is searched
  const double u = random_.random();
  double sum = p, product = p;
  i64 x = 1;
  while (u > sum) {
    product *= 1 - p;
    sum += product;
    ++x;
  }
  return x;
}

GoalDraws::Goal GoalDraws::draw(i64 index) {
  const Windows::Place place = (*windows_)[window(index)];
  const Episodes& episodes = windows_->episodes();
  const i64 frameskip = windows_->shape().frameskip;
  const i64 now = place.start + now_;
  const i64 most = (episodes.length(place.episode) - 1 - now) / frameskip;

  Goal goal = {.kind = Kind::current, .episode = place.episode, .step = now};
  const double r = random_.random();
  const auto& p = options_.probabilities;
  if (r < p[0]) {
    goal.kind = Kind::random;
    const i64 row = random_.integers(0, episodes.rows());
    i64 low = 0, high = episodes.count();
    while (high - low > 1) {
      const i64 middle = (low + high) / 2;
      (episodes.offset(middle) <= row ? low : high) = middle;
    }
    goal.episode = low;
    goal.step = row - episodes.offset(low);
  } else if (r < p[0] + p[1]) {
    goal.kind = Kind::geometric_future;
    goal.step = now + std::min(geometric(std::max(1 - options_.gamma, 1e-6)), most) * frameskip;
  } else if (r < p[0] + p[1] + p[2]) {
    goal.kind = Kind::uniform_future;
    goal.step = now + random_.integers(1, most + 1) * frameskip;
  }
  goal.row = episodes.offset(goal.episode) + goal.step;
  return goal;
}

}  // namespace orrery
