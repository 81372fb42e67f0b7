#include "bench/work.h"

#include <algorithm>

#include "models/lewm/weights.h"

namespace orrery::bench {

namespace {

constexpr double kFloat = sizeof(float);

double number(i64 value) { return static_cast<double>(value); }

Work values(i64 count) { return {0, kFloat * number(count)}; }

// a layer inside a model: only its weights come from memory
Work dense(i64 rows, i64 inputs, i64 outputs) {
  return {2 * number(rows) * number(inputs) * number(outputs),
          kFloat * number(inputs) * number(outputs)};
}

Work attend(i64 batch, i64 queries, i64 keys, i64 heads, i64 dim, bool causal) {
  double pairs = number(queries) * number(keys);
  if (causal) pairs -= number(queries) * number(queries - 1) / 2;
  // two products, a multiplication and an addition each
  return {4 * pairs * number(batch) * number(heads) * number(dim), 0};
}

Work head(const lewm::HeadConfig& h, i64 rows) {
  if (!h.present) return {};
  return dense(rows, h.input, h.hidden) + dense(rows, h.hidden, h.output);
}

Work patch_embedding(const lewm::EncoderConfig& e, i64 frames) {
  return dense(frames * e.grid() * e.grid(), e.patch_inputs(), e.hidden);
}

// after the last block's keys and values only the CLS tokens are needed
Work encoder(const lewm::Config& config, i64 frames) {
  const lewm::EncoderConfig& e = config.encoder;
  const i64 tokens = 1 + e.grid() * e.grid();
  Work work = patch_embedding(e, frames);
  for (i64 layer = 0; layer < e.layers; ++layer) {
    const i64 queries = layer + 1 == e.layers ? 1 : tokens;
    work += dense(frames * tokens, e.hidden, 3 * e.hidden);
    work += attend(frames, queries, tokens, e.heads, e.head_dim(), false);
    work += dense(frames * queries, e.hidden, e.hidden);
    work += dense(frames * queries, e.hidden, e.mlp) + dense(frames * queries, e.mlp, e.hidden);
  }
  return work + head(config.projector, frames);
}

// actions to every layer's modulation
Work conditions(const lewm::Config& config, i64 rows) {
  const lewm::ActionEncoderConfig& a = config.action;
  const lewm::PredictorConfig& p = config.predictor;
  Work work = dense(rows, a.input, a.smoothed) + dense(rows, a.smoothed, a.mlp_scale * a.output) +
              dense(rows, a.mlp_scale * a.output, a.output);
  if (p.input != p.hidden) work += dense(rows, p.input, p.hidden);
  return work + number(p.depth) * dense(rows, p.hidden, 6 * p.hidden);
}

// `fresh` newest frames of windows of `keys` frames, of which the last `wanted` are asked for
Work advance(const lewm::Config& config, i64 batch, i64 keys, i64 fresh, i64 wanted) {
  const lewm::PredictorConfig& p = config.predictor;
  Work work;
  if (p.input != p.hidden) work += dense(batch * fresh, p.input, p.hidden);
  for (i64 layer = 0; layer < p.depth; ++layer) {
    const i64 queries = layer + 1 == p.depth ? wanted : fresh;
    const i64 rows = batch * queries;
    work += dense(batch * fresh, p.hidden, 3 * p.inner());
    work += attend(batch, queries, keys, p.heads, p.head_dim, true);
    if (p.projects_attention()) work += dense(rows, p.inner(), p.hidden);
    work += dense(rows, p.hidden, p.mlp) + dense(rows, p.mlp, p.hidden);
  }
  if (p.output != p.hidden) work += dense(batch * wanted, p.hidden, p.output);
  return work + head(config.pred_proj, batch * wanted);
}

}  // namespace

Work linear_work(i64 rows, i64 inputs, i64 outputs) {
  return dense(rows, inputs, outputs) + values(rows * inputs) + values(rows * outputs);
}

Work attention_work(i64 batch, i64 queries, i64 keys, i64 heads, i64 dim, bool causal) {
  return attend(batch, queries, keys, heads, dim, causal) +
         values(2 * batch * (queries + keys) * heads * dim);
}

Work encode_work(const lewm::Config& config, i64 frames) {
  const i64 side = config.encoder.image_size;
  return encoder(config, frames) + Work{0, number(frames * side * side * 3)} +
         values(frames * config.latent());
}

Work predict_work(const lewm::Config& config, i64 batch, i64 time) {
  return conditions(config, batch * time) + advance(config, batch, time, time, time) +
         values(batch * time * (2 * config.latent() + config.action.input));
}

Work rollout_work(const lewm::Config& config, i64 samples, i64 blocks) {
  Work work = conditions(config, samples * blocks);
  const double weights = conditions(config, 0).bytes + advance(config, 0, 1, 1, 1).bytes;
  for (i64 t = 0; t < blocks; ++t) {
    const i64 keys = std::min(config.predictor.window, 1 + t);
    const i64 fresh = t < config.predictor.window ? 1 : keys;
    work += advance(config, samples, keys, fresh, 1);
  }
  // weights are read once, however many blocks
  work.bytes = weights;
  return work + values(samples * (blocks * config.action.input + 1));
}

Work plan_work(const lewm::Config& config, i64 samples, i64 iterations, i64 blocks) {
  return 2 * encode_work(config, 1) + number(iterations) * rollout_work(config, samples, blocks);
}

Work training_work(const lewm::Config& config, i64 windows, i64 frames, i64 projections) {
  const i64 predicted = frames - 1;
  Work work = 3 * (encoder(config, windows * frames) + conditions(config, windows * predicted) +
                   advance(config, windows, predicted, predicted, predicted));
  work.flops -= patch_embedding(config.encoder, windows * frames).flops;
  work += 2 * dense(windows * frames, config.latent(), projections);
  // parameters and two moments there and back, the gradient written, read twice
  const i64 side = config.encoder.image_size;
  work.bytes = 9 * kFloat * number(lewm::layout_of(config).parameters) +
               number(windows * frames * side * side * 3);
  return work;
}

}  // namespace orrery::bench
