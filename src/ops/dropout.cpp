#include "ops/dropout.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace orrery {

namespace cuda {
void dropout(Context& ctx, const Dropout& settings, View<const float, 1> x, View<float, 1> y);
void attention_dropout(Context& ctx, const Dropout& settings, View<const float, 4> q,
                       View<const float, 4> k, View<const float, 4> v, float scale, bool causal,
                       View<float, 4> out);
void attention_dropout_backward(Context& ctx, const Dropout& settings, View<const float, 4> q,
                                View<const float, 4> k, View<const float, 4> v, float scale,
                                bool causal, View<const float, 4> dout, View<float, 4> dq,
                                View<float, 4> dk, View<float, 4> dv);
}  // namespace cuda

namespace {

void check_settings(const Context& ctx, const Dropout& settings) {
  check(settings.rate >= 0.0f && settings.rate < 1.0f, "dropout: rate is ", settings.rate,
        ", 0 <= rate < 1 was needed");
  check(settings.first >= 0, "dropout: the first element is ", settings.first);
  check(settings.stream_there == nullptr || ctx.device() == Device::cuda,
        "dropout: a stream in a device's memory was given to a CPU");
}

// 0 or 1 / (1 - rate); four elements share one Philox call
class Mask {
 public:
  explicit Mask(const Dropout& settings)
      : settings_(settings), kept_(1.0f / (1.0f - settings.rate)) {}

  float operator()(i64 index) {
    const i64 element = settings_.first + index;
    const u64 block = static_cast<u64>(element) / 4;
    if (!filled_ || block != block_) {
      bits_ = philox(settings_.seed, settings_.stream, block);
      block_ = block;
      filled_ = true;
    }
    const u32 draw = bits_[static_cast<std::size_t>(element % 4)];
    return uniform_from_bits(draw) < settings_.rate ? 0.0f : kept_;
  }

 private:
  Dropout settings_;
  float kept_;
  std::array<u32, 4> bits_ = {};
  u64 block_ = 0;
  bool filled_ = false;
};

// one (batch, head) pair of an attention
struct Pair {
  i64 batch, head;
  i64 queries, keys;
  i64 first_element;  // of the mask
};

// masked and unmasked probabilities of query t over the keys it sees; returns how many
i64 probabilities(View<const float, 4> q, View<const float, 4> k, float scale, bool causal,
                  const Pair& pair, i64 t, Mask& mask, float* probability, float* masked) {
  const i64 seen =
      causal ? std::clamp<i64>(t + pair.keys - pair.queries + 1, 0, pair.keys) : pair.keys;
  float largest = -INFINITY;
  for (i64 s = 0; s < seen; ++s) {
    float score = 0.0f;
    for (i64 d = 0; d < q.size(3); ++d) {
      score += q(pair.batch, t, pair.head, d) * k(pair.batch, s, pair.head, d);
    }
    probability[s] = scale * score;
    largest = std::max(largest, probability[s]);
  }
  float sum = 0.0f;
  for (i64 s = 0; s < seen; ++s) sum += probability[s] = std::exp(probability[s] - largest);
  for (i64 s = 0; s < seen; ++s) {
    probability[s] /= sum;
    masked[s] = probability[s] * mask(pair.first_element + t * pair.keys + s);
  }
  return seen;
}

template <typename Body>
void for_each_pair(Context& ctx, View<const float, 4> q, View<const float, 4> k, const Body& body) {
  const i64 heads = q.size(2);
  ctx.parallel(q.size(0) * heads, [&](i64 index, int worker) {
    const i64 queries = q.size(1), keys = k.size(1);
    const Pair pair{index / heads, index % heads, queries, keys, index * queries * keys};
    const auto bytes = static_cast<std::size_t>(3 * keys) * sizeof(float);
    body(pair, reinterpret_cast<float*>(ctx.worker_scratch(worker, bytes)));
  });
}

void check_sizes(const Context& ctx, View<const float, 4> q, View<const float, 4> k,
                 View<const float, 4> v) {
  check(k.sizes() == v.sizes() && q.size(0) == k.size(0) && q.size(2) == k.size(2) &&
            q.size(3) == k.size(3),
        "attention_dropout: q is ", q.shape(), ", k is ", k.shape(), ", v is ", v.shape());
  constexpr i64 kLongest = 16, kWidest = 128;
  check(ctx.device() == Device::cpu ||
            (std::max(q.size(1), k.size(1)) <= kLongest && q.size(3) <= kWidest &&
             q.stride(3) == 1 && k.stride(3) == 1 && v.stride(3) == 1),
        "attention_dropout: q is ", q.shape(), ", k is ", k.shape(), "; a CUDA device takes up to ",
        kLongest, " queries and keys of up to ", kWidest, " neighbouring values");
}

}  // namespace

namespace cpu {

void dropout(Context& ctx, const Dropout& settings, View<const float, 1> x, View<float, 1> y) {
  // a multiple of four, so that tasks seldom share a Philox call
  ctx.parallel_ranges(x.numel(), 4096, [&](i64 begin, i64 end, int) {
    Mask mask(settings);
    for (i64 i = begin; i < end; ++i) y[i] = x[i] * mask(i);
  });
}

void attention_dropout(Context& ctx, const Dropout& settings, View<const float, 4> q,
                       View<const float, 4> k, View<const float, 4> v, float scale, bool causal,
                       View<float, 4> out) {
  for_each_pair(ctx, q, k, [&](const Pair& pair, float* scratch) {
    float* probability = scratch;
    float* masked = scratch + pair.keys;
    Mask mask(settings);
    for (i64 t = 0; t < pair.queries; ++t) {
      const i64 seen = probabilities(q, k, scale, causal, pair, t, mask, probability, masked);
      for (i64 d = 0; d < q.size(3); ++d) {
        float sum = 0.0f;
        for (i64 s = 0; s < seen; ++s) sum += masked[s] * v(pair.batch, s, pair.head, d);
        out(pair.batch, t, pair.head, d) = sum;
      }
    }
  });
}

void attention_dropout_backward(Context& ctx, const Dropout& settings, View<const float, 4> q,
                                View<const float, 4> k, View<const float, 4> v, float scale,
                                bool causal, View<const float, 4> dout, View<float, 4> dq,
                                View<float, 4> dk, View<float, 4> dv) {
  const i64 width = q.size(3);
  for_each_pair(ctx, q, k, [&](const Pair& pair, float* scratch) {
    float* probability = scratch;
    float* masked = scratch + pair.keys;
    float* dprobability = scratch + 2 * pair.keys;
    const i64 b = pair.batch, h = pair.head;
    for (i64 s = 0; s < pair.keys; ++s) {
      for (i64 d = 0; d < width; ++d) dk(b, s, h, d) = dv(b, s, h, d) = 0.0f;
    }
    Mask mask(settings), again(settings);
    for (i64 t = 0; t < pair.queries; ++t) {
      const i64 seen = probabilities(q, k, scale, causal, pair, t, mask, probability, masked);
      // through the mask and the weighted sum
      float mean = 0.0f;  // of dp under p, which the softmax subtracts
      for (i64 s = 0; s < seen; ++s) {
        float sum = 0.0f;
        for (i64 d = 0; d < width; ++d) {
          sum += dout(b, t, h, d) * v(b, s, h, d);
          dv(b, s, h, d) += masked[s] * dout(b, t, h, d);
        }
        dprobability[s] = sum * again(pair.first_element + t * pair.keys + s);
        mean += dprobability[s] * probability[s];
      }
      // through the softmax and the scores
      for (i64 d = 0; d < width; ++d) dq(b, t, h, d) = 0.0f;
      for (i64 s = 0; s < seen; ++s) {
        const float dscore = scale * probability[s] * (dprobability[s] - mean);
        for (i64 d = 0; d < width; ++d) {
          dq(b, t, h, d) += dscore * k(b, s, h, d);
          dk(b, s, h, d) += dscore * q(b, t, h, d);
        }
      }
    }
  });
}

}  // namespace cpu

void dropout(Context& ctx, const Dropout& settings, View<const float, 1> x, View<float, 1> y) {
  check_settings(ctx, settings);
  check(x.sizes() == y.sizes() && x.contiguous() && y.contiguous(), "dropout: x is ", x.shape(),
        ", y is ", y.shape(), "; contiguous arrays of one size were needed");
  if (x.numel() == 0) return;
  ORRERY_ON_DEVICE(ctx, dropout, settings, x, y);
}

void attention_dropout(Context& ctx, const Dropout& settings, View<const float, 4> q,
                       View<const float, 4> k, View<const float, 4> v, float scale, bool causal,
                       View<float, 4> out) {
  check_settings(ctx, settings);
  check_sizes(ctx, q, k, v);
  check(out.sizes() == q.sizes(), "attention_dropout: out is ", out.shape(), ", q is ", q.shape());
  ORRERY_ON_DEVICE(ctx, attention_dropout, settings, q, k, v, scale, causal, out);
}

void attention_dropout_backward(Context& ctx, const Dropout& settings, View<const float, 4> q,
                                View<const float, 4> k, View<const float, 4> v, float scale,
                                bool causal, View<const float, 4> dout, View<float, 4> dq,
                                View<float, 4> dk, View<float, 4> dv) {
  check_settings(ctx, settings);
  check_sizes(ctx, q, k, v);
  check(dout.sizes() == q.sizes() && dq.sizes() == q.sizes() && dk.sizes() == k.sizes() &&
            dv.sizes() == v.sizes(),
        "attention_dropout_backward: gradients must have the shapes of their values");
  ORRERY_ON_DEVICE(ctx, attention_dropout_backward, settings, q, k, v, scale, causal, dout, dq, dk,
                   dv);
}

}  // namespace orrery
