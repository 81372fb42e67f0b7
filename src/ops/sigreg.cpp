#include "ops/sigreg.h"

namespace orrery {

namespace cpu {
double sigreg(Context& ctx, const SigregSettings& settings, View<const float, 3> z,
              View<const float, 2> directions, View<float, 2> statistics, View<float, 3> dz,
              const BatchShare& share);
}

double sigreg(Context& ctx, const SigregSettings& settings, View<const float, 3> z,
              View<const float, 2> directions, View<float, 2> statistics, View<float, 3> dz,
              const BatchShare& share) {
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
  return ORRERY_ON_CPU(ctx, sigreg, settings, z, directions, statistics, dz, share);
}

}  // namespace orrery
