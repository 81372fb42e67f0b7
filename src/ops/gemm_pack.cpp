#include "ops/gemm_pack.h"

#include <bit>
#include <cstring>

#include "base/bf16.h"
#include "ops/quantize_rows.h"

namespace orrery {

namespace {

// 13 of a float's 23 stored bits go: half of their range is added, then they are cut
float rounded_to_tf32(float value) {
  const u32 bits = std::bit_cast<u32>(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;  // infinity and NaN
  return std::bit_cast<float>((bits + 0x1000u) & ~0x1fffu);
}

template <typename T, typename Convert>
void fill(View<const float, 2> weight, i64 row_bytes, std::byte* out, const Convert& convert) {
  for (i64 o = 0; o < weight.size(0); ++o) {
    for (i64 i = 0; i < weight.size(1); ++i) {
      const T value = convert(weight(o, i));
      std::memcpy(out + o * row_bytes + i * static_cast<i64>(sizeof(T)), &value, sizeof(T));
    }
  }
}

template <typename Code>
void fill_codes(View<const float, 2> weight, PackedRows& packed) {
  packed.scales.resize(static_cast<std::size_t>(weight.size(0)));
  Context ctx({.threads = 1});
  quantize_rows(ctx, weight,
                View<Code, 2>(reinterpret_cast<Code*>(packed.rows.data()),
                              {weight.size(0), weight.size(1)}, {packed.row_bytes, 1}),
                View<float, 1>(packed.scales.data(), {weight.size(0)}));
}

}  // namespace

PackedRows pack_rows(View<const float, 2> weight, Precision precision) {
  PackedRows packed;
  packed.row_bytes = (weight.size(1) * value_bytes(precision) + 15) / 16 * 16;
  packed.rows.resize(static_cast<std::size_t>(weight.size(0) * packed.row_bytes));
  std::byte* out = packed.rows.data();
  switch (precision) {
    case Precision::f32:
      fill<float>(weight, packed.row_bytes, out, [](float v) { return v; });
      break;
    case Precision::tf32:
      fill<float>(weight, packed.row_bytes, out, rounded_to_tf32);
      break;
    case Precision::bf16:
      fill<bf16>(weight, packed.row_bytes, out, [](float v) { return bf16(v); });
      break;
    case Precision::int8:
      fill_codes<i8>(weight, packed);
      break;
    case Precision::fp8:
      fill_codes<e4m3>(weight, packed);
      break;
  }
  return packed;
}

}  // namespace orrery
