#include "ops/sigreg.h"

#include "base/text.h"
#include "ops/sigreg_ref.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

struct Case {
  i64 time, batch, dim, projections;
  SigregSettings settings;
};
constexpr Case kCases[] = {
    {1, 1, 1, 1, {}},
    {2, 7, 5, 15, {.knots = 9, .span = 4.0f}},
    {3, 33, 16, 17, {}},
    {2, 128, 24, 70, {}},
    {1, 4, 3, 31, {.knots = 2, .span = 1.0f}},
    {1, 5, 4, 33, {.knots = kSigregMaxKnots}},
};

TEST_ON_EVERY_BACKEND(Sigreg, EqualsReference) {
  for (const Case& c : kCases) {
    // stored [batch, time, dim], seen as [time, batch, dim]; a spread that is not the normal one
    const auto z = random_values(c.time * c.batch * c.dim, 1, 1.5f, 0.3f);
    const View<const float, 3> view =
        View<const float, 3>(z.data(), {c.batch, c.time, c.dim}).transposed(0, 1);
    const auto directions = random_values(c.dim * c.projections, 2);
    const View<const float, 2> columns(directions.data(), {c.dim, c.projections});
    std::vector<float> statistics(static_cast<std::size_t>(c.time * c.projections)),
        expected(statistics.size());
    std::vector<float> dz(z.size()), expected_dz(z.size());
    const auto two = [&](std::vector<float>& v) {
      return View<float, 2>(v.data(), {c.time, c.projections});
    };
    const auto three = [&](std::vector<float>& v) {
      return View<float, 3>(v.data(), {c.time, c.batch, c.dim});
    };
    Buffer<float> z_(ctx, z), directions_(ctx, directions),
        statistics_(ctx, static_cast<i64>(statistics.size())),
        dz_(ctx, static_cast<i64>(dz.size()));
    Buffer<double> loss_(ctx, 1);
    const auto run = [&](View<float, 3> slopes) {
      sigreg(ctx, c.settings, z_.view<3>({c.batch, c.time, c.dim}).transposed(0, 1),
             directions_.rows(c.projections), statistics_.rows(c.projections), slopes,
             loss_.flat());
      return loss_.values()[0];
    };
    const double loss = run(dz_.view<3>({c.time, c.batch, c.dim}));
    statistics = statistics_.values();
    dz = dz_.values();
    const double expected_loss =
        sigreg_ref<float>(c.settings, view, columns, two(expected), three(expected_dz));
    const auto where = text("batch ", c.batch, ", projections ", c.projections);
    // a statistic is batch times squares of means; the means are good to 1e-6 (sixteen rotations,
    // sums of `batch`)
    EXPECT_LE(max_difference(statistics, expected), 2e-6 * static_cast<double>(c.batch + 2))
        << where;
    EXPECT_NEAR(loss, expected_loss, 1e-6 * static_cast<double>(c.batch + 2)) << where;
    // gradients are of size 0.1 / (time * batch) and less
    EXPECT_LE(max_difference(dz, expected_dz), 2e-6 / static_cast<double>(c.time)) << where;

    // without a gradient the same loss
    EXPECT_EQ(run({}), loss) << where;
  }
}

TEST_ON_EVERY_BACKEND(Sigreg, DirectionsAreTheDrawsOfAStream) {
  for (const i64 count : {1, 2, 7, 1000}) {
    const std::vector<u64> stream = {mix(3, static_cast<u64>(count))};
    Buffer<u64> stream_(ctx, stream);
    Buffer<float> out(ctx, count);
    draw_directions(ctx, 5, stream_.flat(), out.rows(1));
    std::vector<float> expected(static_cast<std::size_t>(count));
    fill_normal(5, stream[0], 0, count, expected.data());
    // a last bit of numbers up to 4
    EXPECT_LE(max_difference(out.values(), expected), 0x1p-21);
  }
}

TEST(Sigreg, ReferenceGradientIsTheDerivative) {
  const i64 time = 2, batch = 3, dim = 4, projections = 5;
  auto z = random_values<double>(time * batch * dim, 1);
  const auto directions = random_values<double>(dim * projections, 2);
  std::vector<double> statistics(time * projections), dz(z.size());
  const auto run = [&](View<double, 3> gradient) {
    return sigreg_ref<double>({}, View<const double, 3>(z.data(), {time, batch, dim}),
                              View<const double, 2>(directions.data(), {dim, projections}),
                              View<double, 2>(statistics.data(), {time, projections}), gradient);
  };
  run(View<double, 3>(dz.data(), {time, batch, dim}));
  expect_gradient(z, dz, [&] { return run({}); });
}

TEST(Sigreg, SameBitsForAnyThreads) {
  const i64 time = 2, batch = 40, dim = 24, projections = 300;
  const auto z = random_values(time * batch * dim, 1),
             directions = random_values(dim * projections, 2);
  expect_same_bits_for_any_threads([&](Context& ctx) {
    std::vector<float> statistics(time * projections), dz(z.size());
    sigreg(ctx, {}, View<const float, 3>(z.data(), {time, batch, dim}),
           View<const float, 2>(directions.data(), {dim, projections}),
           View<float, 2>(statistics.data(), {time, projections}),
           View<float, 3>(dz.data(), {time, batch, dim}));
    dz.insert(dz.end(), statistics.begin(), statistics.end());
    return dz;
  });
}

TEST(Sigreg, RefusesWrongSettings) {
  Context ctx({.threads = 1});
  std::vector<float> values(64);
  const View<const float, 3> z(values.data(), {1, 4, 4});
  const View<const float, 2> directions(values.data(), {4, 4});
  const View<float, 2> statistics(values.data(), {1, 4});
  EXPECT_THROW(sigreg(ctx, {.knots = 1}, z, directions, statistics, {}), Error);
  EXPECT_THROW(sigreg(ctx, {.span = 0}, z, directions, statistics, {}), Error);
  EXPECT_THROW(sigreg(ctx, {}, z, View<const float, 2>(values.data(), {3, 4}), statistics, {}),
               Error);
}

}  // namespace
}  // namespace orrery
