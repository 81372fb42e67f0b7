// What the terms mean is tested where they are put together (train/losses_test.cpp, the golden
// losses); here, that a CUDA device comes to what plain loops do.
#include "ops/latent_terms.h"

#include <functional>

#include "base/text.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

struct Sizes {
  i64 windows, frames, width;
};
constexpr Sizes kSizes[] = {{2, 2, 1}, {5, 3, 7}, {9, 4, 33}, {130, 4, 20}, {3, 4, 300}};

// values and slopes of one term: value, dz, and what else it fills
struct Found {
  std::vector<double> value, slopes;
  std::vector<float> others;
};

// a run on a context, given where z, pred, dz, value and scratch lie
struct Places {
  View<const float, 3> z, pred;
  View<float, 3> dpred;
  View<double, 3> centred, dz;
  View<double, 2> mean, square, covariance;
  View<double, 1> value;
};
using Term = std::function<void(Context&, const Places&)>;

Found run(Context& ctx, const Sizes& n, const Term& term) {
  const i64 count = n.windows * n.frames * n.width;
  const i64 most = std::max(n.windows, n.frames);
  Buffer<float> z(ctx, random_values(count, 1, 0.6f)),
      pred(ctx, random_values(n.windows * (n.frames - 1) * n.width, 2)),
      dpred(ctx, n.windows * (n.frames - 1) * n.width);
  Buffer<double> centred(ctx, random_values<double>(count, 3, 0.6f)),
      dz(ctx, random_values<double>(count, 4)), mean(ctx, most * n.width),
      square(ctx, most * n.width), covariance(ctx, n.width * n.width), value(ctx, 1);
  const std::array<i64, 3> sizes = {n.windows, n.frames, n.width};
  const std::array<i64, 3> fewer = {n.windows, n.frames - 1, n.width};
  term(ctx, {z.view<3>(sizes), pred.view<3>(fewer), dpred.view<3>(fewer), centred.view<3>(sizes),
             dz.view<3>(sizes), mean.view<2>({most, n.width}), square.view<2>({most, n.width}),
             covariance.view<2>({n.width, n.width}), value.flat()});
  return {value.values(), dz.values(), dpred.values()};
}

const std::pair<const char*, Term> kTerms[] = {
    {"prediction",
     [](Context& ctx, const Places& p) {
       prediction_term(ctx, p.z, p.pred, 1, {0.7, p.z.size(0), p.dz, p.value}, p.dpred);
     }},
    {"prediction of a part, without slopes of z",
     [](Context& ctx, const Places& p) {
       prediction_term(ctx, p.z, p.pred, 0, {0.7, 2 * p.z.size(0), {}, p.value}, p.dpred);
     }},
    {"alignment",
     [](Context& ctx, const Places& p) {
       alignment_term(ctx, p.z, {0.7, p.z.size(0), p.dz, p.value});
     }},
    {"straightening",
     [](Context& ctx, const Places& p) {
       straightening_term(ctx, p.z, {0.7, p.z.size(0), p.dz, p.value});
     }},
    {"centred over windows",
     [](Context& ctx, const Places& p) {
       const Over over{static_cast<double>(p.z.size(1)), static_cast<double>(p.z.size(0)), nullptr};
       const auto mean = p.mean.slice(0, 0, p.z.size(1));
       centre_members(ctx, p.z.transposed(), over, mean, p.centred.transposed());
       add_centred(ctx, View<const double, 3>(p.centred).transposed(), over, mean,
                   p.dz.transposed());
     }},
    {"spread over windows",
     [](Context& ctx, const Places& p) {
       const Over over{static_cast<double>(p.z.size(1)), static_cast<double>(p.z.size(0)), nullptr};
       spread_term(ctx, View<const double, 3>(p.centred).transposed(), over, 0.7, p.dz.transposed(),
                   p.mean.slice(0, 0, p.z.size(1)), p.square.slice(0, 0, p.z.size(1)), p.value);
     }},
    {"spread over time",
     [](Context& ctx, const Places& p) {
       const Over over{static_cast<double>(p.z.size(0)), static_cast<double>(p.z.size(1)), nullptr};
       spread_term(ctx, p.centred, over, 0.7, p.dz, p.mean.slice(0, 0, p.z.size(0)),
                   p.square.slice(0, 0, p.z.size(0)), p.value);
     }},
    {"covariance over windows",
     [](Context& ctx, const Places& p) {
       const Over over{static_cast<double>(p.z.size(1)), static_cast<double>(p.z.size(0)), nullptr};
       covariance_term(ctx, View<const double, 3>(p.centred).transposed(), over, 0.7,
                       p.dz.transposed(), p.covariance, p.value);
     }},
    {"covariance over time",
     [](Context& ctx, const Places& p) {
       const Over over{static_cast<double>(p.z.size(0)), static_cast<double>(p.z.size(1)), nullptr};
       covariance_term(ctx, p.centred, over, 0.7, p.dz, p.covariance, p.value);
     }},
    {"by time, rounded",
     [](Context& ctx, const Places& p) {
       const View<const float, 3> by_time(p.z.data(), {p.z.size(1), p.z.size(0), p.z.size(2)});
       add_by_time(ctx, 0.3, by_time, p.dz);
       round_to(ctx, p.dz.flat().slice(0, 0, p.dpred.numel()), p.dpred.flat());
     }},
    {"total and mean",
     [](Context& ctx, const Places& p) {
       const std::vector<double> weights = {0.5, -2.0};
       weighted_total(ctx, view1(weights), p.centred.flat(), p.value);
       add_weighted(ctx, 3.0, p.centred.flat().slice(0, 1, 2), p.value);
       join_mean(ctx, 0.25, p.value, p.dz.flat().slice(0, 0, 1));
       join_mean(ctx, 1.0, p.value, p.dz.flat().slice(0, 1, 2));
     }},
};

TEST(CudaLatentTerms, EqualThoseOfTheCpu) {
  ORRERY_NEEDS_CUDA;
  Context cpu({.threads = 1}), device(on_cuda());
  for (const Sizes& sizes : kSizes) {
    for (const auto& [name, term] : kTerms) {
      const Found expected = run(cpu, sizes, term), found = run(device, sizes, term);
      const auto where = text(name, ", ", sizes.windows, " windows of ", sizes.frames, " frames");
      // both sum in double: 1e-16 for each of at most 90,000 additions of unit size
      EXPECT_LE(max_difference(found.value, expected.value), 1e-11) << where;
      EXPECT_LE(max_difference(found.slopes, expected.slopes), 1e-12) << where;
      EXPECT_LE(max_difference(found.others, expected.others), 1e-6) << where;
      const std::vector<double> before =
          random_values<double>(sizes.windows * sizes.frames * sizes.width, 4);
      if (sizes.frames > 2 && sizes.width > 1 &&
          std::string(name).find("without") == std::string::npos) {
        EXPECT_NE(found.slopes, before) << where << ": nothing was added";
      }
    }
  }
}

// two windows by hand: errors 1 and 3 of two predictions
TEST_ON_EVERY_BACKEND(LatentTerms, PredictionByHand) {
  Buffer<float> z(ctx, std::vector<float>{0, 1, 0, 2}), pred(ctx, std::vector<float>{2, 5}),
      dpred(ctx, 2);
  Buffer<double> dz(ctx, 4), value(ctx, 1);
  prediction_term(ctx, z.view<3>({2, 2, 1}), pred.view<3>({2, 1, 1}), 1,
                  {0.5, 2, dz.view<3>({2, 2, 1}), value.flat()}, dpred.view<3>({2, 1, 1}));
  EXPECT_EQ(value.values(), std::vector<double>{5.0});
  EXPECT_EQ(dpred.values(), (std::vector<float>{0.5f, 1.5f}));
  EXPECT_EQ(dz.values(), (std::vector<double>{0, -0.5, 0, -1.5}));
}

}  // namespace
}  // namespace orrery
