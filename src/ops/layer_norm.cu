#include "ops/layer_norm.h"

#include "ops/column_parts_device.h"
#include "ops/warp_device.h"

namespace orrery {

namespace {

using namespace cuda;

constexpr int kWarps = 4;

// Memory-bound: reads x once where the row fits kHeld fours a lane (else three times, from L1),
// writes y once. One warp a row: no barrier, and the sums' order is the same for every row.
template <int kHeld, bool kAligned, typename T>
__global__ void layer_norm_kernel(View<const float, 2> x, const float* gain, const float* bias,
                                  float eps, View<T, 2> y, float* mean, float* rstd) {
  const i64 row = static_cast<i64>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (row >= x.size(0)) return;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const i64 dim = x.size(1);
  const float* from = x.data() + row * x.stride(0);
  T* to = y.data() + row * y.stride(0);
  const float share = 1.0f / static_cast<float>(dim);

  // body(four, first value's place, how many are in the row) for each four of this lane
  Four held[kHeld > 0 ? kHeld : 1];
  const auto for_each_four = [&](const auto& body) {
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int n = 0; n < kHeld; ++n) {
        const i64 k = 4 * (lane + static_cast<i64>(n) * kWarp);
        if (k < dim) body(held[n], k, dim - k);
      }
    } else {
      for (i64 k = 4 * lane; k < dim; k += 4 * kWarp) {
        Four four = load_four<kAligned>(from + k, dim - k);
        body(four, k, dim - k);
      }
    }
  };
  if constexpr (kHeld > 0) {
    for_each_four(
        [&](Four& four, i64 k, i64 count) { four = load_four<kAligned>(from + k, count); });
  }

  float sum = 0;
  for_each_four([&](const Four& four, i64, i64) {
    sum += (four.v[0] + four.v[1]) + (four.v[2] + four.v[3]);
  });
  const float mu = group_sum(sum) * share;

  // places beyond the row hold 0, which is not the mean: they must not count
  float squares = 0;
  for_each_four([&](const Four& four, i64, i64 count) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const float deviation = kAligned || n < count ? four.v[n] - mu : 0.0f;
      squares = fmaf(deviation, deviation, squares);
    }
  });
  const float scale = 1.0f / sqrtf(group_sum(squares) * share + eps);

  for_each_four([&](const Four& four, i64 k, i64 count) {
    Four result;
#pragma unroll
    for (int n = 0; n < 4; ++n) result.v[n] = (four.v[n] - mu) * scale;
    if (gain != nullptr) {
      const Four times = load_four<kAligned>(gain + k, count);
      const Four plus = load_four<kAligned>(bias + k, count);
#pragma unroll
      for (int n = 0; n < 4; ++n) result.v[n] = fmaf(result.v[n], times.v[n], plus.v[n]);
    }
    store_four<kAligned>(result, to + k, count);
  });
  if (lane == 0 && mean != nullptr) mean[row] = mu;
  if (lane == 0 && rstd != nullptr) rstd[row] = scale;
}

// Arguments of the backward pass. parts, when given, is [workers, 2, dim]: what a worker's rows add
// to dgain, then to dbias.
struct Backward {
  View<const float, 2> x, dy;
  const float *gain, *mean, *rstd;
  bool accumulate;
  View<float, 2> dx;
  float* parts;
  i64 rows_per_worker;
};

// Memory-bound: reads x and dy once (and dx where it is added to), writes dx once; the parts are
// 1/32 of that and less for 64 rows a worker. A worker is a warp: it holds what its rows add to the
// gradients of gain and bias in registers, so rows and columns are served by one reading.
template <int kHeld, bool kAligned>
__global__ void __launch_bounds__(kWarps* kWarp) layer_norm_backward_kernel(Backward pass) {
  const i64 worker = static_cast<i64>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const i64 rows = pass.x.size(0), dim = pass.x.size(1);
  const i64 begin = worker * pass.rows_per_worker;
  if (begin >= rows) return;
  const i64 end = begin + pass.rows_per_worker < rows ? begin + pass.rows_per_worker : rows;
  const i64 first = 4 * static_cast<i64>(threadIdx.x % kWarp);
  const float share = 1.0f / static_cast<float>(dim);

  Four gain_sum[kHeld], bias_sum[kHeld];
#pragma unroll
  for (int n = 0; n < kHeld; ++n) gain_sum[n] = bias_sum[n] = {};
  for (i64 row = begin; row < end; ++row) {
    const float* x = pass.x.data() + row * pass.x.stride(0);
    const float* dy = pass.dy.data() + row * pass.dy.stride(0);
    const float mean = pass.mean[row], rstd = pass.rstd[row];
    // n and g of the contract; places beyond the row have g = 0 and count nothing
    Four normed[kHeld], slope[kHeld];
    float sum = 0, sum_normed = 0;
#pragma unroll
    for (int n = 0; n < kHeld; ++n) {
      const i64 k = first + 4 * kWarp * n;
      normed[n] = slope[n] = {};
      if (k >= dim) continue;
      normed[n] = load_four<kAligned>(x + k, dim - k);
      slope[n] = load_four<kAligned>(dy + k, dim - k);
      const Four times =
          pass.gain != nullptr ? load_four<kAligned>(pass.gain + k, dim - k) : Four{{1, 1, 1, 1}};
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        normed[n].v[e] = (normed[n].v[e] - mean) * rstd;
        gain_sum[n].v[e] = fmaf(slope[n].v[e], normed[n].v[e], gain_sum[n].v[e]);
        bias_sum[n].v[e] += slope[n].v[e];
        slope[n].v[e] *= times.v[e];
        sum += slope[n].v[e];
        sum_normed = fmaf(slope[n].v[e], normed[n].v[e], sum_normed);
      }
    }
    const float mean_slope = group_sum(sum) * share;
    const float mean_normed = group_sum(sum_normed) * share;
    float* dx = pass.dx.data() + row * pass.dx.stride(0);
#pragma unroll
    for (int n = 0; n < kHeld; ++n) {
      const i64 k = first + 4 * kWarp * n;
      if (k >= dim) continue;
      Four result = pass.accumulate ? load_four<kAligned>(dx + k, dim - k) : Four{};
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float centred = fmaf(-normed[n].v[e], mean_normed, slope[n].v[e] - mean_slope);
        result.v[e] = fmaf(rstd, centred, result.v[e]);
      }
      store_four<kAligned>(result, dx + k, dim - k);
    }
  }
  if (pass.parts == nullptr) return;
  float* part = pass.parts + worker * 2 * dim;
#pragma unroll
  for (int n = 0; n < kHeld; ++n) {
    const i64 k = first + 4 * kWarp * n;
    if (k >= dim) continue;
    store_four<kAligned>(gain_sum[n], part + k, dim - k);
    store_four<kAligned>(bias_sum[n], part + dim + k, dim - k);
  }
}

// Rows that no warp can hold: x and dy are read three times, the second and third from a cache.
__global__ void long_rows_backward_kernel(Backward pass) {
  const i64 row = static_cast<i64>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (row >= pass.x.size(0)) return;
  const i64 dim = pass.x.size(1), lane = threadIdx.x % kWarp;
  const float* x = pass.x.data() + row * pass.x.stride(0);
  const float* dy = pass.dy.data() + row * pass.dy.stride(0);
  float* dx = pass.dx.data() + row * pass.dx.stride(0);
  const float mean = pass.mean[row], rstd = pass.rstd[row];
  const auto slope = [&](i64 k) { return pass.gain != nullptr ? dy[k] * pass.gain[k] : dy[k]; };
  float sum = 0, sum_normed = 0;
  for (i64 k = lane; k < dim; k += kWarp) {
    sum += slope(k);
    sum_normed = fmaf(slope(k), (x[k] - mean) * rstd, sum_normed);
  }
  sum = group_sum(sum) / static_cast<float>(dim);
  sum_normed = group_sum(sum_normed) / static_cast<float>(dim);
  for (i64 k = lane; k < dim; k += kWarp) {
    const float result = rstd * (slope(k) - sum - (x[k] - mean) * rstd * sum_normed);
    dx[k] = pass.accumulate ? dx[k] + result : result;
  }
}

// their parts of the gradients of gain and bias: a thread has one column of a worker's rows
__global__ void long_rows_parts_kernel(Backward pass) {
  const i64 dim = pass.x.size(1);
  const i64 column = static_cast<i64>(blockIdx.x) * kWarps * kWarp + threadIdx.x;
  if (column >= dim) return;
  const i64 begin = static_cast<i64>(blockIdx.y) * pass.rows_per_worker;
  float by_gain = 0, by_bias = 0;
  for (i64 row = begin; row < begin + pass.rows_per_worker && row < pass.x.size(0); ++row) {
    const float dy = pass.dy.data()[row * pass.dy.stride(0) + column];
    const float x = pass.x.data()[row * pass.x.stride(0) + column];
    by_gain = fmaf(dy, (x - pass.mean[row]) * pass.rstd[row], by_gain);
    by_bias += dy;
  }
  float* part = pass.parts + static_cast<i64>(blockIdx.y) * 2 * dim;
  part[column] = by_gain;
  part[dim + column] = by_bias;
}

template <typename T>
void norm_rows(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
               View<const float, 1> bias, float eps, View<T, 2> y, View<float, 1> mean,
               View<float, 1> rstd) {
  const i64 dim = x.size(1);
  if (x.size(0) == 0 || dim == 0) return;
  const bool aligned = in_fours(x) && in_fours(y) && in_fours(gain) && in_fours(bias);
  // the model's rows of 192 to 256 values, heads of 2048 that take the long way, and what lies
  // between
  auto kernel = aligned ? layer_norm_kernel<0, true, T> : layer_norm_kernel<0, false, T>;
  if (dim <= 2 * 4 * kWarp) {
    kernel = aligned ? layer_norm_kernel<2, true, T> : layer_norm_kernel<2, false, T>;
  } else if (dim <= 8 * 4 * kWarp) {
    kernel = aligned ? layer_norm_kernel<8, true, T> : layer_norm_kernel<8, false, T>;
  }
  launch(ctx, {"layer_norm", dim3(blocks_for(x.size(0), kWarps)), dim3(kWarps * kWarp)}, kernel, x,
         gain.data(), bias.data(), eps, y, mean.data(), rstd.data());
}

}  // namespace

namespace cuda {

void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<float, 2> y, View<float, 1> mean,
                View<float, 1> rstd) {
  norm_rows(ctx, x, gain, bias, eps, y, mean, rstd);
}

void layer_norm(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                View<const float, 1> bias, float eps, View<bf16, 2> y, View<float, 1> mean,
                View<float, 1> rstd) {
  norm_rows(ctx, x, gain, bias, eps, y, mean, rstd);
}

void layer_norm_backward(Context& ctx, View<const float, 2> x, View<const float, 1> gain,
                         View<const float, 1> mean, View<const float, 1> rstd,
                         View<const float, 2> dy, bool accumulate_dx, View<float, 2> dx,
                         View<float, 1> dgain, View<float, 1> dbias) {
  const i64 rows = x.size(0), dim = x.size(1);
  if (rows == 0 || dim == 0) return;
  const i64 workers = part_count(rows);
  Backward pass = {x,  dy,      gain.data(),        mean.data(), rstd.data(), accumulate_dx,
                   dx, nullptr, rows_per_part(rows)};
  if (dgain || dbias) {
    pass.parts = reinterpret_cast<float*>(
        ctx.shared_scratch(static_cast<std::size_t>(workers * 2 * dim) * sizeof(float)));
  }
  const bool aligned = in_fours(x) && in_fours(dy) && in_fours(dx) && in_fours(gain);
  const char* name = "layer_norm_backward";
  const dim3 threads(kWarps * kWarp);
  if (dim <= 8 * 4 * kWarp) {
    auto kernel =
        aligned ? layer_norm_backward_kernel<2, true> : layer_norm_backward_kernel<2, false>;
    if (dim > 2 * 4 * kWarp) {
      kernel = aligned ? layer_norm_backward_kernel<8, true> : layer_norm_backward_kernel<8, false>;
    }
    launch(ctx, {name, dim3(blocks_for(workers, kWarps)), threads}, kernel, pass);
  } else {
    // the sums of columns first: dx may be dy
    if (pass.parts != nullptr) {
      launch(ctx,
             {name, dim3(blocks_for(dim, kWarps * kWarp), static_cast<unsigned>(workers)), threads},
             long_rows_parts_kernel, pass);
    }
    launch(ctx, {name, dim3(blocks_for(rows, kWarps)), threads}, long_rows_backward_kernel, pass);
  }
  if (dgain) add_parts(ctx, name, pass.parts, workers, 2 * dim, dim, dgain.data());
  if (dbias) add_parts(ctx, name, pass.parts + dim, workers, 2 * dim, dim, dbias.data());
}

}  // namespace cuda

}  // namespace orrery
