#pragma once

// What device/ptx.h calls where nvcc would assemble an instruction: matrix products of a warp,
// loads of matrices, asynchronous copies. The layouts are told there.

#include <cstdint>

#include "emulation/device.h"

namespace emulation {

// d += a b, each lane with its part of d [16, 8], a [16, k] and b [k, 8]
void mma_bf16(float* d, const std::uint32_t* a, const std::uint32_t* b);       // k = 16
void mma_tf32(float* d, const std::uint32_t* a, const std::uint32_t* b);       // k = 8
void mma_s8(std::int32_t* d, const std::uint32_t* a, const std::uint32_t* b);  // k = 32
void mma_e4m3(float* d, const std::uint32_t* a, const std::uint32_t* b);       // k = 32

// Lane 8 i + r brings row r of matrix i (16 bytes); every lane leaves with its part of each matrix.
void exchange_rows(const uint4& row, std::uint32_t* parts, int matrices, bool transposed);

void check_aligned(const void* pointer, unsigned bytes, const char* what);

// ldmatrix: the lanes that offer an address read the row, so that a race is found where it is
template <int Matrices>
void load_matrices(std::uint32_t (&parts)[Matrices], const void* row, bool transposed) {
  uint4 mine = {};
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  if (thread % 32 < 8 * Matrices) {
    check_aligned(row, 16, "ldmatrix reads a row");
    mine = *static_cast<const uint4*>(row);
  }
  exchange_rows(mine, parts, Matrices, transposed);
}

// cp.async: nothing is copied before the thread waits for it, so that a wait too few is seen
void copy_async(void* to, const void* from, unsigned bytes, bool valid);
void copy_commit();
// until at most `pending` groups are left
void copy_wait(unsigned pending);
void copy_wait_all();

std::uint64_t nanoseconds();

}  // namespace emulation
