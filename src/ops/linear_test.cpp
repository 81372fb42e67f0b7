#include <gtest/gtest.h>

#include "ops/gemm.h"
#include "ops/gemm_ref.h"
#include "ops/gemm_tiles.h"
#include "base/text.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

template <typename T>
View<const T, 2> rows_of(const std::vector<T>& values, i64 width, i64 stride = 0) {
  stride = stride == 0 ? width : stride;
  return View<const T, 2>(values.data(), {static_cast<i64>(values.size()) / stride, width},
                          {stride, 1});
}

struct Size {
  i64 rows, outputs, inputs;
};

// everything an epilogue may have; bits of `parts` choose
enum Part { kBias = 1, kGate = 2, kResidual = 4 };

struct Options {
  Precision precision = Precision::f32;
  int parts = 0;
  Activation activation = Activation::none;
  bool in_place = false;    // y is the residual
  i64 gap = 0;              // floats between the rows of x, gate, residual and y
  i64 offset = 0;           // values before the first one
  bool short_sums = false;  // fp8 by warpgroups: see gemm.h
};

// A product with its operands on the host and where the context works.
template <typename In, typename Out>
class Case {
 public:
  Case(Context& ctx, const Size& size, const Options& options)
      : ctx_(ctx),
        size_(size),
        options_(options),
        x_(operand<In>(size.rows, size.inputs, 1)),
        weight_(random_values(size.outputs * size.inputs, 2)),
        bias_(random_values(size.outputs, 3)),
        gate_(operand<float>(size.rows, size.outputs, 4)),
        residual_(operand<float>(size.rows, size.outputs, 5)),
        device_x_(ctx, x_),
        device_bias_(ctx, bias_),
        device_gate_(ctx, gate_),
        device_residual_(ctx, residual_),
        packed_(ctx, rows_of(weight_, size.inputs), options.precision) {}

  // the product's rows with what lies between them
  std::vector<Out> run() {
    Buffer<Out> y(ctx_, static_cast<i64>(residual_.size()));
    if constexpr (std::is_same_v<Out, float>) {
      if (options_.in_place) {
        Buffer<float> both(ctx_, residual_);
        linear(ctx_, seen<const In>(device_x_, size_.inputs), packed_,
               epilogue(device_bias_, device_gate_, both), seen<float>(both, size_.outputs));
        return both.values();
      }
    }
    linear(ctx_, seen<const In>(device_x_, size_.inputs), packed_,
           epilogue(device_bias_, device_gate_, device_residual_), seen<Out>(y, size_.outputs));
    return y.values();
  }

  // the largest error as a multiple of what the contract allows
  double error(const std::vector<Out>& y) {
    std::vector<float> flat;
    for (i64 r = 0; r < size_.rows; ++r) {
      for (i64 k = 0; k < size_.inputs; ++k) {
        flat.push_back(static_cast<float>(
            x_[static_cast<std::size_t>(options_.offset + r * (size_.inputs + options_.gap) + k)]));
      }
    }
    const auto x = rounded_to(options_.precision, rows_of(flat, size_.inputs));
    const auto w = rounded_to(options_.precision, rows_of(weight_, size_.inputs));
    Host bias{bias_}, gate{gate_}, residual{residual_};
    const Epilogue host = epilogue(bias, gate, residual);
    const double inputs = static_cast<double>(size_.inputs);
    const double sum_error = (options_.precision == Precision::f32 ? 2 * std::sqrt(inputs) * 0x1p-24
                                                                   : inputs * 0x1p-23) +
                             (options_.short_sums ? 0x1p-11 : 0.0);
    double worst = 0;
    for (i64 r = 0; r < size_.rows; ++r) {
      for (i64 o = 0; o < size_.outputs; ++o) {
        const LinearValue exact =
            linear_value(rows_of(x, size_.inputs), rows_of(w, size_.inputs), host, r, o);
        const double got = static_cast<double>(static_cast<float>(
            y[static_cast<std::size_t>(options_.offset + r * (size_.outputs + options_.gap) + o)]));
        // slopes of activations reach 1.13; bias, gate and residual and the result's own rounding
        // add a few units in the last place of numbers of the size of the products
        const double allowed = (1.13 * sum_error + 16 * 0x1p-24) * (exact.products + 4) +
                               (sizeof(Out) == 2 ? 0x1p-8 * std::abs(exact.value) : 0.0);
        const double error = std::abs(got - exact.value) / allowed;
        if (!(error <= worst)) worst = error;
      }
    }
    return worst;
  }

 private:
  struct Host {
    const std::vector<float>& values;
    const float* data() { return values.data(); }
  };

  template <typename T>
  std::vector<T> operand(i64 rows, i64 width, u64 seed) const {
    const auto values = random_values(options_.offset + rows * (width + options_.gap), seed);
    return std::vector<T>(converted<T>(values));
  }
  template <typename T, typename Memory>
  View<T, 2> seen(Memory& memory, i64 width) const {
    return View<T, 2>(memory.data() + options_.offset, {size_.rows, width},
                      {width + options_.gap, 1});
  }
  template <typename Bias, typename Other, typename Residual>
  Epilogue epilogue(Bias& bias, Other& gate, Residual& residual) const {
    Epilogue result{.activation = options_.activation};
    if (options_.parts & kBias) result.bias = View<const float, 1>(bias.data(), {size_.outputs});
    if (options_.parts & kGate) result.gate = seen<const float>(gate, size_.outputs);
    if (options_.parts & kResidual) result.residual = seen<const float>(residual, size_.outputs);
    return result;
  }

  Context& ctx_;
  Size size_;
  Options options_;
  std::vector<In> x_;
  std::vector<float> weight_, bias_, gate_, residual_;
  Buffer<In> device_x_;
  Buffer<float> device_bias_, device_gate_, device_residual_;
  PackedMatrix packed_;
};

std::string described(const Size& size, const Options& options) {
  return text(size.rows, " x ", size.inputs, " -> ", size.outputs, " ", name_of(options.precision),
              " parts ", options.parts, " activation ", static_cast<int>(options.activation),
              " gap ", options.gap, " offset ", options.offset);
}

template <typename In = float, typename Out = float>
void expect_close(Context& ctx, const Size& size, const Options& options) {
  Case<In, Out> product(ctx, size, options);
  const auto y = product.run();
  EXPECT_LE(product.error(y), 1.0) << described(size, options) << " " << last_product();
  EXPECT_TRUE(same_bits(product.run(), y)) << described(size, options) << " is not steady";
}

// around tile edges of the CPU (6, 14 rows; 8, 16, 32 columns) and of the smallest CUDA tiles (16
// rows, 32 columns, 32 inputs)
const Size kSizes[] = {{1, 1, 1},    {1, 192, 6},  {2, 33, 5},    {7, 48, 10},
                       {14, 32, 32}, {16, 5, 192}, {17, 200, 30}, {33, 31, 65}};

TEST_ON_EVERY_BACKEND(Linear, EqualsReference) {
  for (const Size& size : kSizes) expect_close(ctx, size, {.parts = kBias});
}

TEST_ON_EVERY_BACKEND(Linear, TakesEveryEpilogue) {
  for (int parts = 0; parts < 8; ++parts) {
    for (const auto activation : {Activation::none, Activation::gelu, Activation::silu}) {
      expect_close(ctx, {17, 36, 20}, {.parts = parts, .activation = activation});
    }
  }
}

TEST_ON_EVERY_BACKEND(Linear, AddsToTheResidualInPlace) {
  expect_close(ctx, {31, 50, 70}, {.parts = kResidual, .in_place = true});
  expect_close(ctx, {31, 48, 72}, {.parts = 7, .in_place = true, .gap = 4});
}

TEST_ON_EVERY_BACKEND(Linear, TakesRowsThatLieAnywhere) {
  for (const i64 gap : {0, 1, 4}) {
    for (const i64 offset : {0, 3, 4}) {
      expect_close(ctx, {18, 40, 36}, {.parts = 7, .gap = gap, .offset = offset});
    }
  }
}

TEST_ON_EVERY_BACKEND(Linear, DoesNothingWithoutRows) {
  Buffer<float> x(ctx, std::vector<float>{1.0f}), y(ctx, std::vector<float>{7.0f});
  const std::vector<float> weight = {2.0f};
  const PackedMatrix packed(ctx, rows_of(weight, 1));
  linear(ctx, x.view<2>({0, 1}), packed, {}, y.view<2>({0, 1}));
  EXPECT_EQ(y.values(), std::vector<float>{7.0f});
}

constexpr Precision kReduced[] = {Precision::tf32, Precision::bf16, Precision::int8,
                                  Precision::fp8};

TEST(CudaLinear, TakesEveryPrecisionAndEpilogue) {
  ORRERY_NEEDS_CUDA;
  Context ctx(on_cuda());
  for (const Precision precision : kReduced) {
    for (int parts = 0; parts < 8; ++parts) {
      for (const auto activation : {Activation::none, Activation::gelu, Activation::silu}) {
        const Options options = {precision, parts, activation};
        expect_close(ctx, {17, 36, 20}, options);
      }
    }
  }
}

TEST(CudaLinear, TakesAndGivesRowsOfBothKinds) {
  ORRERY_NEEDS_CUDA;
  Context ctx(on_cuda());
  for (const Precision precision :
       {Precision::f32, Precision::tf32, Precision::bf16, Precision::int8, Precision::fp8}) {
    for (const Size& size : {Size{7, 40, 48}, Size{17, 33, 30}}) {
      for (const i64 offset : {0, 1}) {
        const Options options = {.precision = precision, .parts = 7, .offset = offset};
        expect_close<bf16, float>(ctx, size, options);
        expect_close<float, bf16>(ctx, size, options);
        expect_close<bf16, bf16>(ctx, size, options);
      }
    }
  }
}

TEST(CudaLinear, TakesRowsTooLongToBeKept) {
  ORRERY_NEEDS_CUDA;
  Context ctx(on_cuda());
  for (const Precision precision : kReduced) {
    expect_close(ctx, {3, 17, 1100}, {.precision = precision, .parts = kBias});
  }
}

// every kernel by name, at the sizes around its tile's edges
void expect_tile(Context& ctx, const ProductTile& tile, Precision precision) {
  const std::string name = text(tile.name, "_", name_of(precision));
  for (const int rows : {tile.rows - 1, tile.rows, tile.rows + 1}) {
    // three whole chunks; two tiles of columns, one chunk and a piece of the next
    const i64 chunk = kChunkBytes / value_bytes(precision);
    const bool wide = rows == tile.rows + 1;
    const Size size = {rows, wide ? tile.cols + 5 : tile.cols, wide ? chunk + 6 : 3 * chunk};
    const bool short_sums = tile.warpgroups && precision == Precision::fp8;
    const Options options = {.precision = precision, .parts = 7, .short_sums = short_sums};
    use_product_tile(tile.name);
    expect_close<float, float>(ctx, size, options);
    EXPECT_EQ(last_product(), name);
    // rows that the block prepares: products of f32 and tf32 take floats as they are
    if (precision != Precision::f32 && precision != Precision::tf32 && !tile.bulk) {
      use_product_tile(text(tile.name, "_kept"));
      expect_close<float, float>(ctx, size, options);
      EXPECT_EQ(last_product(), name + "_kept");
    }
    use_product_tile("");
  }
}

TEST(CudaLinear, EveryTileEqualsReference) {
  ORRERY_NEEDS_CUDA;
  Context ctx(on_cuda());
  for (const ProductTile& tile : kProductTiles) {
    SCOPED_TRACE(tile.name);
    if (tile.warpgroups && cuda_facts().front().major != 9) continue;
    if (has_tile(tile, Precision::f32)) expect_tile(ctx, tile, Precision::f32);
    for (const Precision precision : kReduced) {
      if (has_tile(tile, precision)) expect_tile(ctx, tile, precision);
    }
  }
}

// Blocks of bulk copies walk down the rows: several stripes for each, the last one broken, with a
// weight that stays in shared memory and one that has too many chunks for that.
TEST(CudaLinear, BlocksWalkDownTheRows) {
  ORRERY_NEEDS_CUDA;
  if (cuda_facts().front().major != 9) GTEST_SKIP() << "needs compute capability 9.0";
  Context ctx(on_cuda());
  for (const ProductTile& tile : kProductTiles) {
    if (!tile.bulk) continue;
    const i64 rows = tile.rows * (2 * cuda_facts().front().multiprocessors + 1) + 3;
    for (const Precision precision : {Precision::bf16, Precision::int8, Precision::fp8}) {
      const i64 chunk = kChunkBytes / value_bytes(precision);
      const Options options = {
          .precision = precision, .parts = 7, .short_sums = precision == Precision::fp8};
      std::vector<Size> sizes = {{rows, 8, tile.stages * chunk + 8}};
      if (precision == Precision::bf16) {
        sizes.insert(
            sizes.end(),
            {{rows, 8, chunk - 8}, {rows, 8, 3 * chunk}, {rows / 2, tile.cols + 4, 2 * chunk}});
      }
      use_product_tile(tile.name);
      for (const Size& size : sizes) {
        expect_close<float, bf16>(ctx, size, options);
        EXPECT_EQ(last_product(), text(tile.name, "_", name_of(precision)));
      }
      use_product_tile("");
    }
  }
}

// captured work keeps the tensor maps with the launch, while x changes under them
TEST(CudaLinear, BulkCopiesAreCaptured) {
  ORRERY_NEEDS_CUDA;
  if (cuda_facts().front().major != 9) GTEST_SKIP() << "needs compute capability 9.0";
  Context ctx(on_cuda());
  const i64 rows = 140, outputs = 24, inputs = 96;
  const PackedMatrix weight(ctx, rows_of(random_values(outputs * inputs, 1), inputs),
                            Precision::bf16);
  Buffer<bf16> x(ctx, converted<bf16>(random_values(rows * inputs, 2)));
  Buffer<float> y(ctx, rows * outputs);
  const auto multiply = [&] {
    linear(ctx, View<const bf16, 2>(x.rows(inputs)), weight, {}, y.rows(outputs));
  };
  use_product_tile("wgmma_tma_128x192");
  const Graph graph = ctx.capture(multiply);
  EXPECT_EQ(last_product(), "wgmma_tma_128x192_bf16");
  for (const u64 seed : {3, 4}) {
    const auto values = converted<bf16>(random_values(rows * inputs, seed));
    ctx.upload(x.data(), values.data(), values.size() * sizeof(bf16));
    multiply();
    const auto wanted = y.values();
    const std::vector<float> nothing(wanted.size());
    ctx.upload(y.data(), nothing.data(), nothing.size() * sizeof(float));
    ctx.replay(graph);
    EXPECT_TRUE(same_bits(y.values(), wanted));
  }
  use_product_tile("");
}

// rows that the bulk copy engine cannot read go another way and give the same
TEST(CudaLinear, RowsAtOddAddressesTakeAnotherTile) {
  ORRERY_NEEDS_CUDA;
  Context ctx(on_cuda());
  use_product_tile("wgmma_tma_128x192");
  const Options odd = {.precision = Precision::bf16, .parts = 7, .gap = 3, .offset = 1};
  expect_close<bf16, float>(ctx, {130, 20, 72}, odd);
  EXPECT_NE(last_product(), "wgmma_tma_128x192_bf16");
  use_product_tile("");
}

TEST(CudaLinear, RefusesAKernelThatIsNotThere) {
  ORRERY_NEEDS_CUDA;
  Context ctx(on_cuda());
  use_product_tile("mma_1x1");
  EXPECT_THROW(expect_close(ctx, {1, 1, 1}, {}), Error);
  use_product_tile("");
}

TEST(Linear, NamesWhatACpuDoesNotKnow) {
  Context ctx({.threads = 1});
  const std::vector<float> weight(6);
  try {
    const PackedMatrix packed(ctx, rows_of(weight, 3), Precision::bf16);
    FAIL() << "bf16 was packed";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "matrix to pack: bf16 was asked for, a CPU knows f32");
  }
  const PackedMatrix packed(ctx, rows_of(weight, 3));
  std::vector<bf16> y(2);
  EXPECT_THROW(
      linear(ctx, rows_of(weight, 3).slice(0, 0, 1), packed, {}, View<bf16, 2>(y.data(), {1, 2})),
      Error);
}

}  // namespace
}  // namespace orrery
