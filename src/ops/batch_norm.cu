#include "ops/batch_norm.h"

#include "ops/rows_device.h"

namespace orrery::cuda {

namespace {

// Training: a block has 32 columns, its 16 warps take rows in turn, and their sums meet in shared
// memory in the order of the warps. The rows of a batch (512 of 2048 numbers: 4 MB) stay in the L2
// cache, so that one kernel that reads them three times is faster than three that each begin anew:
// 12 MB of L2 at 5.5 TB/s is 2 us, below the launches it spares.
constexpr int kColumnWarps = 16;

// the sum over warps of one value a lane, for all of them
__device__ inline float column_sum(float value, float (*shared)[kWarp]) {
  const int warp = static_cast<int>(threadIdx.x / kWarp);
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  __syncthreads();  // what was there has been read
  shared[warp][lane] = value;
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < kColumnWarps; ++w) sum += shared[w][lane];
  return sum;
}

__global__ void batch_norm_kernel(View<const float, 2> x, const float* gain, const float* bias,
                                  float eps, float momentum, float* running_mean,
                                  float* running_var, float* y, float* mean, float* rstd) {
  __shared__ float shared[kColumnWarps][kWarp];
  const i64 rows = x.size(0), dim = x.size(1);
  const i64 first = threadIdx.x / kWarp;
  const i64 d = static_cast<i64>(blockIdx.x) * kWarp + threadIdx.x % kWarp;
  const bool there = d < dim;
  const float* column = x.data() + d;
  const auto count = static_cast<float>(rows);

  float sum = 0;
  for (i64 r = first; there && r < rows; r += kColumnWarps) sum += column[r * dim];
  const float mu = column_sum(sum, shared) / count;
  float squares = 0;
  for (i64 r = first; there && r < rows; r += kColumnWarps) {
    const float deviation = column[r * dim] - mu;
    squares = fmaf(deviation, deviation, squares);
  }
  const float var = column_sum(squares, shared) / count;
  if (!there) return;
  const float scale = 1.0f / sqrtf(var + eps);
  const float times = gain[d], plus = bias[d];
  for (i64 r = first; r < rows; r += kColumnWarps) {
    y[r * dim + d] = fmaf((column[r * dim] - mu) * scale, times, plus);
  }
  if (first != 0) return;
  mean[d] = mu;
  rstd[d] = scale;
  running_mean[d] = (1.0f - momentum) * running_mean[d] + momentum * mu;
  running_var[d] = (1.0f - momentum) * running_var[d] + momentum * var * (count / (count - 1.0f));
}

// The same in steps, between which processes add up what their parts of the batch give. Each row
// has its share of 1, so that sums over parts are means over the batch.

__global__ void column_means_kernel(View<const float, 2> x, float row_share, float* mean) {
  __shared__ float shared[kColumnWarps][kWarp];
  const i64 rows = x.size(0), dim = x.size(1);
  const i64 first = threadIdx.x / kWarp;
  const i64 d = static_cast<i64>(blockIdx.x) * kWarp + threadIdx.x % kWarp;
  float sum = 0;
  for (i64 r = first; d < dim && r < rows; r += kColumnWarps) sum += x.data()[r * dim + d];
  sum = column_sum(sum, shared);
  if (d < dim && first == 0) mean[d] = sum * row_share;
}

__global__ void column_variances_kernel(View<const float, 2> x, float row_share, const float* mean,
                                        float* variance) {
  __shared__ float shared[kColumnWarps][kWarp];
  const i64 rows = x.size(0), dim = x.size(1);
  const i64 first = threadIdx.x / kWarp;
  const i64 d = static_cast<i64>(blockIdx.x) * kWarp + threadIdx.x % kWarp;
  float squares = 0;
  for (i64 r = first; d < dim && r < rows; r += kColumnWarps) {
    const float deviation = x.data()[r * dim + d] - mean[d];
    squares = fmaf(deviation, deviation, squares);
  }
  squares = column_sum(squares, shared);
  if (d < dim && first == 0) variance[d] = squares * row_share;
}

// rstd holds the variance and becomes its namesake; `unbiased` is rows / (rows - 1) of the batch
__global__ void normalise_kernel(View<const float, 2> x, const float* gain, const float* bias,
                                 float eps, float momentum, float unbiased, float* running_mean,
                                 float* running_var, float* y, const float* mean, float* rstd) {
  const i64 rows = x.size(0), dim = x.size(1);
  const i64 first = threadIdx.x / kWarp;
  const i64 d = static_cast<i64>(blockIdx.x) * kWarp + threadIdx.x % kWarp;
  const bool there = d < dim;
  const float var = there ? rstd[d] : 0.0f;
  __syncthreads();  // every warp has read it
  if (!there) return;
  const float mu = mean[d], scale = 1.0f / sqrtf(var + eps);
  const float times = gain[d], plus = bias[d];
  for (i64 r = first; r < rows; r += kColumnWarps) {
    y[r * dim + d] = fmaf((x.data()[r * dim + d] - mu) * scale, times, plus);
  }
  if (first != 0) return;
  rstd[d] = scale;
  running_mean[d] = (1.0f - momentum) * running_mean[d] + momentum * mu;
  running_var[d] = (1.0f - momentum) * running_var[d] + momentum * var * unbiased;
}

// means [2, dim]: of dy, and of dy * n
__global__ void slope_means_kernel(View<const float, 2> x, float row_share, const float* mean,
                                   const float* rstd, const float* dy, float* means, float* dgain,
                                   float* dbias) {
  __shared__ float shared[kColumnWarps][kWarp];
  const i64 rows = x.size(0), dim = x.size(1);
  const i64 first = threadIdx.x / kWarp;
  const i64 d = static_cast<i64>(blockIdx.x) * kWarp + threadIdx.x % kWarp;
  const bool there = d < dim;
  const float mu = there ? mean[d] : 0.0f, scale = there ? rstd[d] : 0.0f;
  float part = 0, part_n = 0;
  for (i64 r = first; there && r < rows; r += kColumnWarps) {
    const float slope = dy[r * dim + d];
    part += slope;
    part_n = fmaf(slope, (x.data()[r * dim + d] - mu) * scale, part_n);
  }
  const float sum = column_sum(part, shared);
  const float sum_n = column_sum(part_n, shared);
  if (!there || first != 0) return;
  means[d] = sum * row_share;
  means[dim + d] = sum_n * row_share;
  dgain[d] += sum_n;
  dbias[d] += sum;
}

__global__ void normalise_backward_kernel(View<const float, 2> x, const float* gain,
                                          const float* mean, const float* rstd, const float* dy,
                                          const float* means, float* dx) {
  const i64 rows = x.size(0), dim = x.size(1);
  const i64 d = static_cast<i64>(blockIdx.x) * kWarp + threadIdx.x % kWarp;
  if (d >= dim) return;
  const float mu = mean[d], scale = rstd[d], factor = gain[d] * scale;
  const float mean_dy = means[d], mean_dy_n = means[dim + d];
  for (i64 r = threadIdx.x / kWarp; r < rows; r += kColumnWarps) {
    const float n = (x.data()[r * dim + d] - mu) * scale;
    dx[r * dim + d] = factor * (dy[r * dim + d] - mean_dy - n * mean_dy_n);
  }
}

// dx may be dy: a value is read by the thread that writes it
__global__ void batch_norm_backward_kernel(View<const float, 2> x, const float* gain,
                                           const float* mean, const float* rstd, const float* dy,
                                           float* dx, float* dgain, float* dbias) {
  __shared__ float shared[kColumnWarps][kWarp];
  const i64 rows = x.size(0), dim = x.size(1);
  const i64 first = threadIdx.x / kWarp;
  const i64 d = static_cast<i64>(blockIdx.x) * kWarp + threadIdx.x % kWarp;
  const bool there = d < dim;
  const float* column = x.data() + d;
  const float mu = there ? mean[d] : 0.0f, scale = there ? rstd[d] : 0.0f;

  float part = 0, part_n = 0;
  for (i64 r = first; there && r < rows; r += kColumnWarps) {
    const float slope = dy[r * dim + d];
    part += slope;
    part_n = fmaf(slope, (column[r * dim] - mu) * scale, part_n);
  }
  const float sum = column_sum(part, shared);
  const float sum_n = column_sum(part_n, shared);
  if (!there) return;
  const auto count = static_cast<float>(rows);
  const float mean_dy = sum / count, mean_dy_n = sum_n / count;
  const float factor = gain[d] * scale;
  for (i64 r = first; r < rows; r += kColumnWarps) {
    const float n = (column[r * dim] - mu) * scale;
    dx[r * dim + d] = factor * (dy[r * dim + d] - mean_dy - n * mean_dy_n);
  }
  if (first != 0) return;
  dgain[d] += sum_n;
  dbias[d] += sum;
}

Launch column_blocks(const char* name, i64 dim) {
  return {name, dim3(blocks_for(dim, kWarp)), dim3(kColumnWarps * kWarp)};
}

struct Apply {
  const float *x, *gain, *bias, *mean, *var;
  float eps;
  float* y;
  i64 dim;

  template <bool kAligned>
  __device__ void four(i64, i64 row, i64 k, i64 count) const {
    Four value = load_four<kAligned>(x + row * dim + k, count);
    const Four center = load_four<kAligned>(mean + k, count);
    const Four spread = load_four<kAligned>(var + k, count);
    const Four times = load_four<kAligned>(gain + k, count);
    const Four plus = load_four<kAligned>(bias + k, count);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const float normed = (value.v[n] - center.v[n]) / sqrtf(spread.v[n] + eps);
      value.v[n] = fmaf(normed, times.v[n], plus.v[n]);
    }
    store_four<kAligned>(value, y + row * dim + k, count);
  }
};

}  // namespace

void batch_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, float momentum, View<float, 1> running_mean,
                View<float, 1> running_var, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd, const BatchShare& share) {
  const Launch columns = column_blocks("batch_norm", x.size(1));
  if (share.sums == nullptr) {
    launch(ctx, columns, batch_norm_kernel, x, gain.data(), bias.data(), eps, momentum,
           running_mean.data(), running_var.data(), y.data(), mean.data(), rstd.data());
    return;
  }
  const auto rows = static_cast<float>(share.whole(x.size(0)));
  const float row_share = 1.0f / rows;
  launch(ctx, columns, column_means_kernel, x, row_share, mean.data());
  share.sums->add_up(mean);
  // rstd holds the variance until it is known of the whole batch
  launch(ctx, columns, column_variances_kernel, x, row_share, mean.data(), rstd.data());
  share.sums->add_up(rstd);
  launch(ctx, columns, normalise_kernel, x, gain.data(), bias.data(), eps, momentum,
         rows / (rows - 1.0f), running_mean.data(), running_var.data(), y.data(), mean.data(),
         rstd.data());
}

void batch_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, View<float, 2> dx, View<float, 1> dgain,
                         View<float, 1> dbias, const BatchShare& share) {
  const i64 dim = x.size(1);
  const Launch columns = column_blocks("batch_norm_backward", dim);
  if (share.sums == nullptr) {
    launch(ctx, columns, batch_norm_backward_kernel, x, gain.data(), mean.data(), rstd.data(),
           dy.data(), dx.data(), dgain.data(), dbias.data());
    return;
  }
  const View<float, 1> means(reinterpret_cast<float*>(ctx.shared_scratch(
                                 static_cast<std::size_t>(2 * dim) * sizeof(float))),
                             {2 * dim});
  const float row_share = 1.0f / static_cast<float>(share.whole(x.size(0)));
  launch(ctx, columns, slope_means_kernel, x, row_share, mean.data(), rstd.data(), dy.data(),
         means.data(), dgain.data(), dbias.data());
  share.sums->add_up(means);
  launch(ctx, columns, normalise_backward_kernel, x, gain.data(), mean.data(), rstd.data(),
         dy.data(), means.data(), dx.data());
}

void batch_norm_apply(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                      View<const float, 1> bias, View<const float, 1> running_mean,
                      View<const float, 1> running_var, float eps, View<float, 2> y) {
  const i64 dim = x.size(1);
  const bool aligned = in_fours(x) && in_fours(y) && in_fours(gain) && in_fours(bias) &&
                       in_fours(running_mean) && in_fours(running_var);
  pass_over_rows(ctx, "batch_norm_apply", aligned, 1, x.size(0), dim,
                 Apply{x.data(), gain.data(), bias.data(), running_mean.data(), running_var.data(),
                       eps, y.data(), dim});
}

}  // namespace orrery::cuda
