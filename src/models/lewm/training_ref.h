#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "models/lewm/weights.h"
#include "ops/image.h"

namespace orrery::lewm::reference {

// The training pass of training.h once more, as plain loops in double, from the names of the
// tensors alone: what the fast one is checked against, and what finite differences are taken of.

struct Matrix {
  i64 rows = 0, cols = 0;
  std::vector<double> values;

  Matrix() = default;
  Matrix(i64 r, i64 c) : rows(r), cols(c), values(static_cast<std::size_t>(r * c)) {}
  double& operator()(i64 r, i64 c) { return values[static_cast<std::size_t>(r * cols + c)]; }
  double operator()(i64 r, i64 c) const { return values[static_cast<std::size_t>(r * cols + c)]; }
};

class Model {
 public:
  explicit Model(const Config& config) : config_(config) {
    for (const TensorSpec& spec : layout_of(config).specs) specs_.emplace(spec.name, spec);
  }

  std::vector<double> parameters;  // in the order of the layout
  Matrix observations;             // [B T, N], z-scored: what a model of vectors sees

  struct Result {
    Matrix emb;                  // [B T, D]
    Matrix pred;                 // [B S, D]
    std::vector<Matrix> rolled;  // of every further step: [B, D]
  };

  // pixels [B T, H, W, 3], action [B T, A]; rolled on for `steps` steps from `context` frames
  Result forward(View<const u8, 4> pixels, const Matrix& action, i64 windows, i64 frames,
                 i64 steps = 1, i64 context = 0) const {
    Result result;
    result.emb = head("projector", config_.projector,
                      config_.encoder.of_vectors() ? encode_vectors() : encode(pixels));
    const Matrix condition = action_encoder(action);
    const i64 window = config_.predictor.window, seen = std::min(window, frames - 1);
    const auto predicted = [&](const Matrix& latents, i64 first, i64 count) {
      return head("pred_proj", config_.pred_proj,
                  predict(part(latents, windows, first, count),
                          part(condition, windows, first, count), windows, count));
    };
    result.pred = predicted(result.emb, 0, seen);

    // the window's latents, with what is predicted in place of what is seen
    Matrix imagined = result.emb;
    const auto put = [&](i64 frame, const Matrix& from, i64 per_window, i64 at) {
      Matrix newest(windows, from.cols);
      for (i64 b = 0; b < windows; ++b) {
        for (i64 d = 0; d < from.cols; ++d) {
          newest(b, d) = imagined(b * frames + frame, d) = from(b * per_window + at, d);
        }
      }
      return newest;
    };
    if (steps > 1) put(context, result.pred, seen, context - 1);
    for (i64 step = 1; step < steps; ++step) {
      const i64 count = std::min(window, context + step);
      const Matrix next = predicted(imagined, context + step - count, count);
      result.rolled.push_back(put(context + step, next, count, count - 1));
    }
    return result;
  }

 protected:
  bool has(const std::string& name) const { return specs_.count(name) > 0; }
  const double* at(const std::string& name) const {
    return parameters.data() + specs_.at(name).offset;
  }

  // some rows of every window
  static Matrix part(const Matrix& x, i64 windows, i64 first, i64 count) {
    const i64 frames = x.rows / windows;
    Matrix y(windows * count, x.cols);
    for (i64 r = 0; r < y.rows; ++r) {
      for (i64 c = 0; c < x.cols; ++c) {
        y(r, c) = x(r / count * frames + first + r % count, c);
      }
    }
    return y;
  }

  Matrix linear(const std::string& name, const Matrix& x) const {
    const Shape& shape = specs_.at(name + ".weight").shape;
    const double* weight = at(name + ".weight");
    const double* bias = has(name + ".bias") ? at(name + ".bias") : nullptr;
    Matrix y(x.rows, shape[0]);
    for (i64 r = 0; r < y.rows; ++r) {
      for (i64 o = 0; o < y.cols; ++o) {
        double sum = bias == nullptr ? 0.0 : bias[o];
        for (i64 i = 0; i < x.cols; ++i) sum += x(r, i) * weight[o * x.cols + i];
        y(r, o) = sum;
      }
    }
    return y;
  }

  // over the columns of each row; without a name no affine part
  Matrix layer_norm(const std::string& name, const Matrix& x, double eps) const {
    Matrix y(x.rows, x.cols);
    for (i64 r = 0; r < x.rows; ++r) {
      double mean = 0, square = 0;
      for (i64 c = 0; c < x.cols; ++c) mean += x(r, c) / static_cast<double>(x.cols);
      for (i64 c = 0; c < x.cols; ++c) square += (x(r, c) - mean) * (x(r, c) - mean);
      const double rstd = 1.0 / std::sqrt(square / static_cast<double>(x.cols) + eps);
      for (i64 c = 0; c < x.cols; ++c) y(r, c) = (x(r, c) - mean) * rstd;
    }
    return name.empty() ? y : affine(name, y);
  }

  // over the rows of each column, biased variance
  Matrix batch_norm(const std::string& name, const Matrix& x) const {
    Matrix y(x.rows, x.cols);
    for (i64 c = 0; c < x.cols; ++c) {
      double mean = 0, square = 0;
      for (i64 r = 0; r < x.rows; ++r) mean += x(r, c) / static_cast<double>(x.rows);
      for (i64 r = 0; r < x.rows; ++r) square += (x(r, c) - mean) * (x(r, c) - mean);
      const double rstd = 1.0 / std::sqrt(square / static_cast<double>(x.rows) + 1e-5);
      for (i64 r = 0; r < x.rows; ++r) y(r, c) = (x(r, c) - mean) * rstd;
    }
    return affine(name, y);
  }

  Matrix affine(const std::string& name, Matrix y) const {
    const double* gain = at(name + ".weight");
    const double* bias = at(name + ".bias");
    for (i64 r = 0; r < y.rows; ++r) {
      for (i64 c = 0; c < y.cols; ++c) y(r, c) = y(r, c) * gain[c] + bias[c];
    }
    return y;
  }

  static Matrix activated(Activation activation, Matrix x) {
    for (double& v : x.values) {
      v = activation == Activation::gelu ? v * 0.5 * (1.0 + std::erf(v / std::sqrt(2.0)))
                                         : v / (1.0 + std::exp(-v));
    }
    return x;
  }

  static Matrix sum(Matrix x, const Matrix& y) {
    for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] += y.values[i];
    return x;
  }

  // q, k, v [batch tokens, heads dim] -> the same
  static Matrix attention(const Matrix& q, const Matrix& k, const Matrix& v, i64 tokens, i64 heads,
                          bool causal) {
    const i64 dim = q.cols / heads;
    Matrix out(q.rows, q.cols);
    for (i64 r = 0; r < q.rows; ++r) {
      const i64 first = r / tokens * tokens, last = causal ? r + 1 : first + tokens;
      for (i64 h = 0; h < heads; ++h) {
        std::vector<double> p;
        double total = 0;
        for (i64 s = first; s < last; ++s) {
          double score = 0;
          for (i64 d = h * dim; d < (h + 1) * dim; ++d) score += q(r, d) * k(s, d);
          p.push_back(std::exp(score / std::sqrt(static_cast<double>(dim))));
          total += p.back();
        }
        for (i64 s = first; s < last; ++s) {
          for (i64 d = h * dim; d < (h + 1) * dim; ++d) {
            out(r, d) += p[static_cast<std::size_t>(s - first)] / total * v(s, d);
          }
        }
      }
    }
    return out;
  }

  static Matrix linear_attention(const Matrix& q, const Matrix& k, const Matrix& v, i64 tokens,
                                 i64 heads) {
    const auto phi = [](double u) { return u > 0 ? u + 1.0 : std::exp(u); };
    const i64 dim = q.cols / heads;
    Matrix out(q.rows, q.cols);
    for (i64 r = 0; r < q.rows; ++r) {
      const i64 first = r / tokens * tokens;
      for (i64 h = 0; h < heads; ++h) {
        double total = 1e-6;
        std::vector<double> weights;
        for (i64 s = first; s < first + tokens; ++s) {
          double weight = 0;
          for (i64 d = h * dim; d < (h + 1) * dim; ++d) weight += phi(q(r, d)) * phi(k(s, d));
          weights.push_back(weight);
          total += weight;
        }
        for (i64 s = first; s < first + tokens; ++s) {
          for (i64 d = h * dim; d < (h + 1) * dim; ++d) {
            out(r, d) += weights[static_cast<std::size_t>(s - first)] / total * v(s, d);
          }
        }
      }
    }
    return out;
  }

  Matrix encode(View<const u8, 4> pixels) const {
    const EncoderConfig& c = config_.encoder;
    const i64 patches = c.grid() * c.grid(), tokens = c.tokens(), count = pixels.size(0);
    const i64 leading = c.leading();
    Matrix rows(count * patches, c.patch_inputs());
    for (i64 n = 0; n < count; ++n) {
      for (i64 p = 0; p < patches; ++p) {
        for (i64 i = 0; i < c.patch_inputs(); ++i) {
          const i64 channel = i / (c.patch * c.patch), y = i / c.patch % c.patch, x = i % c.patch;
          const double byte =
              pixels(n, p / c.grid() * c.patch + y, p % c.grid() * c.patch + x, channel);
          rows(n * patches + p, i) = (byte / 255.0 - kImageMean[channel]) / kImageStd[channel];
        }
      }
    }
    const Matrix embedded = linear("encoder.embeddings.patch_embeddings.projection", rows);
    const double* cls = at("encoder.embeddings.cls_token");
    const double* positions = at("encoder.embeddings.position_embeddings");
    Matrix x(count * tokens, c.hidden);
    for (i64 r = 0; r < x.rows; ++r) {
      const i64 n = r / tokens, token = r % tokens;
      for (i64 d = 0; d < c.hidden; ++d) {
        x(r, d) = positions[token * c.hidden + d] +
                  (token == 0        ? cls[d]
                   : token < leading ? at("encoder.meta_token")[(token - 1) * c.hidden + d]
                                     : embedded(n * patches + token - leading, d));
      }
    }
    for (i64 i = 0; i < c.layers; ++i) {
      const std::string name = text("encoder.encoder.layer.", i, ".");
      const Matrix u = layer_norm(name + "layernorm_before", x, c.norm_eps);
      const std::string part = name + "attention.attention.";
      const Matrix q = linear(part + "query", u), k = linear(part + "key", u),
                   v = linear(part + "value", u);
      const Matrix mixed = c.linear(i) ? linear_attention(q, k, v, tokens, c.heads)
                                       : attention(q, k, v, tokens, c.heads, false);
      x = sum(x, linear(name + "attention.output.dense", mixed));
      const Matrix w =
          linear(name + "intermediate.dense", layer_norm(name + "layernorm_after", x, c.norm_eps));
      x = sum(x, linear(name + "output.dense", activated(Activation::gelu, w)));
    }
    x = layer_norm("encoder.layernorm", x, c.norm_eps);
    Matrix result(count, c.hidden);
    for (i64 n = 0; n < count; ++n) {
      for (i64 d = 0; d < c.hidden; ++d) result(n, d) = x(n * tokens, d);
    }
    return result;
  }

  Matrix encode_vectors() const {
    const std::string name = "observation_encoder.vector_mlp.";
    Matrix x = observations;
    for (i64 i = 0; i < config_.encoder.vector.depth; ++i) {
      x = linear(text(name, "layers.", i), x);
      if (i + 1 == config_.encoder.vector.depth) break;
      x = layer_norm(text(name, "norms.", i), x, 1e-5);
      for (double& v : x.values) {
        v = 0.5 * v * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (v + 0.044715 * v * v * v)));
      }
    }
    return x;
  }

  Matrix head(const std::string& name, const HeadConfig& c, const Matrix& x) const {
    if (!c.present) return x;
    Matrix u = linear(name + ".net.0", x);
    if (c.norm == HeadConfig::Norm::batch) u = batch_norm(name + ".net.1", u);
    if (c.norm == HeadConfig::Norm::layer) u = layer_norm(name + ".net.1", u, 1e-5);
    return linear(name + ".net.3", activated(c.activation, u));
  }

  Matrix action_encoder(const Matrix& action) const {
    const Matrix wide =
        linear("action_encoder.embed.0", linear("action_encoder.patch_embed", action));
    return linear("action_encoder.embed.2", activated(Activation::silu, wide));
  }

  // part of the columns
  static Matrix columns(const Matrix& x, i64 begin, i64 count) {
    Matrix y(x.rows, count);
    for (i64 r = 0; r < x.rows; ++r) {
      for (i64 c = 0; c < count; ++c) y(r, c) = x(r, begin + c);
    }
    return y;
  }

  // x (1 + scale) + shift, and x + gate branch; parts of a modulation row numbered from 0
  static Matrix modulated(Matrix x, const Matrix& m, i64 shift, i64 scale) {
    for (i64 r = 0; r < x.rows; ++r) {
      for (i64 c = 0; c < x.cols; ++c) {
        x(r, c) = x(r, c) * (1.0 + m(r, scale * x.cols + c)) + m(r, shift * x.cols + c);
      }
    }
    return x;
  }
  static Matrix gated(Matrix x, const Matrix& m, i64 gate, const Matrix& branch) {
    for (i64 r = 0; r < x.rows; ++r) {
      for (i64 c = 0; c < x.cols; ++c) x(r, c) += m(r, gate * x.cols + c) * branch(r, c);
    }
    return x;
  }

  Matrix predict(Matrix x, Matrix condition, i64 windows, i64 frames) const {
    const PredictorConfig& c = config_.predictor;
    const std::string root = "predictor.transformer.";
    const double* positions = at("predictor.pos_embedding");
    for (i64 r = 0; r < windows * frames; ++r) {
      for (i64 d = 0; d < x.cols; ++d) x(r, d) += positions[r % frames * x.cols + d];
    }
    if (has(root + "input_proj.weight")) x = linear(root + "input_proj", x);
    if (has(root + "cond_proj.weight")) condition = linear(root + "cond_proj", condition);
    condition = activated(Activation::silu, condition);
    for (i64 i = 0; i < c.depth; ++i) {
      const std::string name = text(root, "layers.", i, ".");
      const Matrix m = linear(name + "adaLN_modulation.1", condition);
      const Matrix u =
          layer_norm(name + "attn.norm", modulated(layer_norm("", x, 1e-6), m, 0, 1), 1e-5);
      const Matrix qkv = linear(name + "attn.to_qkv", u);
      Matrix branch = attention(columns(qkv, 0, c.inner()), columns(qkv, c.inner(), c.inner()),
                                columns(qkv, 2 * c.inner(), c.inner()), frames, c.heads, true);
      if (has(name + "attn.to_out.0.weight")) branch = linear(name + "attn.to_out.0", branch);
      x = gated(x, m, 2, branch);
      const Matrix w =
          layer_norm(name + "mlp.net.0", modulated(layer_norm("", x, 1e-6), m, 3, 4), 1e-5);
      x = gated(
          x, m, 5,
          linear(name + "mlp.net.4", activated(Activation::gelu, linear(name + "mlp.net.1", w))));
    }
    x = layer_norm(root + "norm", x, 1e-5);
    return has(root + "output_proj.weight") ? linear(root + "output_proj", x) : x;
  }

  Config config_;
  std::map<std::string, TensorSpec> specs_;
};

}  // namespace orrery::lewm::reference
