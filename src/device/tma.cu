#include "device/tma.h"

#include "base/error.h"
#include "device/cuda.h"

namespace orrery {

namespace {

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                            CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                            CUtensorMapFloatOOBfill);

// Asked of the driver that is there: linking with it would keep programs from starting elsewhere.
Encode encoder() {
  constexpr unsigned kFirstVersion = 12000;  // that has this signature
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  cuda_check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kFirstVersion,
                                              cudaEnableDefault, &found),
             "looking for the driver's tensor maps");
  check(found == cudaDriverEntryPointSuccess && function != nullptr,
        "CUDA: the driver has no tensor maps (12.0)");
  return reinterpret_cast<Encode>(function);
}

}  // namespace

CUtensorMap encoded(const TensorMapShape& shape) {
  static const Encode encode = encoder();
  CUtensorMap map = {};
  const cuuint64_t sizes[] = {shape.sizes[0], shape.sizes[1]};
  const cuuint64_t strides[] = {shape.row_stride};
  const cuuint32_t box[] = {shape.box[0], shape.box[1]};
  const cuuint32_t steps[] = {1, 1};
  const CUresult status =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<void*>(shape.data), sizes, strides,
             box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(status == CUDA_SUCCESS, "CUDA: the driver refused a tensor map of ", shape.sizes[1],
        " rows of ", shape.sizes[0], " bytes, ", shape.row_stride, " bytes apart (error ",
        static_cast<int>(status), ")");
  return map;
}

}  // namespace orrery
