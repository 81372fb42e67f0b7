#include "ops/norm_linear.h"

#include "base/text.h"
#include "ops/gemm_ref.h"
#include "ops/gemm_tiles.h"
#include "ops/layer_norm.h"
#include "ops/modulate.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

struct Size {
  i64 rows, outputs, inputs;
};

struct Operands {
  explicit Operands(const Size& size)
      : x(random_values(size.rows * size.inputs, 1, 2.0f, 0.5f)),
        gain(random_values(size.inputs, 2, 0.3f, 1.0f)),
        bias(random_values(size.inputs, 3, 0.3f)),
        // shift, scale and something else in one row, as modulations lie
        modulation(random_values(size.rows * 3 * size.inputs, 4, 0.3f)),
        weight(random_values(size.outputs * size.inputs, 5)),
        linear_bias(random_values(size.outputs, 6)),
        residual(random_values(size.rows * size.outputs, 7)) {}
  std::vector<float> x, gain, bias, modulation, weight, linear_bias, residual;
};

constexpr float kEps = 1e-5f, kBareEps = 1e-6f;

template <typename Out>
std::vector<Out> computed(Context& ctx, const Size& size, Operands& o, Precision precision,
                          bool modulated) {
  Buffer<float> x(ctx, o.x), gain(ctx, o.gain), bias(ctx, o.bias), modulation(ctx, o.modulation),
      linear_bias(ctx, o.linear_bias), residual(ctx, o.residual),
      normed(ctx, size.rows * size.inputs);
  Buffer<Out> y(ctx, size.rows * size.outputs);
  const PackedMatrix weight(ctx, View<const float, 2>(o.weight.data(), {size.outputs, size.inputs}),
                            precision);
  RowNorm norm{.gain = gain.flat(), .bias = bias.flat(), .eps = kEps};
  if (modulated) {
    const auto part = [&](i64 index) {
      return View<const float, 2>(modulation.data() + index * size.inputs, {size.rows, size.inputs},
                                  {3 * size.inputs, 1});
    };
    norm.shift = part(0);
    norm.scale = part(2);
    norm.bare_eps = kBareEps;
  }
  norm_linear(ctx, x.rows(size.inputs), norm, weight,
              {.bias = linear_bias.flat(),
               .activation = Activation::gelu,
               .residual = residual.rows(size.outputs)},
              normed.rows(size.inputs), y.rows(size.outputs));
  return y.values();
}

void normalise(std::vector<double>& row, double eps) {
  double mean = 0, squares = 0;
  const double count = static_cast<double>(row.size());
  for (const double v : row) mean += v / count;
  for (const double v : row) squares += (v - mean) * (v - mean) / count;
  for (double& v : row) v = (v - mean) / std::sqrt(squares + eps);
}

// the norm in double
std::vector<double> normed_ref(const Size& size, const Operands& o, bool modulated) {
  std::vector<double> result;
  const auto at = [](const std::vector<float>& values, i64 index) {
    return static_cast<double>(values[static_cast<std::size_t>(index)]);
  };
  for (i64 r = 0; r < size.rows; ++r) {
    std::vector<double> row;
    for (i64 k = 0; k < size.inputs; ++k) row.push_back(at(o.x, r * size.inputs + k));
    if (modulated) {
      normalise(row, kBareEps);
      for (i64 k = 0; k < size.inputs; ++k) {
        const i64 place = r * 3 * size.inputs + k;
        double& v = row[static_cast<std::size_t>(k)];
        v = v * (1 + at(o.modulation, place + 2 * size.inputs)) + at(o.modulation, place);
      }
    }
    normalise(row, kEps);
    for (i64 k = 0; k < size.inputs; ++k) {
      result.push_back(row[static_cast<std::size_t>(k)] * at(o.gain, k) + at(o.bias, k));
    }
  }
  return result;
}

// What rounding a factor to the format can change it by, relative to its size; to the largest of
// its row for int8.
double step(Precision precision) {
  switch (precision) {
    case Precision::f32:
      return 0x1p-24;
    case Precision::tf32:
      return 0x1p-11;
    case Precision::bf16:
      return 0x1p-9;
    case Precision::int8:
      return 0.5 / 127;
    case Precision::fp8:
      return 0x1p-4;
  }
  return 0;
}

template <typename Out>
void expect_close(Context& ctx, const Size& size, Precision precision, bool modulated) {
  SCOPED_TRACE(text(size.rows, " x ", size.inputs, " -> ", size.outputs, " ", name_of(precision),
                    modulated ? " modulated" : ""));
  Operands o(size);
  const auto y = computed<Out>(ctx, size, o, precision, modulated);
  const auto normed = normed_ref(size, o, modulated);
  const auto weight =
      rounded_to(precision, View<const float, 2>(o.weight.data(), {size.outputs, size.inputs}));
  const View<const double, 2> n(normed.data(), {size.rows, size.inputs}),
      w(weight.data(), {size.outputs, size.inputs});
  const Epilogue epilogue{
      .bias = view1(o.linear_bias),
      .activation = Activation::gelu,
      .residual = View<const float, 2>(o.residual.data(), {size.rows, size.outputs})};
  double worst = 0;
  for (i64 r = 0; r < size.rows; ++r) {
    double largest = 0;
    for (i64 k = 0; k < size.inputs; ++k) largest = std::max(largest, std::abs(n(r, k)));
    for (i64 c = 0; c < size.outputs; ++c) {
      // each product is off by a step of its factor at most, and their sum by a random walk, of
      // which seven deviations are allowed (a step is 1.7 of them, so four steps); the norm itself
      // is within 1e-5 of a value's size
      double squares = 0;
      for (i64 k = 0; k < size.inputs; ++k) {
        const double factor = precision == Precision::int8 ? largest : std::abs(n(r, k));
        squares += factor * factor * w(c, k) * w(c, k);
      }
      const LinearValue exact = linear_value(n, w, epilogue, r, c);
      const double allowed =
          1.13 * 4 * step(precision) * std::sqrt(squares) +
          1e-5 * (exact.products + 1) / std::sqrt(static_cast<double>(size.inputs)) +
          (sizeof(Out) == 2 ? 0x1p-8 * std::abs(exact.value) : 0.0) + 1e-6;
      const double got = static_cast<double>(
          static_cast<float>(y[static_cast<std::size_t>(r * size.outputs + c)]));
      const double error = std::abs(got - exact.value) / allowed;
      if (!(error <= worst)) worst = error;
    }
  }
  EXPECT_LE(worst, 1.0);
  EXPECT_TRUE(same_bits(computed<Out>(ctx, size, o, precision, modulated), y)) << "not steady";
}

// one warp's row, several values a lane, odd sizes, rows of a full and of a broken tile, and
// the longest that is kept
const Size kSizes[] = {{1, 5, 6}, {17, 40, 192}, {33, 33, 49}, {5, 17, 256}};

TEST_ON_EVERY_BACKEND(NormLinear, EqualsReference) {
  for (const bool modulated : {false, true}) {
    for (const Size& size : kSizes) expect_close<float>(ctx, size, Precision::f32, modulated);
  }
}

// longer than what CUDA kernels keep
TEST_ON_EVERY_BACKEND(NormLinear, TakesLongRows) {
  for (const i64 inputs : {512, 513}) {
    expect_close<float>(ctx, {3, 5, inputs}, Precision::f32, true);
  }
}

TEST(NormLinear, IsTheSameAsItsPartsOnTheCpu) {
  Context ctx({.threads = 2});
  const Size size = {19, 24, 40};
  Operands o(size);
  const auto fused = computed<float>(ctx, size, o, Precision::f32, true);
  std::vector<float> normed(o.x.size()), y(o.residual.size());
  const View<float, 2> rows(normed.data(), {size.rows, size.inputs});
  const auto tokens = [&](auto* data, i64 stride) {
    return View<std::remove_reference_t<decltype(*data)>, 3>(data, {1, size.rows, size.inputs},
                                                             {0, stride, 1});
  };
  layer_norm(ctx, View<const float, 2>(o.x.data(), {size.rows, size.inputs}), {}, {}, kBareEps,
             rows);
  const float* modulation = o.modulation.data();
  const float* before = normed.data();
  modulate(ctx, tokens(before, size.inputs), tokens(modulation, 3 * size.inputs),
           tokens(modulation + 2 * size.inputs, 3 * size.inputs),
           tokens(normed.data(), size.inputs));
  layer_norm(ctx, rows, view1(o.gain), view1(o.bias), kEps, rows);
  const PackedMatrix weight(ctx,
                            View<const float, 2>(o.weight.data(), {size.outputs, size.inputs}));
  linear(ctx, rows, weight,
         {.bias = view1(o.linear_bias),
          .activation = Activation::gelu,
          .residual = View<const float, 2>(o.residual.data(), {size.rows, size.outputs})},
         View<float, 2>(y.data(), {size.rows, size.outputs}));
  EXPECT_TRUE(same_bits(fused, y));
}

TEST(CudaNormLinear, TakesEveryPrecision) {
  ORRERY_NEEDS_CUDA;
  Context ctx(on_cuda());
  for (const Precision precision :
       {Precision::tf32, Precision::bf16, Precision::int8, Precision::fp8}) {
    for (const bool modulated : {false, true}) {
      for (const Size& size : kSizes) {
        for (const char* tile : {"mma_16x32", "mma_16x32_kept"}) {
          use_product_tile(tile);
          expect_close<float>(ctx, size, precision, modulated);
          use_product_tile("");
        }
        expect_close<bf16>(ctx, size, precision, modulated);
      }
    }
  }
}

// several tiles of columns from one block's rows
TEST(CudaNormLinear, EveryTileKeepsItsRows) {
  ORRERY_NEEDS_CUDA;
  Context ctx(on_cuda());
  for (const ProductTile& tile : kProductTiles) {
    SCOPED_TRACE(tile.name);
    if (tile.bulk || (tile.warpgroups && cuda_facts().front().major != 9)) continue;
    use_product_tile(text(tile.name, "_kept"));
    const Precision precision = tile.tensor_cores ? Precision::bf16 : Precision::f32;
    expect_close<float>(ctx, {tile.rows + 1, 2 * tile.cols + 4, 192}, precision, true);
    EXPECT_EQ(last_product(), text(tile.name, "_", name_of(precision), "_kept"));
    use_product_tile("");
  }
}

TEST(NormLinear, RefusesWhatDoesNotFit) {
  Context ctx({.threads = 1});
  const Size size = {2, 3, 4};
  Operands o(size);
  const PackedMatrix weight(ctx, View<const float, 2>(o.weight.data(), {3, 4}));
  const View<const float, 2> x(o.x.data(), {2, 4});
  std::vector<float> normed(8), y(6);
  const View<float, 2> scratch(normed.data(), {2, 4}), to(y.data(), {2, 3});
  RowNorm norm{.gain = view1(o.gain), .bias = view1(o.bias)};
  norm.shift = x;
  EXPECT_THROW(norm_linear(ctx, x, norm, weight, {}, scratch, to), Error);
  norm.shift = {};
  norm.gain = view1(o.linear_bias);
  EXPECT_THROW(norm_linear(ctx, x, norm, weight, {}, scratch, to), Error);
}

}  // namespace
}  // namespace orrery
