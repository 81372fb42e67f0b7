#include "ops/sigreg.h"

#include "base/random.h"

namespace orrery {

namespace cpu {
double sigreg_loss(Context& ctx, const SigregSettings& settings, View<const float, 3> z,
                   View<const float, 2> directions, View<float, 2> statistics, View<float, 3> dz,
                   const BatchShare& share);

void sigreg(Context& ctx, const SigregSettings& settings, View<const float, 3> z,
            View<const float, 2> directions, View<float, 2> statistics, View<float, 3> dz,
            View<double, 1> loss, const BatchShare& share) {
  loss[0] = sigreg_loss(ctx, settings, z, directions, statistics, dz, share);
}
void draw_directions(Context&, u64 seed, View<const u64, 1> stream, View<float, 2> directions) {
  fill_normal(seed, stream[0], 0, directions.numel(), directions.data());
}

}  // namespace cpu
namespace cuda {
void sigreg(Context& ctx, const SigregSettings& settings, View<const float, 3> z,
            View<const float, 2> directions, View<float, 2> statistics, View<float, 3> dz,
            View<double, 1> loss, const BatchShare& share);
void draw_directions(Context& ctx, u64 seed, View<const u64, 1> stream, View<float, 2> directions);
}  // namespace cuda

void draw_directions(Context& ctx, u64 seed, View<const u64, 1> stream, View<float, 2> directions) {
  check(stream.size(0) == 1, "draw_directions: ", stream.size(0), " streams came, one was needed");
  check(directions.contiguous(), "draw_directions: contiguous directions were needed");
  ORRERY_ON_DEVICE(ctx, draw_directions, seed, stream, directions);
}

double sigreg(Context& ctx, const SigregSettings& settings, View<const float, 3> z,
              View<const float, 2> directions, View<float, 2> statistics, View<float, 3> dz,
              const BatchShare& share) {
  must_be_cpu(ctx, "sigreg that returns its loss");
  double loss = 0;
  sigreg(ctx, settings, z, directions, statistics, dz, View<double, 1>(&loss, {1}), share);
  return loss;
}

void sigreg(Context& ctx, const SigregSettings& settings, View<const float, 3> z,
            View<const float, 2> directions, View<float, 2> statistics, View<float, 3> dz,
            View<double, 1> loss, const BatchShare& share) {
  check(loss.size(0) == 1, "sigreg: the loss has ", loss.size(0), " places, one was needed");
  check(settings.knots >= 2 && settings.knots <= kSigregMaxKnots, "sigreg: ", settings.knots,
        " knots, 2 to ", kSigregMaxKnots, " were needed");
  check(settings.span > 0, "sigreg: span is ", settings.span, ", more than 0 was needed");
  check(z.numel() > 0 && directions.size(1) > 0, "sigreg: z is ", z.shape(), " and directions are ",
        directions.shape(), ", which leaves nothing to measure");
  check(directions.size(0) == z.size(2), "sigreg: directions are ", directions.shape(),
        ", latents have ", z.size(2), " values");
  check(z.stride(2) == 1 && directions.contiguous(),
        "sigreg: contiguous latents and directions were needed");
  const Shape needed = {z.size(0), directions.size(1)};
  check(statistics.shape() == needed && statistics.contiguous(), "sigreg: statistics are ",
        statistics.shape(), ", contiguous ", needed, " was needed");
  check(!dz || (dz.sizes() == z.sizes() && dz.stride(2) == 1), "sigreg: dz is ", dz.shape(),
        ", z is ", z.shape());
  check(share.first + z.size(1) <= share.whole(z.size(1)), "sigreg: z has rows ", share.first,
        " to ", share.first + z.size(1), " of a batch of ", share.whole(z.size(1)));
  ORRERY_ON_DEVICE(ctx, sigreg, settings, z, directions, statistics, dz, loss, share);
}

}  // namespace orrery
