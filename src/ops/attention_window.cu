// Attention of a predictor's few frames as training needs it: with dropout of the probabilities,
// and backward. A (batch, head) pair is kLanes lanes, each with four numbers of every row.

#include <limits>

#include "ops/attention_device.h"
#include "ops/dropout_device.h"

namespace orrery::cuda {

namespace {

constexpr int kThreads = 128;

// What both passes share: the lanes' place, and the probabilities of one query.
template <int kLanes, int kWindow, bool kAligned, typename Pass>
struct Window {
  const Pass& pass;
  i64 index, b, h, begin, left;
  i64 pair;

  __device__ explicit Window(const Pass& of)
      : pass(of),
        index(static_cast<i64>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes),
        begin(4 * static_cast<i64>(threadIdx.x % kLanes)),
        left(of.dim() - begin) {
    // every lane of a warp takes part in its sums, also where its group has no pair
    pair = there() ? index : pass.pairs() - 1;
    b = pair / pass.q.size(2);
    h = pair % pass.q.size(2);
  }
  __device__ bool there() const { return index < pass.pairs(); }
  __device__ Four part(View<const float, 4> rows, i64 t) const {
    return left > 0 ? load_four<kAligned>(PairRows<const float>(rows, b, h)[t] + begin, left)
                    : Four{};
  }
  __device__ void put(View<float, 4> rows, i64 t, const Four& four) const {
    if (left > 0 && there()) {
      store_four<kAligned>(four, PairRows<float>(rows, b, h)[t] + begin, left);
    }
  }
  // element (b, h, t, 0) of the mask
  __device__ i64 element(i64 t) const { return (pair * pass.q.size(1) + t) * pass.k.size(1); }

  // softmax over the keys that query t sees, as many as `seen`
  __device__ void probabilities(const Four& query, int seen, float (&weight)[kWindow]) const {
    float top = -std::numeric_limits<float>::infinity();
#pragma unroll
    for (int s = 0; s < kWindow; ++s) {
      if (s >= seen) continue;
      weight[s] = pass.scale * group_sum<kLanes>(dot(query, part(pass.k, s)));
      top = fmaxf(top, weight[s]);
    }
    float sum = 0;
#pragma unroll
    for (int s = 0; s < kWindow; ++s) {
      if (s >= seen) continue;
      weight[s] = expf(weight[s] - top);
      sum += weight[s];
    }
#pragma unroll
    for (int s = 0; s < kWindow; ++s) {
      if (s < seen) weight[s] /= sum;
    }
  }
};

// Memory-bound: reads q once, k and v once and again from L1, writes out once.
template <int kLanes, int kWindow, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    window_dropout_kernel(Dropout settings, AttentionPass<float> pass) {
  const Window<kLanes, kWindow, kAligned, AttentionPass<float>> window(pass);
  Mask mask(settings);
  for (i64 t = 0; t < pass.q.size(1); ++t) {
    const int seen = static_cast<int>(pass.seen(t));
    float weight[kWindow];
    window.probabilities(window.part(pass.q, t), seen, weight);
    Four total = {};
#pragma unroll
    for (int s = 0; s < kWindow; ++s) {
      if (s >= seen) continue;
      add_weighted(window.part(pass.v, s), weight[s] * mask(window.element(t) + s), total);
    }
    window.put(pass.out, t, total);
  }
}

// Memory-bound: reads q, dout, k and v once (k and v again from L1), writes dq, dk and dv once.
// Probabilities are computed again, which costs less than reading what they could be had from.
template <int kLanes, int kWindow, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    window_backward_kernel(Dropout settings, AttentionBackward<float> pass) {
  const Window<kLanes, kWindow, kAligned, AttentionBackward<float>> window(pass);
  Mask mask(settings);
  Four dkey[kWindow], dvalue[kWindow];
#pragma unroll
  for (int s = 0; s < kWindow; ++s) dkey[s] = dvalue[s] = {};
  for (i64 t = 0; t < pass.q.size(1); ++t) {
    const int seen = static_cast<int>(pass.seen(t));
    const Four query = window.part(pass.q, t), slope = window.part(pass.dout, t);
    float weight[kWindow], dweight[kWindow];
    window.probabilities(query, seen, weight);
    // through the mask and the weighted sum
    float mean = 0;  // of dweight under weight, which the softmax subtracts
#pragma unroll
    for (int s = 0; s < kWindow; ++s) {
      if (s >= seen) continue;
      const float kept = mask(window.element(t) + s);
      dweight[s] = kept * group_sum<kLanes>(dot(slope, window.part(pass.v, s)));
      mean = fmaf(dweight[s], weight[s], mean);
      add_weighted(slope, weight[s] * kept, dvalue[s]);
    }
    // through the softmax and the scores
    Four dquery = {};
#pragma unroll
    for (int s = 0; s < kWindow; ++s) {
      if (s >= seen) continue;
      const float dscore = pass.scale * weight[s] * (dweight[s] - mean);
      add_weighted(window.part(pass.k, s), dscore, dquery);
      add_weighted(query, dscore, dkey[s]);
    }
    window.put(pass.dq, t, dquery);
  }
#pragma unroll
  for (int s = 0; s < kWindow; ++s) {
    if (s >= pass.k.size(1)) continue;
    window.put(pass.dk, s, dkey[s]);
    window.put(pass.dv, s, dvalue[s]);
  }
}

// up to this many frames keep their gradients in few registers: the published predictor sees three
constexpr i64 kShort = 4;

// Runs launcher.run<lanes, window, aligned>() with what a pass needs.
template <typename Pass, typename Launcher>
void with_sizes(const Pass& pass, bool aligned, const Launcher& launcher) {
  if (pass.pairs() == 0 || pass.q.size(1) == 0 || pass.dim() == 0) return;
  const bool is_short = pass.q.size(1) <= kShort && pass.k.size(1) <= kShort;
  constexpr int kLong = static_cast<int>(kLongestWindow);
  if (!is_short) return launcher.template run<32, kLong, false>();
  if (pass.dim() > 64) {
    return aligned ? launcher.template run<32, 4, true>() : launcher.template run<32, 4, false>();
  }
  return aligned ? launcher.template run<16, 4, true>() : launcher.template run<16, 4, false>();
}

template <int kLanes>
Launch shape_of(const char* name, i64 pairs) {
  return {name, dim3(blocks_for(pairs, kThreads / kLanes)), dim3(kThreads)};
}

struct Forward {
  Context& ctx;
  const Dropout& settings;
  const AttentionPass<float>& pass;
  template <int kLanes, int kWindow, bool kAligned>
  void run() const {
    launch(ctx, shape_of<kLanes>("attention_dropout", pass.pairs()),
           window_dropout_kernel<kLanes, kWindow, kAligned>, settings, pass);
  }
};

struct Backward {
  Context& ctx;
  const Dropout& settings;
  const AttentionBackward<float>& pass;
  template <int kLanes, int kWindow, bool kAligned>
  void run() const {
    launch(ctx, shape_of<kLanes>("attention_backward", pass.pairs()),
           window_backward_kernel<kLanes, kWindow, kAligned>, settings, pass);
  }
};

}  // namespace

void window_attention(Context& ctx, const Dropout& settings, const AttentionPass<float>& pass) {
  with_sizes(pass, in_pieces(pass, 4), Forward{ctx, settings, pass});
}

void window_attention_backward(Context& ctx, const Dropout& settings,
                               const AttentionBackward<float>& pass) {
  with_sizes(pass, in_pieces(pass, 4), Backward{ctx, settings, pass});
}

}  // namespace orrery::cuda
