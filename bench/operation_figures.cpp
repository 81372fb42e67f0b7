#include <memory>

#include "base/text.h"
#include "bench/figure.h"
#include "bench/inputs.h"
#include "models/lewm/config.h"
#include "ops/activation.h"
#include "ops/activation_ref.h"
#include "ops/attention.h"
#include "ops/attention_ref.h"
#include "ops/gemm.h"
#include "ops/gemm_ref.h"
#include "ops/image.h"
#include "ops/image_ref.h"
#include "ops/layer_norm.h"
#include "ops/layer_norm_ref.h"

namespace orrery::bench {

namespace {

// gemm/ROWSxINPUTSxOUTPUTS: a layer with bias
Figure gemm_figure(i64 rows, i64 inputs, i64 outputs) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      Tensor x, weight, bias, y;
      PackedMatrix packed;
    };
    auto m = std::make_shared<Memory>();
    m->x = normal_values({rows, inputs}, 1);
    m->weight = normal_values({outputs, inputs}, 2);
    m->bias = normal_values({outputs}, 3);
    m->y = Tensor(DType::f32, {rows, outputs});
    // results of unit size
    for (float& w : std::span(m->weight.data<float>(), static_cast<std::size_t>(inputs * outputs)))
      w /= std::sqrt(static_cast<float>(inputs));
    m->packed = PackedMatrix(ctx, m->weight.view<float, 2>());

    Prepared ready;
    ready.work = linear_work(rows, inputs, outputs);
    ready.run = [m, &ctx] {
      linear(ctx, m->x.view<float, 2>(), m->packed, {.bias = m->bias.view<float, 1>()},
             m->y.view<float, 2>());
    };
    ready.check = [m] {
      const i64 last = m->y.size(0) - 1, width = m->y.size(1);
      Tensor expected(DType::f32, {1, width});
      for (const i64 row : {i64{0}, last / 2, last}) {
        linear_ref(m->x.view<float, 2>().slice(0, row, row + 1), m->weight.view<float, 2>(),
                   {.bias = m->bias.view<float, 1>()}, expected.view<float, 2>());
        // the bound of gemm.h for 2048 such inputs is 1.6e-4
        check_near("gemm", &m->y.view<float, 2>()(row, 0), expected.data<float>(), width, 2e-4f);
      }
    };
    return ready;
  };
  return {text("gemm/", rows, "x", inputs, "x", outputs), prepare};
}

Figure layer_norm_figure(i64 rows, i64 dim) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      Tensor x, gain, bias, y;
    };
    auto m =
        std::make_shared<Memory>(Memory{normal_values({rows, dim}, 1), normal_values({dim}, 2),
                                        normal_values({dim}, 3), Tensor(DType::f32, {rows, dim})});
    Prepared ready;
    ready.work = {0, 4.0 * static_cast<double>(2 * rows * dim + 2 * dim)};
    ready.run = [m, &ctx] {
      layer_norm(ctx, m->x.view<float, 2>(), m->gain.view<float, 1>(), m->bias.view<float, 1>(),
                 1e-12f, m->y.view<float, 2>());
    };
    ready.check = [m] {
      Tensor expected(DType::f32, m->y.shape());
      layer_norm_ref<float>(m->x.view<float, 2>(), m->gain.view<float, 1>(),
                            m->bias.view<float, 1>(), 1e-12, expected.view<float, 2>(), {}, {});
      // 4e-6 for values of unit size; the gains here reach 4
      check_near("layer_norm", m->y.data<float>(), expected.data<float>(), m->y.numel(), 2e-5f);
    };
    return ready;
  };
  return {text("layer_norm/", rows, "x", dim), prepare};
}

// queries, keys and values as the models have them: slices of one joint projection
Figure attention_figure(i64 batch, i64 tokens, i64 heads, i64 dim, bool causal) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      Tensor qkv, out;
    };
    auto m = std::make_shared<Memory>(Memory{normal_values({batch, tokens, 3, heads, dim}, 1),
                                             Tensor(DType::f32, {batch, tokens, heads, dim})});
    const i64 row = 3 * heads * dim;
    const auto part = [=](i64 index) {
      return View<const float, 4>(m->qkv.data<float>() + index * heads * dim,
                                  {batch, tokens, heads, dim}, {tokens * row, row, dim, 1});
    };
    const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
    Prepared ready;
    ready.work = attention_work(batch, tokens, tokens, heads, dim, causal);
    ready.run = [=, &ctx] {
      attention(ctx, part(0), part(1), part(2), scale, causal, m->out.view<float, 4>());
    };
    ready.check = [=] {
      Tensor expected(DType::f32, {1, tokens, heads, dim});
      const i64 last = batch - 1;
      const auto of_last = [&](i64 index) { return part(index).slice(0, last, batch); };
      attention_ref<float>(of_last(0), of_last(1), of_last(2), static_cast<double>(scale), causal,
                           expected.view<float, 4>(), {});
      check_near("attention", &m->out.view<float, 4>()(last, 0, 0, 0), expected.data<float>(),
                 expected.numel(), 1e-5f);
    };
    return ready;
  };
  return {text("attention/", batch, "x", tokens, "x", heads, "x", dim), prepare};
}

Figure gelu_figure(i64 rows, i64 dim) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      Tensor x, y;
    };
    auto m = std::make_shared<Memory>(
        Memory{normal_values({rows * dim}, 1), Tensor(DType::f32, {rows * dim})});
    Prepared ready;
    ready.work = {0, 8.0 * static_cast<double>(rows * dim)};
    ready.run = [m, &ctx] {
      activate(ctx, Activation::gelu, m->x.view<float, 1>(), m->y.view<float, 1>());
    };
    ready.check = [m] {
      for (i64 i = 0; i < m->x.numel(); i += 97) {
        const auto expected = static_cast<float>(
            activation_ref(Activation::gelu, static_cast<double>(m->x.data<float>()[i])));
        check_near("gelu", m->y.data<float>() + i, &expected, 1, 2e-6f);  // 5 ulp of 4
      }
    };
    return ready;
  };
  return {text("gelu/", rows, "x", dim), prepare};
}

// bytes of a frame to the rows of the patch embedding
Figure patch_figure(i64 frames, i64 side, i64 patch) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      Tensor bytes, rows;
    };
    const i64 grid = side / patch;
    auto m = std::make_shared<Memory>(
        Memory{random_bytes({frames, side, side, 3}, 1),
               Tensor(DType::f32, {frames, grid * grid, 3 * patch * patch})});
    Prepared ready;
    ready.work = {0, static_cast<double>(m->bytes.byte_count() + m->rows.byte_count())};
    ready.run = [=, &ctx] {
      patch_rows_from_bytes(ctx, m->bytes.view<u8, 4>(), patch, m->rows.view<float, 3>());
    };
    ready.check = [=] {
      Tensor pixels(DType::f32, {frames, 3, side, side}), expected(DType::f32, m->rows.shape());
      normalize_images_ref(m->bytes.view<u8, 4>(), pixels.view<float, 4>());
      patch_rows_ref(pixels.view<float, 4>(), patch, expected.view<float, 3>());
      check_near("patch_rows", m->rows.data<float>(), expected.data<float>(), expected.numel(), 0);
    };
    return ready;
  };
  return {text("patch_rows/", frames, "x", side, "x", side), prepare};
}

}  // namespace

std::vector<Figure> operation_figures() {
  const lewm::Config config;
  const lewm::EncoderConfig& e = config.encoder;
  const lewm::PredictorConfig& p = config.predictor;
  const i64 tokens = 1 + e.grid() * e.grid();
  std::vector<Figure> figures;
  for (const i64 frames : {1, 8}) {
    const i64 rows = frames * tokens;
    figures.push_back(gemm_figure(rows, e.hidden, 3 * e.hidden));
    figures.push_back(gemm_figure(rows, e.hidden, e.hidden));
    figures.push_back(gemm_figure(rows, e.hidden, e.mlp));
    figures.push_back(gemm_figure(rows, e.mlp, e.hidden));
  }
  // windows of three frames of 50 candidates, about what a worker takes at once
  const i64 rows = 150;
  figures.push_back(gemm_figure(rows, p.hidden, 3 * p.inner()));
  figures.push_back(gemm_figure(rows, p.inner(), p.hidden));
  figures.push_back(gemm_figure(rows, p.hidden, p.mlp));
  figures.push_back(gemm_figure(rows, p.mlp, p.hidden));
  figures.push_back(gemm_figure(rows, p.hidden, 6 * p.hidden));
  for (const i64 frames : {1, 8}) figures.push_back(layer_norm_figure(frames * tokens, e.hidden));
  for (const i64 frames : {1, 8}) {
    figures.push_back(attention_figure(frames, tokens, e.heads, e.head_dim(), false));
  }
  figures.push_back(attention_figure(300, p.window, p.heads, p.head_dim, true));
  figures.push_back(gelu_figure(tokens, e.mlp));
  for (const i64 frames : {1, 8}) figures.push_back(patch_figure(frames, e.image_size, e.patch));
  return figures;
}

}  // namespace orrery::bench
