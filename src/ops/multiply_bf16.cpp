#include "ops/multiply_bf16.h"

#include <cstring>

#include "base/error.h"
#include "ops/activation_bf16.h"
#include "ops/cpu_path.h"
#include "ops/multiply_bf16_cpu.h"
#include "ops/multiply_bf16_cuda.h"

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

void multiply_on_cpu(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                     const cpu::Bf16Result& c) {
  if (takes_avx512bf16()) {
    cpu::multiply_bf16_avx512(ctx, a, b, epilogue, c);
  } else {
    multiply_rounded(ctx, a, b, epilogue, c);
  }
}

template <typename T>
void check_product(const Factor& a, const Factor& b, const Epilogue& epilogue, View<T, 2> c) {
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
}

// beside the values of a product
void check_beside(const char* op, Activation activation, View<const bf16, 2> values,
                  View<bf16, 2> c) {
  check(activation != Activation::none, op, ": needs an activation");
  check(values.sizes() == c.sizes() && values.stride(1) == 1, op, ": values of ", values.shape(),
        " came beside a product of ", c.shape());
}

#if ORRERY_CUDA
template <typename T>
void multiply_on_cuda(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                      const cuda::Trained& trained, View<T, 2> c) {
  std::visit(
      [&](const auto& left, const auto& right) {
        cuda::multiply_bf16(ctx, left, right, epilogue, trained, c);
      },
      a, b);
}
#endif

}  // namespace

void multiply_bf16(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                   View<float, 2> c) {
  check_product(a, b, epilogue, c);
  if (c.numel() == 0) return;
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda) return multiply_on_cuda(ctx, a, b, epilogue, {}, c);
#endif
  multiply_on_cpu(ctx, a, b, epilogue, {.floats = c});
}

void multiply_bf16(Context& ctx, const Factor& a, const Factor& b, const Epilogue& epilogue,
                   View<bf16, 2> c) {
  check_product(a, b, epilogue, c);
  if (c.numel() == 0) return;
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda) return multiply_on_cuda(ctx, a, b, epilogue, {}, c);
#endif
  multiply_on_cpu(ctx, a, b, epilogue, {.halves = c});
}

void multiply_activate_bf16(Context& ctx, const Factor& a, const Factor& b,
                            View<const float, 1> bias, Activation activation, View<bf16, 2> wide,
                            View<bf16, 2> active) {
  const Epilogue epilogue{.bias = bias};
  check_product(a, b, epilogue, wide);
  check_beside("multiply_activate_bf16", activation, active, wide);
  if (wide.numel() == 0) return;
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda) {
    return multiply_on_cuda(ctx, a, b, epilogue, {activation, active, {}}, wide);
  }
#endif
  const auto activate = [&](i64 row_begin, i64 row_end, i64 begin, i64 end) {
    for (i64 r = row_begin; r < row_end; ++r) {
      activate_bf16(ctx, activation, wide[r].slice(0, begin, end), active[r].slice(0, begin, end));
    }
  };
  const cpu::FinishedPart finished = activate;
  multiply_on_cpu(ctx, a, b, epilogue, {.halves = wide, .finished = &finished});
}

void multiply_slopes_bf16(Context& ctx, const Factor& a, const Factor& b, Activation activation,
                          View<const bf16, 2> wide, View<bf16, 2> slopes) {
  check_product(a, b, {}, slopes);
  check_beside("multiply_slopes_bf16", activation, wide, slopes);
  if (slopes.numel() == 0) return;
#if ORRERY_CUDA
  if (ctx.device() == Device::cuda) {
    return multiply_on_cuda(ctx, a, b, {}, {activation, {}, wide}, slopes);
  }
#endif
  const auto go_back = [&](i64 row_begin, i64 row_end, i64 begin, i64 end) {
    for (i64 r = row_begin; r < row_end; ++r) {
      const View<bf16, 1> part = slopes[r].slice(0, begin, end);
      activate_bf16_backward(ctx, activation, wide[r].slice(0, begin, end), part, part);
    }
  };
  const cpu::FinishedPart finished = go_back;
  multiply_on_cpu(ctx, a, b, {}, {.halves = slopes, .finished = &finished});
}

const char* multiply_bf16_path() { return takes_avx512bf16() ? "avx512bf16" : "f32"; }

}  // namespace orrery
