// The matrix product's kernels of one precision: files of their own compile side by side.

#include "ops/gemm_device.h"

namespace orrery::cuda {

template void run_product<Precision::fp8>(const Context&, const ProductPlan&, const Product&);
template void run_prepare<Precision::fp8>(const Context&, const Product&, const PreparedRows&);

}  // namespace orrery::cuda
