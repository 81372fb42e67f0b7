// Our matrix kernels beside the CUDA toolkit's own library, cuBLASLt, at the sizes of the published
// model: every kernel of ours must beat it or be replaced by it. And the device's rate of one large
// product, which shares of the machine are measured against.
//
//   orrery_gemm_peer [--runs N] [--output FILE]
//
// Prints, or writes, {"device", "bf16_gemm_tflops", "tf32_gemm_tflops", "f32_gemm_tflops",
// "shapes": [{"name", "rows", "outputs", "inputs", "precision", "cublaslt_us", "chosen",
// "chosen_us", "ratio", "kernels": {name: us}}]}; ratio is cuBLASLt's time over that of the kernel
// that would be chosen: above 1 ours is faster. cuBLASLt does bias and, where ours has one, GELU
// (its tanh form: it has no other) in its epilogue; ours does the norm's work nowhere here.

#include <cublasLt.h>

#include <algorithm>
#include <cstring>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "bench/inputs.h"
#include "ops/gemm.h"
#include "ops/gemm_tiles.h"

namespace orrery::bench {
namespace {

void lt_check(cublasStatus_t status, const char* doing) {
  check(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt: ", doing, ": ",
        cublasLtGetStatusString(status));
}

struct Shape {
  const char* name;
  i64 rows, outputs, inputs;
  Activation activation = Activation::none;
  bool bias = true;
};

// encoder: 257 tokens a frame; predictor: rows of one context frame (1024 candidates of iCEM), of a
// full window of three, and of 50 environments of 300
constexpr Shape kShapes[] = {
    {"encoder 1 qkv", 257, 576, 192},
    {"encoder 1 up", 257, 768, 192, Activation::gelu},
    {"encoder 1 down", 257, 192, 768},
    {"encoder 16 patch", 16 * 256, 192, 588},
    {"encoder 16 qkv", 16 * 257, 576, 192},
    {"encoder 16 out", 16 * 257, 192, 192},
    {"encoder 16 up", 16 * 257, 768, 192, Activation::gelu},
    {"encoder 16 down", 16 * 257, 192, 768},
    {"predictor 1024 qkv", 1024, 3072, 192, Activation::none, false},
    {"predictor 1024 out", 1024, 192, 1024},
    {"predictor 1024 up", 1024, 2048, 192, Activation::gelu},
    {"predictor 1024 down", 1024, 192, 2048},
    {"predictor 1024 modulation", 5 * 1024, 1152, 192},
    {"predictor 3072 qkv", 3072, 3072, 192, Activation::none, false},
    {"predictor 3072 up", 3072, 2048, 192, Activation::gelu},
    {"predictor 3072 down", 3072, 192, 2048},
    {"predictor 15000 qkv", 15000, 3072, 192, Activation::none, false},
    {"predictor 15000 up", 15000, 2048, 192, Activation::gelu},
    {"predictor 15000 down", 15000, 192, 2048},
};
constexpr i64 kLarge = 8192;
constexpr std::size_t kWorkspace = std::size_t{64} << 20;

// median of synchronised batches of calls
double microseconds_of(Context& ctx, int runs, FunctionRef<void()> run) {
  constexpr int kCalls = 20;  // a batch long enough that waiting for it does not count
  std::vector<double> times;
  for (int i = 0; i <= runs; ++i) {
    ctx.synchronize();
    const double start = now_s();
    for (int call = 0; call < kCalls; ++call) run();
    ctx.synchronize();
    if (i > 0) times.push_back((now_s() - start) / kCalls * 1e6);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

Block on_device(Context& ctx, const void* values, std::size_t bytes) {
  Block block(ctx, bytes);
  ctx.upload(block.data(), values, bytes);
  ctx.synchronize();
  return block;
}

std::vector<bf16> rounded(const Tensor& values) {
  std::vector<bf16> narrow;
  for (const float value : values.span<float>()) narrow.push_back(bf16(value));
  return narrow;
}

// y [rows, outputs] = x [rows, inputs] w [outputs, inputs]^T by cuBLASLt. It counts columns first:
// y^T = w x^T, so that its epilogue's bias goes along outputs.
class Peer {
 public:
  Peer(Context& ctx, const Shape& shape, Precision precision, const Block& x, const Block& w,
       const Block& bias, Block& y)
      : ctx_(ctx), x_(x), w_(w), y_(y), workspace_(ctx, kWorkspace) {
    lt_check(cublasLtCreate(&handle_), "starting");
    const bool narrow = precision == Precision::bf16;
    const cudaDataType_t type = narrow ? CUDA_R_16BF : CUDA_R_32F;
    const auto compute =
        precision == Precision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    lt_check(cublasLtMatmulDescCreate(&operation_, compute, CUDA_R_32F), "describing");
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    const auto rows = static_cast<std::uint64_t>(shape.rows);
    const auto outputs = static_cast<std::uint64_t>(shape.outputs);
    const auto inputs = static_cast<std::uint64_t>(shape.inputs);
    lt_check(cublasLtMatrixLayoutCreate(&a_, type, inputs, outputs, shape.inputs), "describing");
    lt_check(cublasLtMatrixLayoutCreate(&b_, type, inputs, rows, shape.inputs), "describing");
    lt_check(cublasLtMatrixLayoutCreate(&c_, type, outputs, rows, shape.outputs), "describing");
    if (shape.bias) {
      const bool gelu = shape.activation == Activation::gelu;
      set(CUBLASLT_MATMUL_DESC_EPILOGUE,
          gelu ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias.data()));
      if (narrow) set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
    }
    cublasLtMatmulPreference_t preference = nullptr;
    lt_check(cublasLtMatmulPreferenceCreate(&preference), "choosing");
    lt_check(
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &kWorkspace, sizeof(kWorkspace)),
        "choosing");
    candidates_.resize(8);
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle_, operation_, a_, b_, c_, c_, preference, static_cast<int>(candidates_.size()),
        candidates_.data(), &found);
    cublasLtMatmulPreferenceDestroy(preference);
    lt_check(status, "choosing");
    check(found > 0, "cuBLASLt: has no kernel for ", shape.name);
    candidates_.resize(static_cast<std::size_t>(found));
  }
  ~Peer() {
    for (cublasLtMatrixLayout_t layout : {a_, b_, c_}) cublasLtMatrixLayoutDestroy(layout);
    cublasLtMatmulDescDestroy(operation_);
    cublasLtDestroy(handle_);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  // the best of what its own heuristic proposes
  double microseconds(int runs) {
    double best = 1e30;
    for (const cublasLtMatmulHeuristicResult_t& candidate : candidates_) {
      best = std::min(best, microseconds_of(ctx_, runs, [&] { multiply(candidate.algo); }));
    }
    return best;
  }

 private:
  template <typename T>
  void set(cublasLtMatmulDescAttributes_t what, const T& value) {
    lt_check(cublasLtMatmulDescSetAttribute(operation_, what, &value, sizeof(value)), "describing");
  }
  void multiply(const cublasLtMatmulAlgo_t& algorithm) {
    const float one = 1, zero = 0;
    lt_check(cublasLtMatmul(handle_, operation_, &one, w_.data(), a_, x_.data(), b_, &zero,
                            y_.data(), c_, y_.data(), c_, &algorithm, workspace_.data(), kWorkspace,
                            static_cast<cudaStream_t>(ctx_.stream())),
             "multiplying");
  }

  Context& ctx_;
  const Block& x_;
  const Block& w_;
  Block& y_;
  Block workspace_;
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
  std::vector<cublasLtMatmulHeuristicResult_t> candidates_;
};

// everything one product works on, in the element type of its precision
struct Operands {
  Block x, w, bias, y;
  Tensor weight;

  Operands(Context& ctx, const Shape& shape, Precision precision)
      : weight(normal_values({shape.outputs, shape.inputs}, 2)) {
    const Tensor values = normal_values({shape.rows, shape.inputs}, 1);
    const Tensor biases = normal_values({shape.outputs}, 3);
    const bool narrow = precision == Precision::bf16;
    const auto take = [&](const Tensor& from) {
      if (!narrow) return on_device(ctx, from.bytes(), static_cast<std::size_t>(from.byte_count()));
      const auto half = rounded(from);
      return on_device(ctx, half.data(), half.size() * sizeof(bf16));
    };
    x = take(values);
    w = take(weight);
    bias = on_device(ctx, biases.bytes(), static_cast<std::size_t>(biases.byte_count()));
    y = Block(ctx, static_cast<std::size_t>(shape.rows * shape.outputs) * sizeof(float));
  }
};

template <typename T>
double our_microseconds(Context& ctx, int runs, const Shape& shape, const PackedMatrix& weight,
                        Operands& m) {
  const View<const T, 2> x(reinterpret_cast<const T*>(m.x.data()), {shape.rows, shape.inputs});
  const View<T, 2> y(reinterpret_cast<T*>(m.y.data()), {shape.rows, shape.outputs});
  Epilogue epilogue{.activation = shape.activation};
  if (shape.bias) epilogue.bias = {reinterpret_cast<const float*>(m.bias.data()), {shape.outputs}};
  return microseconds_of(ctx, runs, [&] { linear(ctx, x, weight, epilogue, y); });
}

nlohmann::ordered_json compared(Context& ctx, int runs, const Shape& shape, Precision precision) {
  Operands m(ctx, shape, precision);
  const PackedMatrix weight(ctx, m.weight.view<float, 2>(), precision);
  const auto ours = [&] {
    return precision == Precision::bf16 ? our_microseconds<bf16>(ctx, runs, shape, weight, m)
                                        : our_microseconds<float>(ctx, runs, shape, weight, m);
  };
  const double chosen_us = ours();
  const std::string chosen = last_product();
  nlohmann::ordered_json kernels = nlohmann::ordered_json::object();
  for (const ProductTile& tile : kProductTiles) {
    if (tile.tensor_cores != (precision != Precision::f32)) continue;
    use_product_tile(tile.name);
    const double us = ours();
    kernels[last_product()] = us;
  }
  use_product_tile("");
  const double peer_us = Peer(ctx, shape, precision, m.x, m.w, m.bias, m.y).microseconds(runs);
  return {{"name", shape.name},
          {"rows", shape.rows},
          {"outputs", shape.outputs},
          {"inputs", shape.inputs},
          {"precision", name_of(precision)},
          {"cublaslt_us", peer_us},
          {"chosen", chosen},
          {"chosen_us", chosen_us},
          {"ratio", peer_us / chosen_us},
          {"kernels", kernels}};
}

double large_tflops(Context& ctx, Precision precision) {
  const Shape shape{"large", kLarge, kLarge, kLarge, Activation::none, false};
  Operands m(ctx, shape, precision);
  const double us = Peer(ctx, shape, precision, m.x, m.w, m.bias, m.y).microseconds(3);
  return 2.0 * kLarge * kLarge * kLarge / us / 1e6;
}

void run(int runs, const std::string& output) {
  Context ctx({.threads = 1, .where = device_from("cuda")});
  nlohmann::ordered_json report = {{"device", cuda_facts().front().name}};
  for (const Precision precision : {Precision::bf16, Precision::tf32, Precision::f32}) {
    report[text(name_of(precision), "_gemm_tflops")] = large_tflops(ctx, precision);
  }
  report["shapes"] = nlohmann::ordered_json::array();
  for (const Precision precision : {Precision::bf16, Precision::f32, Precision::tf32}) {
    for (const Shape& shape : kShapes)
      report["shapes"].push_back(compared(ctx, runs, shape, precision));
  }
  if (output.empty()) {
    std::cout << report.dump(1) << "\n";
  } else {
    write_file(output, report.dump(1) + "\n");
  }
}

}  // namespace
}  // namespace orrery::bench

int main(int count, char** words) {
  int runs = 5;
  std::string output;
  for (int i = 1; i < count; ++i) {
    if (std::strcmp(words[i], "--runs") == 0 && i + 1 < count) {
      runs = std::max(1, std::atoi(words[++i]));
    } else if (std::strcmp(words[i], "--output") == 0 && i + 1 < count) {
      output = words[++i];
    } else {
      std::cerr << "usage: orrery_gemm_peer [--runs N] [--output FILE]\n";
      return 2;
    }
  }
  try {
    orrery::bench::run(runs, output);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "orrery_gemm_peer: " << error.what() << "\n";
    return 1;
  }
}
