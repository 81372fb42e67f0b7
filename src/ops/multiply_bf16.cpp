#include "ops/multiply_bf16.h"

#include <cstring>

#include "base/error.h"
#include "ops/cpu_path.h"
#include "ops/multiply_bf16_cpu.h"

namespace orrery {

namespace {

// Highway calls every AVX-512 path AVX3...
bool takes_avx512bf16() {
  return cpu::has_avx512bf16() && std::strncmp(cpu_path(), "AVX3", 4) == 0;
}

// rows handed to one task by the passes below
constexpr i64 kRowsPerTask = 32;

// a factor as the floats that are left of it, contiguous
View<const float, 2> rounded(Context& ctx, const Factor& factor, float* memory) {
  return std::visit(
      [&](const auto& view) {
        const View<float, 2> copy(memory, view.sizes());
        ctx.parallel_ranges(view.size(0), kRowsPerTask, [&](i64 begin, i64 end, int) {
          for (i64 r = begin; r < end; ++r) {
            for (i64 c = 0; c < view.size(1); ++c) copy(r, c) = bf16(view(r, c));
          }
        });
        return View<const float, 2>(copy);
      },
      factor);
}

// without the instruction: the f32 product of rounded factors
void multiply_rounded(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                      const cpu::Bf16Result& c) {
  const i64 m = size_of(a, 0), k = size_of(a, 1), n = size_of(b, 1);
  const bool halves = static_cast<bool>(c.halves);
  const i64 values = m * k + k * n + (halves ? m * n : 0);
  auto* memory = reinterpret_cast<float*>(
      ctx.shared_scratch(static_cast<std::size_t>(values) * sizeof(float)));
  const View<const float, 2> left = rounded(ctx, a, memory);
  const View<const float, 2> right = rounded(ctx, b, memory + m * k);
  const View<float, 2> result = halves ? View<float, 2>(memory + m * k + k * n, {m, n}) : c.floats;
  gemm(ctx, left, right, epilogue, result);
  if (!halves) return;
  ctx.parallel_ranges(m, kRowsPerTask, [&](i64 begin, i64 end, int) {
    for (i64 r = begin; r < end; ++r) {
      for (i64 j = 0; j < n; ++j) c.halves(r, j) = bf16(result(r, j));
    }
    if (c.finished != nullptr) (*c.finished)(begin, end, 0, n);
  });
}

template <typename T>
void checked(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue, View<T, 2> c,
             const cpu::Bf16Result& result) {
  must_be_cpu(ctx, "multiply_bf16");
  const i64 m = size_of(a, 0), k = size_of(a, 1), n = size_of(b, 1);
  check(size_of(b, 0) == k, "multiply_bf16: a has ", k, " columns, b ", size_of(b, 0),
        " rows; inner sizes must agree");
  check(c.size(0) == m && c.size(1) == n, "multiply_bf16: c is ", c.shape(), ", needed (", m, ", ",
        n, ")");
  check(c.stride(1) == 1, "multiply_bf16: the last dimension of c must be contiguous");
  check(epilogue.activation == Activation::none && !epilogue.gate,
        "multiply_bf16: takes no activation and no gate");
  check(!epilogue.bias || epilogue.bias.size(0) == n, "multiply_bf16: bias has ",
        epilogue.bias.size(0), " values, c is ", c.shape());
  check(!epilogue.residual ||
            (epilogue.residual.sizes() == c.sizes() && epilogue.residual.stride(1) == 1),
        "multiply_bf16: residual is ", epilogue.residual.shape(), ", c is ", c.shape());
  if (c.numel() == 0) return;
  if (takes_avx512bf16()) {
    cpu::multiply_bf16_avx512(ctx, a, b, epilogue, result);
  } else {
    multiply_rounded(ctx, a, b, epilogue, result);
  }
}

}  // namespace

void multiply_bf16(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                   View<float, 2> c) {
  checked(ctx, a, b, epilogue, c, {.floats = c});
}

void multiply_bf16(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                   View<bf16, 2> c) {
  checked(ctx, a, b, epilogue, c, {.halves = c});
}

void multiply_bf16(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                   View<bf16, 2> c, FinishedPart finished) {
  checked(ctx, a, b, epilogue, c, {.halves = c, .finished = &finished});
}

const char* multiply_bf16_path() { return takes_avx512bf16() ? "avx512bf16" : "f32"; }

}  // namespace orrery
