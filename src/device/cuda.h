#pragma once

// For .cu files: how kernels are launched and how the toolkit's errors become ours.

#include <cuda_runtime.h>

#include <cstddef>

#include "base/error.h"
#include "base/host_device.h"
#include "device/context.h"

namespace orrery {

// Throws unless `status` is success; the sentence says what was being done and what the driver
// answered.
void cuda_check(cudaError_t status, const char* doing);

// The shape of a launch. `name` is what errors are attributed to.
struct Launch {
  const char* name;
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;  // dynamic shared memory
};

// Looks for errors of the launch just made; with ORRERY_CUDA_DEBUG=1 in the environment waits for
// the kernel, so that an error of the device is attributed to the kernel that made it. (Not while
// capturing: the device runs nothing then.)
void finish_launch(const Context& ctx, const char* name);

inline cudaStream_t stream_of(const Context& ctx) {
  return static_cast<cudaStream_t>(ctx.stream());
}

// kernel<<<grid, block, shared_bytes, stream>>>(arguments...), checked.
template <typename... Parameters, typename... Arguments>
void launch(const Context& ctx, const Launch& shape, void (*kernel)(Parameters...),
            const Arguments&... arguments) {
  // beyond 48 KiB a kernel must ask
  constexpr std::size_t kAlwaysThere = 48 * 1024;
  if (shape.shared_bytes > kAlwaysThere) {
    cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shape.shared_bytes)),
               shape.name);
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream_of(ctx);
  cuda_check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...),
             shape.name);
  finish_launch(ctx, shape.name);
}

// how many blocks of `size` cover `count`
constexpr unsigned blocks_for(i64 count, i64 size) {
  return static_cast<unsigned>((count + size - 1) / size);
}

}  // namespace orrery
