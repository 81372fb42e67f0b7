#include "train/distance.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/random.h"
#include "data/windows.h"
#include "models/lewm/training_head.h"
#include "ops/adamw.h"
#include "ops/elementwise.h"
#include "ops/strided.h"
#include "train/latents.h"
#include "train/schedule.h"

namespace orrery::train {

namespace {

// latents of an episode, one for every frameskip rows
struct Track {
  i64 first, count;
};

// pairs a and b of latents, and how many blocks lie between them
struct Pair {
  i64 a, b;
  double gap;
};

class Latents {
 public:
  Latents(Context& ctx, const lewm::Model& model, const Episodes& episodes, i64 frameskip,
          DistanceObserver& observer) {
    FrameEncoder encoder(ctx, model, episodes);
    for (i64 e = 0; e < episodes.count(); ++e) {
      const i64 frames = (episodes.length(e) + frameskip - 1) / frameskip;
      tracks_.push_back({total_, frames});
      total_ += frames;
    }
    width_ = model.config().latent();
    values_.resize(static_cast<std::size_t>(total_ * width_));
    for (i64 e = 0; e < episodes.count(); ++e) {
      const Track track = tracks_[static_cast<std::size_t>(e)];
      encoder.encode(episodes.offset(e), track.count, frameskip, row(track.first));
      observer.encoded(track.first + track.count, total_);
    }
  }

  i64 total() const { return total_; }
  i64 width() const { return width_; }
  const Track& track(i64 episode) const { return tracks_[static_cast<std::size_t>(episode)]; }
  float* row(i64 index) { return values_.data() + index * width_; }
  const float* row(i64 index) const { return values_.data() + index * width_; }

 private:
  std::vector<Track> tracks_;
  i64 total_ = 0, width_ = 0;
  std::vector<float> values_;
};

// Draws pairs from some episodes, long ones more often: every latent is as likely.
class Pairs {
 public:
  Pairs(const Latents& latents, std::vector<i64> episodes, const DistanceSettings& settings)
      : latents_(latents), episodes_(std::move(episodes)), settings_(settings) {
    for (const i64 e : episodes_) before_.push_back(count() + latents_.track(e).count);
  }
  i64 count() const { return before_.empty() ? 0 : before_.back(); }

  Pair of_one_episode(Random& random) const {
    const auto [track, at] = any(random);
    const i64 most = std::min(settings_.largest_gap, track.count - 1 - at);
    const auto gap = static_cast<i64>(random.below(static_cast<u64>(most + 1)));
    return {track.first + at, track.first + at + gap, static_cast<double>(gap)};
  }
  Pair draw(Random& random) const {
    if (static_cast<double>(random.uniform()) >= settings_.others) return of_one_episode(random);
    const auto [track, at] = any(random);
    for (int tries = 0; tries < 16; ++tries) {
      const auto [other, there] = any(random);
      if (other.first == track.first) continue;
      return {track.first + at, other.first + there, static_cast<double>(settings_.largest_gap)};
    }
    return of_one_episode(random);  // one episode is nearly all there is
  }

 private:
  std::pair<Track, i64> any(Random& random) const {
    const auto chosen = static_cast<i64>(random.below(static_cast<u64>(count())));
    const auto at = std::upper_bound(before_.begin(), before_.end(), chosen) - before_.begin();
    const Track& track = latents_.track(episodes_[static_cast<std::size_t>(at)]);
    return {track, chosen - (before_[static_cast<std::size_t>(at)] - track.count)};
  }

  const Latents& latents_;
  std::vector<i64> episodes_;
  const DistanceSettings& settings_;
  std::vector<i64> before_;  // latents in the episodes up to and with each
};

// place of each value among all, equal values sharing the mean of theirs
std::vector<double> ranks_of(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (std::size_t i = begin; i < end; ++i) {
      ranks[order[i]] = static_cast<double>(begin + end - 1) / 2.0;
    }
    begin = end;
  }
  return ranks;
}

double rank_correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const std::vector<double> x = ranks_of(a), y = ranks_of(b);
  const double mean = static_cast<double>(x.size() - 1) / 2.0;
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0.0;
}

void judge(const Latents& latents, const Pairs& pairs, const lewm::DistanceHead& head, u64 seed,
           DistanceReport& report) {
  constexpr int kPairs = 4096;
  Random random(seed, mix(static_cast<u64>(Stream::data_order), 2));
  std::vector<double> gaps, learned, plain;
  std::vector<float> from_goal(static_cast<std::size_t>(head.sizes().hidden)),
      units(2 * from_goal.size());
  for (int i = 0; i < kPairs; ++i) {
    const Pair pair = pairs.of_one_episode(random);
    const float* a = latents.row(pair.a);
    const float* b = latents.row(pair.b);
    head.begin_goal(b, from_goal.data());
    const double blocks = static_cast<double>(head.distance(a, b, from_goal.data(), units.data())) *
                          static_cast<double>(head.sizes().largest_gap);
    double square = 0;
    for (i64 d = 0; d < latents.width(); ++d) {
      const double away = static_cast<double>(a[d]) - static_cast<double>(b[d]);
      square += away * away;
    }
    gaps.push_back(pair.gap);
    learned.push_back(blocks);
    plain.push_back(square);
    report.error += std::abs(blocks - pair.gap) / kPairs;
  }
  report.rank_correlation = rank_correlation(learned, gaps);
  report.latent_rank_correlation = rank_correlation(plain, gaps);
}

// Memory and moments of the head while it learns.
class Student {
 public:
  Student(lewm::DistanceHead& head, i64 batch)
      : head_(head.head()),
        largest_gap_(static_cast<double>(head.sizes().largest_gap)),
        gradient_(Tensor::zeros<float>(head_.parameters.shape())),
        m_(gradient_.clone()),
        v_(gradient_.clone()) {
    Arena measure;
    lay_out(measure, batch);
    memory_ = Block(measure.used());
    Arena arena(memory_);
    lay_out(arena, batch);
  }

  double step(Context& ctx, const Latents& latents, const std::vector<Pair>& pairs,
              const AdamW& adamw, i64 number) {
    const auto count = static_cast<i64>(pairs.size());
    for (i64 i = 0; i < count; ++i) {
      const Pair& pair = pairs[static_cast<std::size_t>(i)];
      lewm::pair_of(latents.row(pair.a), latents.row(pair.b), latents.width(), &pairs_(i, 0));
    }
    lewm::head_forward(ctx, head_.config, head_.tensors, true, {}, pairs_, state_, guess_);
    double sum = 0;
    for (i64 i = 0; i < count; ++i) {
      const double error =
          static_cast<double>(guess_(i, 0)) - pairs[static_cast<std::size_t>(i)].gap / largest_gap_;
      sum += error * error;
      dguess_(i, 0) = static_cast<float>(2.0 * error / static_cast<double>(count));
    }
    const View<float, 1> gradient = gradient_.view<float, 1>();
    fill(ctx, 0.0f, gradient);
    lewm::head_backward(ctx, head_.config, head_.tensors, head_.bound(gradient.data()), {}, pairs_,
                        state_, dguess_, dpairs_);
    const double norm = std::sqrt(sum_of_squares(ctx, gradient));
    adamw_step(ctx, adamw, {}, number, static_cast<float>(std::min(1.0, 1.0 / (norm + 1e-6))),
               gradient, head_.parameters.view<float, 1>(), m_.view<float, 1>(),
               v_.view<float, 1>());
    return sum / static_cast<double>(count);
  }

 private:
  void lay_out(Arena& arena, i64 batch) {
    pairs_ = arena.take<float, 2>({batch, head_.config.input});
    state_ = lewm::take_head(arena, head_.config, batch, Precision::f32);
    guess_ = arena.take<float, 2>({batch, 1});
    dguess_ = arena.take<float, 2>({batch, 1});
    dpairs_ = arena.take<float, 2>({batch, head_.config.input});
  }

  lewm::SideHead& head_;
  double largest_gap_;
  Tensor gradient_, m_, v_;
  Block memory_;
  View<float, 2> pairs_, guess_, dguess_, dpairs_;
  lewm::HeadState state_;
};

}  // namespace

lewm::DistanceHead learn_distance(Context& ctx, const lewm::Model& model, const Episodes& episodes,
                                  i64 frameskip, const DistanceSettings& settings,
                                  DistanceReport& report, DistanceObserver& observer) {
  check(episodes.count() >= 2, episodes.name(), " has ", episodes.count(),
        " episodes, a distance head needs two");
  const Latents latents(ctx, model, episodes, frameskip, observer);
  const EpisodeSplit split =
      split_episodes(episodes.count(), 1.0 - settings.validation_fraction, settings.seed);
  const Pairs pairs(latents, split.train, settings);
  check(pairs.count() > static_cast<i64>(split.train.size()), episodes.name(),
        ": no episode is as long as two blocks of ", frameskip, " rows");

  lewm::DistanceHead head(
      {.latent = latents.width(), .hidden = settings.hidden, .largest_gap = settings.largest_gap});
  lewm::initialize(head.head(), settings.seed);
  Student student(head, settings.batch);
  const Schedule schedule{settings.lr, warmup_steps(0.02, settings.steps), settings.steps};
  std::vector<Pair> drawn(static_cast<std::size_t>(settings.batch));
  for (i64 step = 0; step < settings.steps; ++step) {
    Random random(settings.seed,
                  mix(mix(static_cast<u64>(Stream::data_order), 1), static_cast<u64>(step)));
    for (Pair& pair : drawn) pair = pairs.draw(random);
    const AdamW adamw{.lr = static_cast<float>(schedule.learning_rate(step)),
                      .weight_decay = static_cast<float>(settings.weight_decay)};
    const double loss = student.step(ctx, latents, drawn, adamw, step + 1);
    check(std::isfinite(loss), "the distance head's loss is ", loss, " in step ", step + 1);
    observer.stepped(step + 1, settings.steps, loss);
  }
  head.arrange();
  report = {.latents = latents.total()};
  const bool held_out = !split.validation.empty();
  judge(latents, held_out ? Pairs(latents, split.validation, settings) : pairs, head, settings.seed,
        report);
  return head;
}

}  // namespace orrery::train
