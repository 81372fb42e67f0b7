#pragma once

// Stands in front of the CUDA toolkit's header of the same name: tensor maps, with the toolkit's
// names, values and signatures (13.0). Only what the emulation knows.

#include <cstdint>

#include "emulation/host.h"

typedef std::uint32_t cuuint32_t;
typedef std::uint64_t cuuint64_t;

enum CUresult {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
};
struct CUtensorMap_st {
  alignas(64) cuuint64_t opaque[16];  // what the driver wants; the toolkit aligns to 128
};
typedef CUtensorMap_st CUtensorMap;
enum CUtensorMapDataType {
  CU_TENSOR_MAP_DATA_TYPE_UINT8 = 0,
  CU_TENSOR_MAP_DATA_TYPE_UINT16 = 1,
  CU_TENSOR_MAP_DATA_TYPE_FLOAT32 = 7,
  CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 = 9,
};
enum CUtensorMapInterleave {
  CU_TENSOR_MAP_INTERLEAVE_NONE = 0,
};
enum CUtensorMapSwizzle {
  CU_TENSOR_MAP_SWIZZLE_NONE = 0,
  CU_TENSOR_MAP_SWIZZLE_128B = 3,
};
enum CUtensorMapL2promotion {
  CU_TENSOR_MAP_L2_PROMOTION_NONE = 0,
  CU_TENSOR_MAP_L2_PROMOTION_L2_128B = 2,
  CU_TENSOR_MAP_L2_PROMOTION_L2_256B = 3,
};
enum CUtensorMapFloatOOBfill {
  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE = 0,
};

// Not linked by name: like the driver's, it is asked for by cudaGetDriverEntryPointByVersion.
namespace emulation {
CUresult encode_tiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data,
                      const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                      const cuuint32_t* steps, CUtensorMapInterleave interleave,
                      CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                      CUtensorMapFloatOOBfill fill);
// the memory that a map describes
const void* data_of(const CUtensorMap& map);

template <>
struct Pointers<CUtensorMap> {
  template <typename Visit>
  static void each(const CUtensorMap& map, Visit visit) {
    visit(data_of(map));
  }
};
}  // namespace emulation
