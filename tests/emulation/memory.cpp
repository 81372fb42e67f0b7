#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "fiber.h"
#include "runtime.h"

namespace emulation {

namespace {

// between what is allocated: never to be touched
constexpr std::size_t kRedZone = 256;  // also the alignment that cudaMalloc promises
// what a byte of new memory holds: floats read as NaN
constexpr int kGarbage = 0xff;
constexpr std::size_t kTotalBytes = std::size_t{8} << 30;

struct Allocation {
  std::size_t bytes = 0;
  Where where = Where::device;
  void* block = nullptr;  // what the host gave; null when it was the caller's own
};

using Allocations = std::map<std::uintptr_t, Allocation>;

Allocations& allocations() {
  static Allocations all;
  return all;
}

std::size_t used_bytes = 0;
int turns = 0;  // DeviceTurns that live

std::size_t total_bytes() {
  if (const char* given = std::getenv("ORRERY_EMULATED_MEMORY")) {
    return std::strtoull(given, nullptr, 10);
  }
  return kTotalBytes;
}

void poison([[maybe_unused]] std::uintptr_t begin, [[maybe_unused]] std::size_t bytes) {
#if defined(EMULATION_ASAN)
  __asan_poison_memory_region(reinterpret_cast<void*>(begin), bytes);
#endif
}
void unpoison([[maybe_unused]] std::uintptr_t begin, [[maybe_unused]] std::size_t bytes) {
#if defined(EMULATION_ASAN)
  __asan_unpoison_memory_region(reinterpret_cast<void*>(begin), bytes);
#endif
}

Allocations::const_iterator allocation_of(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  auto next = allocations().upper_bound(address);
  if (next == allocations().begin()) return allocations().end();
  --next;
  // a pointer to the very end is one, too: views of nothing have it
  if (address - next->first > next->second.bytes) return allocations().end();
  return next;
}

cudaError_t allocate(void** pointer, std::size_t bytes, Where where) {
  if (pointer == nullptr) return cudaErrorInvalidValue;
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (where == Where::device && (bytes > total_bytes() || used_bytes > total_bytes() - bytes)) {
    return cudaErrorMemoryAllocation;
  }
  void* block = nullptr;
  if (posix_memalign(&block, kRedZone, bytes + 2 * kRedZone) != 0) {
    return cudaErrorMemoryAllocation;
  }
  const auto begin = reinterpret_cast<std::uintptr_t>(block) + kRedZone;
  std::memset(reinterpret_cast<void*>(begin), kGarbage, bytes);
  poison(begin - kRedZone, kRedZone);
  poison(begin + bytes, kRedZone);
  if (where == Where::device) {
    used_bytes += bytes;
    if (turns == 0) poison(begin, bytes);
  }
  allocations()[begin] = {bytes, where, block};
  *pointer = reinterpret_cast<void*>(begin);
  return cudaSuccess;
}

cudaError_t give_back(void* pointer, Where where) {
  if (pointer == nullptr) return cudaSuccess;
  const auto found = allocations().find(reinterpret_cast<std::uintptr_t>(pointer));
  if (found == allocations().end() || found->second.where != where ||
      found->second.block == nullptr) {
    return cudaErrorInvalidValue;
  }
  unpoison(found->first - kRedZone, found->second.bytes + 2 * kRedZone);
  if (where == Where::device) used_bytes -= found->second.bytes;
  std::free(found->second.block);
  allocations().erase(found);
  return cudaSuccess;
}

struct Rows {
  void* to;
  std::size_t to_pitch;
  const void* from;
  std::size_t from_pitch;
  std::size_t width, height;

  std::size_t extent(std::size_t pitch) const {
    return height == 0 || width == 0 ? 0 : (height - 1) * pitch + width;
  }
  void copy() const {
    const DeviceTurn turn;
    for (std::size_t row = 0; row < height; ++row) {
      std::memcpy(static_cast<char*>(to) + row * to_pitch,
                  static_cast<const char*>(from) + row * from_pitch, width);
    }
  }
};

bool is_device(const void* pointer, std::size_t bytes) {
  return where_is(pointer, bytes) == Where::device;
}
// lies in an allocation of the device with its beginning, however far it goes
bool begins_in_device(const void* pointer) {
  const auto found = allocation_of(pointer);
  return found != allocations().end() && found->second.where == Where::device;
}

// whether both sides are what the kind says, and as long as the copy
cudaError_t check_sides(const Rows& rows, cudaMemcpyKind kind) {
  if (rows.height > 1 && (rows.to_pitch < rows.width || rows.from_pitch < rows.width)) {
    return cudaErrorInvalidValue;
  }
  const bool to_device = begins_in_device(rows.to), from_device = begins_in_device(rows.from);
  if (to_device && !is_device(rows.to, rows.extent(rows.to_pitch))) return cudaErrorInvalidValue;
  if (from_device && !is_device(rows.from, rows.extent(rows.from_pitch))) {
    return cudaErrorInvalidValue;
  }
  switch (kind) {
    case cudaMemcpyDefault:
      return cudaSuccess;
    case cudaMemcpyHostToHost:
      return to_device || from_device ? cudaErrorInvalidMemcpyDirection : cudaSuccess;
    case cudaMemcpyHostToDevice:
      return to_device && !from_device ? cudaSuccess : cudaErrorInvalidValue;
    case cudaMemcpyDeviceToHost:
      return from_device && !to_device ? cudaSuccess : cudaErrorInvalidValue;
    case cudaMemcpyDeviceToDevice:
      return to_device && from_device ? cudaSuccess : cudaErrorInvalidValue;
  }
  return cudaErrorInvalidMemcpyDirection;
}

cudaError_t copy_now(const Rows& rows, cudaMemcpyKind kind) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (const auto status = forbidden_in_capture()) return call.done(status);
  drain_blocking();
  if (lost_error() != cudaSuccess) return call.done(lost_error());
  if (rows.width * rows.height == 0) return call.done(cudaSuccess);
  if (const auto status = check_sides(rows, kind)) return call.done(status);
  rows.copy();
  return call.done(cudaSuccess);
}

// whether memory of the host is an ordinary page, which the device cannot reach by itself
bool pageable(const void* pointer, std::size_t bytes) {
  return where_is(pointer, bytes) == Where::nowhere;
}

cudaError_t copy_in_turn(const Rows& rows, cudaMemcpyKind kind, cudaStream_t stream) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (!known(stream)) return call.done(cudaErrorInvalidResourceHandle);
  if (rows.width * rows.height == 0) return call.done(cudaSuccess);
  if (const auto status = check_sides(rows, kind)) return call.done(status);
  const bool to_pageable = pageable(rows.to, rows.extent(rows.to_pitch));
  const bool from_pageable = pageable(rows.from, rows.extent(rows.from_pitch));
  CUstream_st& queue = stream_of(stream);
  // captured, such a copy would read or write whatever is there when it is replayed
  if (queue.capture != nullptr && (to_pageable || from_pageable)) {
    queue.capture->invalid = true;
    return call.done(cudaErrorStreamCaptureUnsupported);
  }
  const auto status = submit(
      stream, cudaGraphNodeTypeMemcpy, [rows] { rows.copy(); }, to_pageable);
  // an ordinary page is read before the call returns, or written
  if (queue.capture == nullptr && (to_pageable || from_pageable)) drain(queue);
  return call.done(status);
}

cudaError_t fill(void* to, int value, std::size_t bytes, cudaStream_t stream, bool now) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (!known(stream)) return call.done(cudaErrorInvalidResourceHandle);
  if (now) {
    if (const auto status = forbidden_in_capture()) return call.done(status);
  }
  if (bytes == 0) return call.done(cudaSuccess);
  if (!is_device(to, bytes)) return call.done(cudaErrorInvalidValue);
  return call.done(submit(stream, cudaGraphNodeTypeMemset, [=] {
    const DeviceTurn turn;
    std::memset(to, value, bytes);
  }));
}

}  // namespace

Where where_is(const void* pointer, std::size_t bytes) {
  const auto found = allocation_of(pointer);
  if (found == allocations().end()) return Where::nowhere;
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(pointer) - found->first;
  return bytes <= found->second.bytes - offset ? found->second.where : Where::nowhere;
}

std::size_t room_at(const void* pointer) {
  const auto found = allocation_of(pointer);
  if (found == allocations().end()) return 0;
  return found->second.bytes - (reinterpret_cast<std::uintptr_t>(pointer) - found->first);
}

std::size_t allocated_bytes() {
  const std::lock_guard<Lock> hold(lock());
  return used_bytes;
}

DeviceTurn::DeviceTurn() {
  lock().lock();
  if (turns++ > 0) return;
  for (const auto& [begin, allocation] : allocations()) {
    if (allocation.where == Where::device) unpoison(begin, allocation.bytes);
  }
}

DeviceTurn::~DeviceTurn() {
  if (--turns == 0) {
    for (const auto& [begin, allocation] : allocations()) {
      if (allocation.where == Where::device) poison(begin, allocation.bytes);
    }
  }
  lock().unlock();
}

}  // namespace emulation

using emulation::Call;

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (const auto status = emulation::forbidden_in_capture()) return call.done(status);
  return call.done(emulation::allocate(pointer, bytes, emulation::Where::device));
}

cudaError_t cudaFree(void* pointer) {
  const Call call;
  // at its end a program gives back what it has, whatever became of the device
  if (call.status() != cudaSuccess) {
    emulation::give_back(pointer, emulation::Where::device);
    return call.done(call.status());
  }
  if (pointer == nullptr) return call.done(cudaSuccess);
  if (const auto status = emulation::forbidden_in_capture()) return call.done(status);
  emulation::drain_all();
  return call.done(emulation::give_back(pointer, emulation::Where::device));
}

cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t stream) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  // captured allocations are nodes of their own; nothing here needs them
  if (const auto status = emulation::forbidden_in_capture(stream)) return call.done(status);
  return call.done(emulation::allocate(pointer, bytes, emulation::Where::device));
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (const auto status = emulation::forbidden_in_capture(stream)) return call.done(status);
  if (emulation::room_at(pointer) == 0) return call.done(cudaErrorInvalidValue);
  return call.done(emulation::submit(stream, cudaGraphNodeTypeEmpty, [pointer] {
    emulation::give_back(pointer, emulation::Where::device);
  }));
}

cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (const auto status = emulation::forbidden_in_capture()) return call.done(status);
  return call.done(emulation::allocate(pointer, bytes, emulation::Where::locked));
}

cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void* pointer) {
  const Call call;
  if (call.status() != cudaSuccess) {
    emulation::give_back(pointer, emulation::Where::locked);
    return call.done(call.status());
  }
  if (const auto status = emulation::forbidden_in_capture()) return call.done(status);
  emulation::drain_all();
  return call.done(emulation::give_back(pointer, emulation::Where::locked));
}

cudaError_t cudaHostRegister(void* pointer, std::size_t bytes, unsigned) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (pointer == nullptr || bytes == 0) return call.done(cudaErrorInvalidValue);
  emulation::allocations()[reinterpret_cast<std::uintptr_t>(pointer)] = {
      bytes, emulation::Where::locked, nullptr};
  return call.done(cudaSuccess);
}

cudaError_t cudaHostUnregister(void* pointer) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  const auto found = emulation::allocations().find(reinterpret_cast<std::uintptr_t>(pointer));
  if (found == emulation::allocations().end() || found->second.block != nullptr) {
    return call.done(cudaErrorInvalidValue);
  }
  emulation::allocations().erase(found);
  return call.done(cudaSuccess);
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  *total = emulation::total_bytes();
  *free_bytes = *total - std::min(*total, emulation::used_bytes);
  return call.done(cudaSuccess);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  void* plain = const_cast<void*>(pointer);
  switch (emulation::where_is(pointer, 0)) {
    case emulation::Where::nowhere:
      *attributes = {cudaMemoryTypeUnregistered, -1, nullptr, plain};
      break;
    case emulation::Where::locked:
      *attributes = {cudaMemoryTypeHost, 0, plain, plain};
      break;
    case emulation::Where::device:
      *attributes = {cudaMemoryTypeDevice, 0, plain, nullptr};
      break;
  }
  return call.done(cudaSuccess);
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return emulation::copy_now({to, bytes, from, bytes, bytes, 1}, kind);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return emulation::copy_in_turn({to, bytes, from, bytes, bytes, 1}, kind, stream);
}

cudaError_t cudaMemcpy2D(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                         std::size_t width, std::size_t height, cudaMemcpyKind kind) {
  return emulation::copy_now({to, to_pitch, from, from_pitch, width, height}, kind);
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                              std::size_t from_pitch, std::size_t width, std::size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  return emulation::copy_in_turn({to, to_pitch, from, from_pitch, width, height}, kind, stream);
}

// of the device's memory it is done when the default stream gets to it, as cudaMemsetAsync's is
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return emulation::fill(to, value, bytes, nullptr, true);
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  return emulation::fill(to, value, bytes, stream, false);
}
