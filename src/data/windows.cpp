#include "data/windows.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/random.h"

namespace orrery {

namespace {

std::vector<i64> all_of(i64 count) {
  std::vector<i64> list(static_cast<std::size_t>(count));
  std::iota(list.begin(), list.end(), i64{0});
  return list;
}

}  // namespace

Windows::Windows(const Episodes& episodes, WindowShape shape)
    : Windows(episodes, shape, all_of(episodes.count())) {}

Windows::Windows(const Episodes& episodes, WindowShape shape, const std::vector<i64>& chosen)
    : episodes_(&episodes), shape_(shape), chosen_(chosen) {
  i64 span = 0;
  check(shape.frameskip > 0 && shape.num_steps > 0 &&
            !__builtin_mul_overflow(shape.frameskip, shape.num_steps, &span),
        "windows of ", shape.num_steps, " steps with frameskip ", shape.frameskip,
        " were asked for; both must be positive");
  i64 total = 0;
  for (const i64 episode : chosen_) {
    check(episode >= 0 && episode < episodes.count(), "episode ", episode, " was chosen, ",
          episodes.name(), " has ", episodes.count());
    total += std::max<i64>(0, episodes.length(episode) - span + 1);
    before_.push_back(total);
  }
}

Windows::Place Windows::operator[](i64 window) const {
  check(window >= 0 && window < size(), "window ", window, " was asked for, there are ", size());
  const auto found = std::upper_bound(before_.begin(), before_.end(), window);
  const auto at = static_cast<std::size_t>(found - before_.begin());
  Place place;
  place.episode = chosen_[at];
  place.start = window - (at == 0 ? 0 : before_[at - 1]);
  place.row = episodes_->offset(place.episode) + place.start;
  return place;
}

void Windows::read_observations(i64 window, i64 column, std::byte* out) const {
  const i64 row = (*this)[window].row;
  episodes_->read(column, row, row + shape_.span(), shape_.frameskip, out);
}

void Windows::read_observations_f32(i64 window, i64 column, float* out) const {
  const i64 row = (*this)[window].row;
  episodes_->read_f32(column, row, row + shape_.span(), shape_.frameskip, out);
}

void Windows::read_actions_f32(i64 window, i64 column, float* out) const {
  const i64 row = (*this)[window].row;
  episodes_->read_f32(column, row, row + shape_.span(), 1, out);
}

EpisodeSplit split_episodes(i64 episodes, double fraction, u64 seed) {
  check(fraction > 0 && fraction <= 1, "a training fraction of ", fraction,
        " was asked for, above 0 and up to 1 is possible");
  i64 train = std::llround(fraction * static_cast<double>(episodes));
  if (episodes >= 2 && fraction < 1) train = std::clamp<i64>(train, 1, episodes - 1);
  // 1: keeps this draw apart from the order of the windows
  const u64 key = mix(mix(seed, static_cast<u64>(Stream::data_order)), 1);
  EpisodeSplit split;
  for (i64 e = 0; e < episodes; ++e) {
    const u64 place = permuted_index(key, static_cast<u64>(episodes), static_cast<u64>(e));
    (static_cast<i64>(place) < train ? split.train : split.validation).push_back(e);
  }
  return split;
}

}  // namespace orrery
