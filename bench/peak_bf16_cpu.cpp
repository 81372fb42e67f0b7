#include <cstring>

#include "bench/peak.h"
#include "ops/bf16_pairs.h"
#include "ops/multiply_bf16.h"

namespace orrery::bench {

#if defined(__x86_64__)

namespace {

// as many independent chains as the f32 peak has
constexpr int kChains = 12;

ORRERY_AVX512BF16 float multiply_pairs(i64 iterations) {
  const auto one = __builtin_bit_cast(__m512bh, _mm512_set1_epi32(0x3f803f80));
  __m512 chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = _mm512_set1_ps(static_cast<float>(i));
  for (i64 n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) chain[i] = _mm512_dpbf16_ps(chain[i], one, one);
  }
  __m512 total = chain[0];
  for (int i = 1; i < kChains; ++i) total = _mm512_add_ps(total, chain[i]);
  return _mm512_reduce_add_ps(total);
}

}  // namespace

PeakKernel bf16_peak_kernel() {
  if (std::strcmp(multiply_bf16_path(), "avx512bf16") != 0) return {};
  // sixteen sums, two products each
  return {&multiply_pairs, 4.0 * 16 * kChains};
}

#else

PeakKernel bf16_peak_kernel() { return {}; }

#endif

}  // namespace orrery::bench
