#include "ops/readout_targets.h"

#include "ops/readout_target.h"

namespace orrery {

namespace cpu {

namespace {

// rows that a thread takes at a time: a few sines each
constexpr i64 kRowsEach = 256;

void readout_targets(Context& ctx, View<const float, 2> rows, View<const ReadoutTarget, 1> targets,
                     View<const float, 2> guess, View<float, 2> wanted) {
  ctx.parallel_ranges(rows.size(0), kRowsEach, [&](i64 begin, i64 end, int) {
    for (i64 r = begin; r < end; ++r) {
      for (i64 y = 0; y < targets.size(0); ++y) {
        wanted(r, y) = readout_target(targets[y], &rows(r, 0), guess(r, y));
      }
    }
  });
}

}  // namespace

}  // namespace cpu

namespace cuda {
void readout_targets(Context& ctx, View<const float, 2> rows, View<const ReadoutTarget, 1> targets,
                     View<const float, 2> guess, View<float, 2> wanted);
}  // namespace cuda

void readout_targets(Context& ctx, View<const float, 2> rows, View<const ReadoutTarget, 1> targets,
                     View<const float, 2> guess, View<float, 2> wanted) {
  check(guess.sizes() == wanted.sizes() && wanted.size(0) == rows.size(0) &&
            wanted.size(1) == targets.size(0),
        "readout_targets: ", rows.size(0), " rows and ", targets.size(0), " targets came, with ",
        guess.shape(), " guesses and room for ", wanted.shape());
  check(rows.contiguous() && targets.contiguous() && guess.contiguous() && wanted.contiguous(),
        "readout_targets: contiguous views were needed");
  ORRERY_ON_DEVICE(ctx, readout_targets, rows, targets, guess, wanted);
}

}  // namespace orrery
