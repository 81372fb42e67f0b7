#include <algorithm>
#include <cstring>

#include "ops/cpu_path.h"
#include "ops/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/gemm_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace orrery::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// One tile of c stays in registers: kTileRows rows by two vectors.
// 14 x 2 accumulators + 2 loads of b + 1 broadcast of a = 31 of AVX-512's 32 registers; 6 x 2 + 3 =
// 15 of 16 elsewhere
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
constexpr int kTileRows = 14;
#else
constexpr int kTileRows = 6;
#endif

HWY_INLINE i64 tile_cols() { return static_cast<i64>(2 * hn::Lanes(D())); }

// inputs are summed in blocks of this many when c can hold partial sums: 32 columns x 512 x 4 bytes
// = 64 KiB of b per panel
constexpr i64 kBlockInputs = 512;
// row tiles per task: 4 x 14 rows x 768 inputs x 4 bytes = 172 KiB of a in L2 beside one panel of b
constexpr i64 kTaskTiles = 4;

i64 TileCols() { return tile_cols(); }

// b [k, n] -> panels of tile_cols columns, zero beyond n: panel[k * cols + j]
void PackColumns(View<const float, 2> b, i64 panel, float* HWY_RESTRICT out) {
  const D d;
  const i64 cols = tile_cols();
  const i64 first = panel * cols;
  const i64 count = std::min(cols, b.size(1) - first);
  const i64 inputs = b.size(0);
  const float* from = b.data() + first * b.stride(1);
  if (count < cols) std::memset(out, 0, static_cast<std::size_t>(inputs * cols) * sizeof(float));
  if (b.stride(1) == 1 && count == cols) {
    const i64 lanes = static_cast<i64>(hn::Lanes(d));
    for (i64 k = 0; k < inputs; ++k) {
      const float* row = from + k * b.stride(0);
      hn::StoreU(hn::LoadU(d, row), d, out + k * cols);
      hn::StoreU(hn::LoadU(d, row + lanes), d, out + k * cols + lanes);
    }
    return;
  }
  // columns of b contiguous (a transposed weight): four columns at a time so that each written line
  // is used at once
  for (i64 j = 0; j < count; j += 4) {
    const i64 width = std::min<i64>(4, count - j);
    for (i64 k = 0; k < inputs; ++k) {
      for (i64 c = 0; c < width; ++c)
        out[k * cols + j + c] = from[k * b.stride(0) + (j + c) * b.stride(1)];
    }
  }
}

// rows [first, first + count) of a [m, k] -> one row tile: tile[k * kTileRows + i], zero beyond
// count
void PackRows(View<const float, 2> a, i64 first, i64 count, float* HWY_RESTRICT out) {
  const i64 inputs = a.size(1);
  const i64 step = a.stride(1);
  const float* from = a.data() + first * a.stride(0);
  if (count < kTileRows) {
    for (i64 k = 0; k < inputs; ++k) {
      for (i64 i = 0; i < kTileRows; ++i) {
        out[k * kTileRows + i] = i < count ? from[i * a.stride(0) + k * step] : 0.0f;
      }
    }
    return;
  }
  if (a.stride(0) == 1) {  // rows beside each other: a transposed matrix
    for (i64 k = 0; k < inputs; ++k) {
      std::memcpy(out + k * kTileRows, from + k * step, kTileRows * sizeof(float));
    }
    return;
  }
  i64 k = 0;
#if HWY_TARGET != HWY_SCALAR
  if (step == 1) {
    // 4 x 4 transposes; the last block of rows overlaps the one before it, 14 and 6 being no
    // multiples of four
    const hn::FixedTag<float, 4> d4;
    const hn::FixedTag<double, 2> d2;
    for (; k + 4 <= inputs; k += 4) {
      for (i64 block = 0; block < kTileRows; block += 4) {
        const i64 i = std::min<i64>(block, kTileRows - 4);
        const float* row = from + i * a.stride(0) + k;
        const auto r0 = hn::LoadU(d4, row);
        const auto r1 = hn::LoadU(d4, row + a.stride(0));
        const auto r2 = hn::LoadU(d4, row + 2 * a.stride(0));
        const auto r3 = hn::LoadU(d4, row + 3 * a.stride(0));
        const auto low01 = hn::BitCast(d2, hn::InterleaveLower(d4, r0, r1));
        const auto low23 = hn::BitCast(d2, hn::InterleaveLower(d4, r2, r3));
        const auto high01 = hn::BitCast(d2, hn::InterleaveUpper(d4, r0, r1));
        const auto high23 = hn::BitCast(d2, hn::InterleaveUpper(d4, r2, r3));
        float* to = out + k * kTileRows + i;
        hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, low01, low23)), d4, to);
        hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, low01, low23)), d4, to + kTileRows);
        hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, high01, high23)), d4,
                   to + 2 * kTileRows);
        hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, high01, high23)), d4,
                   to + 3 * kTileRows);
      }
    }
  }
#endif
  for (; k < inputs; ++k) {
    for (i64 i = 0; i < kTileRows; ++i) out[k * kTileRows + i] = from[i * a.stride(0) + k * step];
  }
}

// Longer sums are taken in parts of this many inputs, which are then added: the rounding error of a
// sum grows with its length. 128 costs one pass over the tile (28 loads, adds and stores) per 128 x
// 28 multiplications
constexpr i64 kPartInputs = 128;

// tile[i * cols + j] = sum_k a[k * kTileRows + i] * b[k * cols + j] for i < Rows
template <int Rows>
HWY_INLINE void MultiplyTile(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, i64 inputs,
                             float* HWY_RESTRICT tile) {
  const D d;
  const i64 lanes = static_cast<i64>(hn::Lanes(d));
  for (i64 begin = 0; begin == 0 || begin < inputs; begin += kPartInputs) {
    V sum[Rows][2];
    for (int i = 0; i < Rows; ++i) sum[i][0] = sum[i][1] = hn::Zero(d);
    const i64 end = std::min(inputs, begin + kPartInputs);
    for (i64 k = begin; k < end; ++k) {
      const V b0 = hn::Load(d, b);
      const V b1 = hn::Load(d, b + lanes);
      HWY_UNROLL(16)  // all of them: no kernel has more rows
      for (int i = 0; i < Rows; ++i) {
        const V value = hn::Set(d, a[i]);
        sum[i][0] = hn::MulAdd(value, b0, sum[i][0]);
        sum[i][1] = hn::MulAdd(value, b1, sum[i][1]);
      }
      a += kTileRows;
      b += 2 * lanes;
    }
    for (int i = 0; i < Rows; ++i) {
      for (i64 v = 0; v < 2; ++v) {
        float* to = tile + (2 * i + v) * lanes;
        const V part = sum[i][v];
        hn::Store(begin == 0 ? part : hn::Add(hn::Load(d, to), part), d, to);
      }
    }
  }
}

// the smallest kernel that holds the rows: a one-row product does not pay for fourteen
HWY_INLINE void MultiplyRows(i64 rows, const float* a, const float* b, i64 inputs, float* tile) {
  if (rows == 1) return MultiplyTile<1>(a, b, inputs, tile);
  if (rows <= 3) return MultiplyTile<3>(a, b, inputs, tile);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  if (rows <= 6) return MultiplyTile<6>(a, b, inputs, tile);
  if (rows <= 10) return MultiplyTile<10>(a, b, inputs, tile);
#endif
  MultiplyTile<kTileRows>(a, b, inputs, tile);
}

// One row of a tile through the epilogue. `from` holds a whole tile row, so vectors may be read
// past count; memory of the caller may not.
HWY_INLINE void FinishRow(const float* HWY_RESTRICT from, i64 count, const float* bias,
                          Activation activation, const float* gate, const float* residual,
                          float* to) {
  const D d;
  const i64 lanes = static_cast<i64>(hn::Lanes(d));
  for (i64 j = 0; j < count; j += lanes) {
    const std::size_t n = static_cast<std::size_t>(std::min(lanes, count - j));
    const bool whole = n == static_cast<std::size_t>(lanes);
    const auto mask = hn::FirstN(d, n);
    const auto load = [&](const float* p) {
      return whole ? hn::LoadU(d, p + j) : hn::MaskedLoad(mask, d, p + j);
    };
    V value = hn::Load(d, from + j);
    if (bias != nullptr) value = hn::Add(value, load(bias));
    if (activation == Activation::gelu) value = Gelu(d, value);
    if (activation == Activation::silu) value = Silu(d, value);
    if (gate != nullptr) value = hn::Mul(value, load(gate));
    if (residual != nullptr) value = hn::Add(value, load(residual));
    if (whole) {
      hn::StoreU(value, d, to + j);
    } else {
      hn::BlendedStore(value, mask, d, to + j);
    }
  }
}

i64 RowTiles(i64 rows) { return (rows + kTileRows - 1) / kTileRows; }

// Multiplies row tiles [tile_begin, tile_end) of a with panels [panel_begin, panel_end) and hands
// each finished tile row to finish(row, first column, columns, values).
template <typename Finish>
HWY_INLINE void MultiplyBlock(View<const float, 2> a, const float* panels, i64 panel_stride,
                              i64 outputs, i64 tile_begin, i64 tile_end, i64 panel_begin,
                              i64 panel_end, float* packed_rows, const Finish& finish) {
  const i64 cols = tile_cols();
  const i64 inputs = a.size(1);
  for (i64 tile = tile_begin; tile < tile_end; ++tile) {
    const i64 row = tile * kTileRows;
    PackRows(a, row, std::min<i64>(kTileRows, a.size(0) - row),
             packed_rows + (tile - tile_begin) * kTileRows * inputs);
  }
  HWY_ALIGN float values[kTileRows * 2 * HWY_LANES(float)];
  for (i64 panel = panel_begin; panel < panel_end; ++panel) {
    const i64 column = panel * cols;
    const i64 count = std::min(cols, outputs - column);
    for (i64 tile = tile_begin; tile < tile_end; ++tile) {
      const i64 row = tile * kTileRows;
      const i64 rows = std::min<i64>(kTileRows, a.size(0) - row);
      MultiplyRows(rows, packed_rows + (tile - tile_begin) * kTileRows * inputs,
                   panels + panel * panel_stride, inputs, values);
      for (i64 i = 0; i < rows; ++i) finish(row + i, column, count, values + i * cols);
    }
  }
}

// How a product is cut into tasks: blocks of row tiles, and of panels when there are too few rows
// for the team.
struct Cut {
  i64 row_blocks, tiles_per_block, panel_blocks, panels_per_block;
};
Cut CutFor(i64 rows, i64 panels, i64 threads) {
  const i64 tiles = RowTiles(rows);
  const i64 per_block = std::min(kTaskTiles, tiles);
  const i64 row_blocks = (tiles + per_block - 1) / per_block;
  // four tasks a thread where the panels allow it: shared evenly, and rows are packed again for
  // each block of panels. how a product is cut does not change its sums
  const i64 wanted = std::min<i64>(panels, (4 * threads + row_blocks - 1) / row_blocks);
  const i64 panels_per_block = (panels + wanted - 1) / wanted;
  return {row_blocks, per_block, (panels + panels_per_block - 1) / panels_per_block,
          panels_per_block};
}

template <typename Finish>
HWY_INLINE void MultiplyAll(Context& ctx, View<const float, 2> a, const float* panels,
                            i64 panel_stride, i64 outputs, const Finish& finish) {
  const i64 panel_count = (outputs + tile_cols() - 1) / tile_cols();
  const Cut cut = CutFor(a.size(0), panel_count, ctx.threads());
  const i64 tiles = RowTiles(a.size(0));
  ctx.parallel(cut.row_blocks * cut.panel_blocks, [&](i64 task, int worker) {
    const i64 tile_begin = task / cut.panel_blocks * cut.tiles_per_block;
    const i64 panel_begin = task % cut.panel_blocks * cut.panels_per_block;
    const auto bytes =
        static_cast<std::size_t>(cut.tiles_per_block * kTileRows * a.size(1)) * sizeof(float);
    auto* packed_rows = reinterpret_cast<float*>(ctx.worker_scratch(worker, bytes));
    MultiplyBlock(a, panels, panel_stride, outputs, tile_begin,
                  std::min(tiles, tile_begin + cut.tiles_per_block), panel_begin,
                  std::min(panel_count, panel_begin + cut.panels_per_block), packed_rows, finish);
  });
}

void PackWeight(Context& ctx, View<const float, 2> weight, float* panels) {
  const i64 cols = tile_cols();
  ctx.parallel((weight.size(0) + cols - 1) / cols, [&](i64 panel, int) {
    PackColumns(weight.transposed(), panel, panels + panel * cols * weight.size(1));
  });
}

void Linear(Context& ctx, View<const float, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<float, 2> y) {
  MultiplyAll(ctx, x, weight.panels(), tile_cols() * weight.inputs(), weight.outputs(),
              [&](i64 row, i64 column, i64 count, const float* values) {
                const auto at = [&](View<const float, 2> v) {
                  return v ? v.data() + row * v.stride(0) + column : nullptr;
                };
                FinishRow(values, count, epilogue.bias ? epilogue.bias.data() + column : nullptr,
                          epilogue.activation, at(epilogue.gate), at(epilogue.residual),
                          y.data() + row * y.stride(0) + column);
              });
}

void Gemm(Context& ctx, View<const float, 2> a, View<const float, 2> b, const Epilogue& epilogue,
          View<float, 2> c) {
  const i64 cols = tile_cols();
  const i64 panel_count = (b.size(1) + cols - 1) / cols;
  const i64 block = std::min(kBlockInputs, b.size(0));
  auto* panels = reinterpret_cast<float*>(ctx.shared_scratch(
      static_cast<std::size_t>(panel_count * cols * block) * sizeof(float), Context::Slot::matrix));
  // the residual enters with the first block of inputs, the bias with the last; without inputs one
  // pass does both
  i64 begin = 0;
  do {
    const i64 end = std::min(b.size(0), begin + block);
    const i64 inputs = end - begin;
    ctx.parallel(panel_count, [&](i64 panel, int) {
      PackColumns(b.slice(0, begin, end), panel, panels + panel * cols * inputs);
    });
    const View<const float, 2> so_far = begin > 0 ? View<const float, 2>(c) : epilogue.residual;
    const float* bias = end == b.size(0) ? epilogue.bias.data() : nullptr;
    MultiplyAll(ctx, a.slice(1, begin, end), panels, cols * inputs, b.size(1),
                [&](i64 row, i64 column, i64 count, const float* values) {
                  FinishRow(values, count, bias == nullptr ? nullptr : bias + column,
                            Activation::none, nullptr,
                            so_far ? so_far.data() + row * so_far.stride(0) + column : nullptr,
                            c.data() + row * c.stride(0) + column);
                });
    begin = end;
  } while (begin < b.size(0));
}

}  // namespace HWY_NAMESPACE
}  // namespace orrery::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace orrery::cpu {

HWY_EXPORT(TileCols);
HWY_EXPORT(PackWeight);
HWY_EXPORT(Linear);
HWY_EXPORT(Gemm);

std::size_t packed_bytes(i64 outputs, i64 inputs) {
  const i64 cols = ORRERY_KERNEL(TileCols)();
  return static_cast<std::size_t>((outputs + cols - 1) / cols * cols * inputs) * sizeof(float);
}

void pack_weight(Context& ctx, View<const float, 2> weight, float* panels) {
  ORRERY_KERNEL(PackWeight)(ctx, weight, panels);
}

void linear(Context& ctx, View<const float, 2> x, const PackedMatrix& weight,
            const Epilogue& epilogue, View<float, 2> y) {
  ORRERY_KERNEL(Linear)(ctx, x, weight, epilogue, y);
}

void gemm(Context& ctx, View<const float, 2> a, View<const float, 2> b, const Epilogue& epilogue,
          View<float, 2> c) {
  ORRERY_KERNEL(Gemm)(ctx, a, b, epilogue, c);
}

}  // namespace orrery::cpu
#endif  // HWY_ONCE
