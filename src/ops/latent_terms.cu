// A batch of latents is a hundred thousand numbers: every kernel here is bound by its launch and by
// the L2 cache, and takes double, which costs nothing beside that. Sums of values go through parts,
// one per block, that one block adds in their order.

#include "ops/latent_terms.h"

#include <algorithm>

#include "ops/sums_device.h"

namespace orrery::cuda {

namespace {

constexpr int kThreads = kSumThreads;

__device__ inline i64 thread_index() {
  return static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
}

Launch one_thread_each(const char* name, i64 count) {
  return {name, dim3(blocks_for(count, kThreads)), dim3(kThreads)};
}

// value = sum of parts / count, or added to it
__global__ void finish_value_kernel(const double* parts, i64 part_count, double count, bool add,
                                    double* value) {
  const double sum = sum_of_parts(parts, part_count);
  if (threadIdx.x == 0) *value = (add ? *value : 0.0) + sum / count;
}

void finish_value(Context& ctx, const char* name, const double* parts, i64 part_count, double count,
                  bool add, View<double, 1> value) {
  launch(ctx, {name, dim3(1), dim3(kThreads)}, finish_value_kernel, parts, part_count, count, add,
         value.data());
}

double* parts_of(Context& ctx, i64 count) {
  return reinterpret_cast<double*>(
      ctx.shared_scratch(static_cast<std::size_t>(count) * sizeof(double)));
}

// a thread takes one number of a prediction after the other
__global__ void prediction_kernel(View<const float, 3> z, View<const float, 3> pred, i64 first,
                                  double weight, double count, View<double, 3> dz, float* dpred,
                                  double* parts) {
  const i64 frames = pred.size(1), width = pred.size(2);
  double sum = 0;
  for (i64 i = sum_begin(); i < pred.numel(); i += sum_stride()) {
    const i64 d = i % width, row = i / width;
    const i64 t = row % frames, b = row / frames;
    const double error =
        static_cast<double>(pred.data()[i]) - static_cast<double>(z(b, first + t, d));
    sum += error * error;
    const double slope = weight * 2.0 * error / count;
    dpred[i] = static_cast<float>(slope);
    if (dz) dz(b, first + t, d) -= slope;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// a thread has one number of a window through all its frames: nobody else touches its slopes
__global__ void alignment_kernel(View<const float, 3> z, double weight, double count,
                                 View<double, 3> dz, double* parts) {
  const i64 frames = z.size(1), width = z.size(2);
  const i64 i = thread_index();
  double sum = 0;
  if (i < z.size(0) * width) {
    const i64 b = i / width, d = i % width;
    for (i64 t = 0; t + 1 < frames; ++t) {
      const double step = static_cast<double>(z(b, t + 1, d)) - static_cast<double>(z(b, t, d));
      sum += step * step;
      const double slope = weight * 2.0 * step / count;
      dz(b, t + 1, d) += slope;
      dz(b, t, d) -= slope;
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// a block has one window; its threads take its numbers in turn, always the same ones
__global__ void straightening_kernel(View<const float, 3> z, double weight, double count,
                                     View<double, 3> dz, double* parts) {
  constexpr double kEps = 1e-8;  // PyTorch's floor of each length
  const i64 b = blockIdx.x, frames = z.size(1), width = z.size(2);
  const auto velocity = [&](i64 t, i64 d) {
    return static_cast<double>(z(b, t + 1, d)) - static_cast<double>(z(b, t, d));
  };
  double total = 0;
  for (i64 t = 0; t + 2 < frames; ++t) {
    double dot = 0, first = 0, second = 0;
    for (i64 d = threadIdx.x; d < width; d += kThreads) {
      const double u = velocity(t, d), v = velocity(t + 1, d);
      dot += u * v;
      first += u * u;
      second += v * v;
    }
    dot = block_sum(dot);
    first = block_sum(first);
    second = block_sum(second);
    const double u_length = fmax(sqrt(first), kEps);
    const double v_length = fmax(sqrt(second), kEps);
    const double cosine = dot / (u_length * v_length);
    total -= cosine;
    const double u_part = sqrt(first) > kEps ? cosine / first : 0.0;
    const double v_part = sqrt(second) > kEps ? cosine / second : 0.0;
    const double factor = -weight / count;
    for (i64 d = threadIdx.x; d < width; d += kThreads) {
      const double u = velocity(t, d), v = velocity(t + 1, d);
      const double du = factor * (v / (u_length * v_length) - u_part * u);
      const double dv = factor * (u / (u_length * v_length) - v_part * v);
      dz(b, t, d) -= du;
      dz(b, t + 1, d) += du - dv;
      dz(b, t + 2, d) += dv;
    }
  }
  if (threadIdx.x == 0) parts[b] = total;
}

// a thread has one number of a group: mean [groups, D] of x [groups, members, D]
template <typename T>
__global__ void mean_members_kernel(View<const T, 3> x, double members, double* mean) {
  const i64 width = x.size(2);
  const i64 i = thread_index();
  if (i >= x.size(0) * width) return;
  const i64 g = i / width, d = i % width;
  double sum = 0;
  for (i64 m = 0; m < x.size(1); ++m) sum += static_cast<double>(x(g, m, d));
  mean[i] = sum / members;
}

template <typename T>
__global__ void centre_kernel(View<const T, 3> x, const double* mean, bool add,
                              View<double, 3> to) {
  const i64 members = x.size(1), width = x.size(2);
  const i64 i = thread_index();
  if (i >= x.numel()) return;
  const i64 d = i % width, row = i / width;
  const i64 m = row % members, g = row / members;
  const double old = add ? to(g, m, d) : 0.0;
  to(g, m, d) = old + static_cast<double>(x(g, m, d)) - mean[g * width + d];
}

void add_up(BatchSums* sums, View<double, 1> values) {
  if (sums != nullptr) sums->add_up(values);
}

template <typename T>
void mean_over_members(Context& ctx, const char* name, View<const T, 3> x, const Over& over,
                       View<double, 2> mean) {
  launch(ctx, one_thread_each(name, mean.numel()), mean_members_kernel<T>, x, over.members,
         mean.data());
  add_up(over.sums, mean.flat());
}

template <typename T>
void centre(Context& ctx, const char* name, View<const T, 3> x, const Over& over,
            View<double, 2> mean, bool add, View<double, 3> to) {
  if (x.numel() == 0) return;
  mean_over_members(ctx, name, x, over, mean);
  launch(ctx, one_thread_each(name, x.numel()), centre_kernel<T>, x,
         static_cast<const double*>(mean.data()), add, to);
}

// a thread has one number of a group: the squares of its members' distances from their mean
__global__ void squares_of_members_kernel(View<const double, 3> c, const double* mean,
                                          double* square) {
  const i64 width = c.size(2);
  const i64 i = thread_index();
  if (i >= c.size(0) * width) return;
  const i64 g = i / width, d = i % width;
  double sum = 0;
  for (i64 m = 0; m < c.size(1); ++m) {
    const double away = c(g, m, d) - mean[i];
    sum += away * away;
  }
  square[i] = sum;
}

// a thread has one number of a group; misses holds the squares and becomes its namesake
__global__ void spread_kernel(View<const double, 3> c, const double* mean, double members,
                              double weight, double count, View<double, 3> dc, double* misses) {
  constexpr double kFloor = 1e-4;
  const i64 width = c.size(2);
  const i64 i = thread_index();
  if (i >= c.size(0) * width) return;
  const i64 g = i / width, d = i % width;
  const double deviation = sqrt(misses[i] / (members - 1) + kFloor);
  const bool counts = deviation < 1.0;
  misses[i] = counts ? 1.0 - deviation : 0.0;
  if (!counts) return;
  const double factor = -weight / (count * (members - 1) * deviation);
  for (i64 m = 0; m < c.size(1); ++m) dc(g, m, d) += factor * (c(g, m, d) - mean[i]);
}

// covariance [groups, D, D] without its diagonal, a thread one number; the block's part of the sum
// of squares
__global__ void covariance_kernel(View<const double, 3> c, double members, double* covariance,
                                  double* parts) {
  const i64 width = c.size(2);
  const i64 i = thread_index();
  double sum = 0;
  if (i < c.size(0) * width * width) {
    const i64 column = i % width, rest = i / width;
    const i64 row = rest % width, g = rest / width;
    for (i64 m = 0; row != column && m < c.size(1); ++m) {
      sum += c(g, m, row) / (members - 1) * c(g, m, column);
    }
    covariance[i] = sum;
  }
  sum = block_sum(sum * sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// the blocks' parts of a sum of squares
__global__ void square_parts_kernel(const double* values, i64 count, double* parts) {
  double sum = 0;
  for (i64 i = sum_begin(); i < count; i += sum_stride()) sum += values[i] * values[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// a thread has one number of one member; the covariance is symmetric, so neighbours read neighbours
__global__ void covariance_slopes_kernel(View<const double, 3> c, const double* covariance,
                                         double factor, View<double, 3> dc) {
  const i64 members = c.size(1), width = c.size(2);
  const i64 index = thread_index();
  if (index >= c.numel()) return;
  const i64 i = index % width, rest = index / width;
  const i64 m = rest % members, g = rest / members;
  const double* of_group = covariance + g * width * width;
  double slope = 0;
  for (i64 j = 0; j < width; ++j) slope += of_group[j * width + i] * c(g, m, j);
  dc(g, m, i) += factor * slope;
}

__global__ void add_by_time_kernel(double weight, const float* slopes, View<double, 3> dz) {
  const i64 frames = dz.size(1), width = dz.size(2);
  const i64 i = thread_index();
  if (i >= dz.numel()) return;
  const i64 d = i % width, row = i / width;
  const i64 t = row % frames, b = row / frames;
  dz.data()[i] += weight * static_cast<double>(slopes[(t * dz.size(0) + b) * width + d]);
}

__global__ void round_kernel(const double* from, i64 count, float* to) {
  const i64 i = thread_index();
  if (i < count) to[i] = static_cast<float>(from[i]);
}

struct Weights {
  double of[32];
};
__global__ void weighted_total_kernel(Weights weights, i64 count, const double* values,
                                      double* total) {
  double sum = 0;
  for (i64 i = 0; i < count; ++i) sum += weights.of[i] * values[i];
  *total = sum;
}

__global__ void add_weighted_kernel(double weight, const double* value, double* total) {
  *total += weight * *value;
}

__global__ void join_mean_kernel(double share, const double* newest, i64 count, double* mean) {
  const i64 i = thread_index();
  if (i >= count) return;
  mean[i] = share == 1.0 ? newest[i] : mean[i] + share * (newest[i] - mean[i]);
}

}  // namespace

void prediction_term(Context& ctx, View<const float, 3> z, View<const float, 3> pred, i64 first,
                     const LatentTerm& term, View<float, 3> dpred) {
  const auto count = static_cast<double>(term.windows * pred.size(1) * pred.size(2));
  const i64 blocks = sum_blocks(pred.numel());
  double* parts = parts_of(ctx, blocks);
  launch(ctx, {"prediction_term", dim3(static_cast<unsigned>(blocks)), dim3(kThreads)},
         prediction_kernel, z, pred, first, term.weight, count, term.dz, dpred.data(), parts);
  finish_value(ctx, "prediction_term", parts, blocks, count, false, term.value);
}

void alignment_term(Context& ctx, View<const float, 3> z, const LatentTerm& term) {
  const auto count = static_cast<double>(term.windows * (z.size(1) - 1) * z.size(2));
  const i64 blocks = blocks_for(z.size(0) * z.size(2), kThreads);
  double* parts = parts_of(ctx, blocks);
  launch(ctx, {"alignment_term", dim3(static_cast<unsigned>(blocks)), dim3(kThreads)},
         alignment_kernel, z, term.weight, count, term.dz, parts);
  finish_value(ctx, "alignment_term", parts, blocks, count, false, term.value);
}

void straightening_term(Context& ctx, View<const float, 3> z, const LatentTerm& term) {
  const i64 windows = z.size(0);
  // with too few frames no window has a turn, and the sum of nothing is 0
  const auto count = static_cast<double>(std::max<i64>(1, term.windows * (z.size(1) - 2)));
  double* parts = parts_of(ctx, windows);
  launch(ctx, {"straightening_term", dim3(static_cast<unsigned>(windows)), dim3(kThreads)},
         straightening_kernel, z, term.weight, count, term.dz, parts);
  finish_value(ctx, "straightening_term", parts, windows, count, false, term.value);
}

void centre_members(Context& ctx, View<const float, 3> x, const Over& over, View<double, 2> mean,
                    View<double, 3> to) {
  centre(ctx, "centre_members", x, over, mean, false, to);
}

void add_centred(Context& ctx, View<const double, 3> x, const Over& over, View<double, 2> mean,
                 View<double, 3> to) {
  centre(ctx, "add_centred", x, over, mean, true, to);
}

void spread_term(Context& ctx, View<const double, 3> c, const Over& over, double weight,
                 View<double, 3> dc, View<double, 2> mean, View<double, 2> square,
                 View<double, 1> value) {
  const double count = over.groups * static_cast<double>(c.size(2));
  mean_over_members(ctx, "spread_term", c, over, mean);
  launch(ctx, one_thread_each("spread_term", mean.numel()), squares_of_members_kernel, c,
         static_cast<const double*>(mean.data()), square.data());
  add_up(over.sums, square.flat());
  launch(ctx, one_thread_each("spread_term", mean.numel()), spread_kernel, c,
         static_cast<const double*>(mean.data()), over.members, weight, count, dc, square.data());
  finish_value(ctx, "spread_term", square.data(), square.numel(), count, false, value);
}

void covariance_term(Context& ctx, View<const double, 3> c, const Over& over, double weight,
                     View<double, 3> dc, View<double, 2>, View<double, 1> value) {
  const i64 width = c.size(2), groups = c.size(0);
  const double pairs = static_cast<double>(width) * static_cast<double>(width - 1);
  // without pairs nothing is summed, and 0 / 1 is 0
  const double count = width < 2 ? 1.0 : over.groups * pairs;
  const double factor = 4.0 * weight / (count * (over.members - 1));
  // as many groups at once as 16 MiB of covariances hold: all where members are windows
  constexpr i64 kMostNumbers = i64{2} << 20;
  const i64 at_once = std::clamp<i64>(kMostNumbers / (width * width), 1, groups);
  const i64 numbers = at_once * width * width;
  double* covariance = parts_of(ctx, numbers + blocks_for(numbers, kThreads));
  double* parts = covariance + numbers;
  for (i64 first = 0; first < groups; first += at_once) {
    const i64 end = std::min(first + at_once, groups);
    const auto some = c.slice(0, first, end);
    const i64 here = (end - first) * width * width;
    launch(ctx, one_thread_each("covariance_term", here), covariance_kernel, some, over.members,
           covariance, parts);
    i64 part_count = blocks_for(here, kThreads);
    if (over.sums != nullptr) {
      over.sums->add_up(View<double, 1>(covariance, {here}));
      part_count = sum_blocks(here);
      launch(ctx, {"covariance_term", dim3(static_cast<unsigned>(part_count)), dim3(kThreads)},
             square_parts_kernel, static_cast<const double*>(covariance), here, parts);
    }
    finish_value(ctx, "covariance_term", parts, part_count, count, first > 0, value);
    launch(ctx, one_thread_each("covariance_term", some.numel()), covariance_slopes_kernel, some,
           static_cast<const double*>(covariance), factor, dc.slice(0, first, end));
  }
}

void add_by_time(Context& ctx, double weight, View<const float, 3> slopes, View<double, 3> dz) {
  if (dz.numel() == 0) return;
  launch(ctx, one_thread_each("add_by_time", dz.numel()), add_by_time_kernel, weight, slopes.data(),
         dz);
}

void round_to(Context& ctx, View<const double, 1> from, View<float, 1> to) {
  if (to.numel() == 0) return;
  launch(ctx, one_thread_each("round_to", to.numel()), round_kernel, from.data(), to.numel(),
         to.data());
}

void weighted_total(Context& ctx, View<const double, 1> weights, View<const double, 1> values,
                    View<double, 1> total) {
  Weights all = {};
  std::copy_n(weights.data(), weights.size(0), all.of);
  launch(ctx, {"weighted_total", dim3(1), dim3(1)}, weighted_total_kernel, all, weights.size(0),
         values.data(), total.data());
}

void add_weighted(Context& ctx, double weight, View<const double, 1> value, View<double, 1> total) {
  launch(ctx, {"add_weighted", dim3(1), dim3(1)}, add_weighted_kernel, weight, value.data(),
         total.data());
}

void join_mean(Context& ctx, double share, View<const double, 1> newest, View<double, 1> mean) {
  if (mean.numel() == 0) return;
  launch(ctx, one_thread_each("join_mean", mean.numel()), join_mean_kernel, share, newest.data(),
         mean.numel(), mean.data());
}

}  // namespace orrery::cuda
