#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "base/function_ref.h"
#include "device/context.h"

// What a Context of a CUDA device is made of. Host code only, and free of the toolkit's headers, so
// that files of plain C++ may include it. Everything here exists in builds with CUDA only.

#if ORRERY_CUDA

namespace orrery {

namespace cuda {
// zeroed memory of a device, and page-locked memory of the host
std::byte* allocate(int device, std::size_t bytes);
void free(std::byte* memory, int device);
std::byte* allocate_locked(std::size_t bytes);
void free_locked(std::byte* memory, int);
}  // namespace cuda

// An instantiated graph.
class CudaGraph {
 public:
  CudaGraph() = default;
  explicit CudaGraph(void* executable) : executable_(executable) {}
  ~CudaGraph();
  CudaGraph(CudaGraph&& other) noexcept : executable_(std::exchange(other.executable_, nullptr)) {}
  CudaGraph& operator=(CudaGraph&& other) noexcept {
    std::swap(executable_, other.executable_);
    return *this;
  }
  void* executable() const { return executable_; }

 private:
  void* executable_ = nullptr;
};

// One stream of one device.
struct Context::Cuda {
 public:
  explicit Cuda(int device);
  ~Cuda();
  Cuda(const Cuda&) = delete;
  Cuda& operator=(const Cuda&) = delete;

  void* stream() const { return stream_; }
  void upload(void* device, const void* host, std::size_t bytes);
  void download(void* host, const void* device, std::size_t bytes);
  void upload_beside(void* device, const void* host, std::size_t bytes);
  void join_uploads();
  void synchronize();
  CudaGraph capture(FunctionRef<void()> body);
  // `current` is the context's stream, exchanged while the body of the loop is captured
  CudaGraph capture_loop(FunctionRef<void()> before, FunctionRef<void()> body,
                         FunctionRef<void()> after, const i32* keep_going, void*& current);
  void replay(const CudaGraph& graph);

 private:
  int device_ = 0;
  void* stream_ = nullptr;
  void* side_stream_ = nullptr;  // captures bodies of loops
  void* copy_stream_ = nullptr;  // of uploads beside the work
  void* copied_ = nullptr;       // the event behind the last of them
  bool capturing_ = false;
};

}  // namespace orrery

#endif
