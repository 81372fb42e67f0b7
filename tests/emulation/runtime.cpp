#include "runtime.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "cuda.h"

namespace emulation {

namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local int chosen_device = 0;
thread_local int lock_holds = 0;
thread_local char this_thread;  // its address tells host threads apart

struct Faults {
  cudaError_t lost = cudaSuccess;  // stays
  cudaError_t next = cudaSuccess, kernel = cudaSuccess;
  int calls_before = 0, kernels_before = 0;
};
Faults faults;

int device_count() {
  const char* given = std::getenv("ORRERY_EMULATED_DEVICES");
  return given == nullptr ? 1 : std::atoi(given);
}

CUstream_st& default_stream() {
  static CUstream_st stream;
  return stream;
}

bool streams_are_late() {
  const char* given = std::getenv("ORRERY_EMULATED_STREAMS");
  return given != nullptr && std::strcmp(given, "late") == 0;
}

std::vector<std::shared_ptr<Capture>> captures_in_progress() {
  std::vector<std::shared_ptr<Capture>> all;
  for (CUstream_st* stream : streams()) {
    if (stream->capture != nullptr) all.push_back(stream->capture);
  }
  return all;
}

}  // namespace

Lock& lock() {
  static Lock one;
  return one;
}

void Lock::lock() {
  mutex_.lock();
  ++lock_holds;
}

void Lock::unlock() {
  --lock_holds;
  mutex_.unlock();
}

int Lock::release() {
  const int holds = lock_holds;
  for (int i = 0; i < holds; ++i) unlock();
  return holds;
}

void Lock::take_back(int holds) {
  for (int i = 0; i < holds; ++i) lock();
}

Call::Call(bool device) : hold_(lock()) {
  if (!device) return;
  if (faults.lost != cudaSuccess) {
    status_ = faults.lost;
  } else if (faults.next != cudaSuccess && faults.calls_before-- <= 0) {
    status_ = std::exchange(faults.next, cudaSuccess);
    if (is_lasting(status_)) faults.lost = status_;
  } else if (device_count() == 0) {
    status_ = cudaErrorNoDevice;
  }
}

cudaError_t Call::done(cudaError_t status) const {
  if (status != cudaSuccess && status != cudaErrorNotReady) last_error = status;
  return status;
}

cudaError_t lost_error() { return faults.lost; }
void lose_device(cudaError_t error) { faults.lost = error; }

bool is_lasting(cudaError_t error) {
  return error == cudaErrorIllegalAddress || error == cudaErrorLaunchFailure ||
         error == cudaErrorLaunchTimeout || error == cudaErrorECCUncorrectable;
}

bool kernel_shall_fail() {
  if (faults.lost != cudaSuccess) return true;
  if (faults.kernel == cudaSuccess || faults.kernels_before-- > 0) return false;
  faults.lost = std::exchange(faults.kernel, cudaSuccess);
  return true;
}

void fail_next(cudaError_t error, int after) {
  const std::lock_guard<Lock> hold(lock());
  faults.next = error;
  faults.calls_before = after;
}

void fail_kernel(cudaError_t error, int after) {
  const std::lock_guard<Lock> hold(lock());
  faults.kernel = error;
  faults.kernels_before = after;
}

void reset() {
  const std::lock_guard<Lock> hold(lock());
  faults = {};
  last_error = cudaSuccess;
}

std::vector<CUstream_st*>& streams() {
  static std::vector<CUstream_st*> all = {&default_stream()};
  return all;
}

CUstream_st& stream_of(cudaStream_t stream) {
  return stream == nullptr ? default_stream() : *stream;
}

bool known(cudaStream_t stream) {
  const auto& all = streams();
  return stream == nullptr || std::find(all.begin(), all.end(), stream) != all.end();
}

namespace {

// does work in the stream's name, unless another thread is at it
class Working {
 public:
  explicit Working(CUstream_st& stream) : stream_(stream), outer_(stream.worker) {
    may_ = outer_ == nullptr || outer_ == &this_thread;
    if (may_) stream.worker = &this_thread;
  }
  ~Working() {
    if (may_) stream_.worker = outer_;
  }
  Working(const Working&) = delete;
  Working& operator=(const Working&) = delete;
  bool may() const { return may_; }

 private:
  CUstream_st& stream_;
  const void* outer_;
  bool may_;
};

}  // namespace

void drain(CUstream_st& stream) {
  const Working working(stream);
  while (working.may() && !stream.queue.empty()) {
    const auto work = std::move(stream.queue.front());
    stream.queue.pop_front();
    work();
  }
}

void drain_blocking() {
  const auto all = streams();  // work that waits aside lets others make and destroy streams
  for (CUstream_st* stream : all) {
    if (known(stream) && stream->blocking) drain(*stream);
  }
}

void drain_all() {
  const auto all = streams();
  for (CUstream_st* stream : all) {
    // the default stream is one for all devices here
    const bool here = stream == &default_stream() || stream->device == chosen_device;
    if (known(stream) && here) drain(*stream);
  }
}

int current_device() { return chosen_device; }

cudaError_t submit(cudaStream_t stream, cudaGraphNodeType type, std::function<void()> work,
                   bool touches_pageable) {
  if (const auto status = implicit_in_capture(stream)) return status;
  CUstream_st& queue = stream_of(stream);
  if (queue.capture != nullptr) {
    if (queue.capture->invalid) return cudaErrorStreamCaptureInvalidated;
    auto node = std::make_shared<CUgraphNode_st>();
    node->type = type;
    node->work = std::move(work);
    node->touches_pageable = touches_pageable;
    node->after.assign(queue.tail.begin(), queue.tail.end());
    queue.tail = {node.get()};
    queue.capture->graph->nodes.push_back(std::move(node));
    return cudaSuccess;
  }
  // the default stream and the blocking ones wait for each other
  if (stream == nullptr) {
    drain_blocking();
  } else if (queue.blocking) {
    drain(default_stream());
  }
  if (streams_are_late()) {
    queue.queue.push_back(std::move(work));
  } else {
    drain(queue);
    const Working working(queue);
    work();
  }
  return cudaSuccess;
}

cudaError_t forbidden_in_capture(cudaStream_t stream) {
  CUstream_st& queue = stream_of(stream);
  if (queue.capture == nullptr) return cudaSuccess;
  queue.capture->invalid = true;
  return cudaErrorStreamCaptureUnsupported;
}

cudaError_t implicit_in_capture(cudaStream_t stream) {
  if (stream != nullptr) return cudaSuccess;
  for (const auto& capture : captures_in_progress()) {
    if (!capture->origin->blocking) continue;
    capture->invalid = true;
    return cudaErrorStreamCaptureImplicit;
  }
  return cudaSuccess;
}

}  // namespace emulation

using emulation::Call;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define EMULATED_NAME(name) \
  case name:                \
    return #name;
    EMULATED_NAME(cudaSuccess)
    EMULATED_NAME(cudaErrorInvalidValue)
    EMULATED_NAME(cudaErrorMemoryAllocation)
    EMULATED_NAME(cudaErrorInitializationError)
    EMULATED_NAME(cudaErrorInvalidConfiguration)
    EMULATED_NAME(cudaErrorInvalidMemcpyDirection)
    EMULATED_NAME(cudaErrorInsufficientDriver)
    EMULATED_NAME(cudaErrorDevicesUnavailable)
    EMULATED_NAME(cudaErrorInvalidDeviceFunction)
    EMULATED_NAME(cudaErrorNoDevice)
    EMULATED_NAME(cudaErrorInvalidDevice)
    EMULATED_NAME(cudaErrorNoKernelImageForDevice)
    EMULATED_NAME(cudaErrorECCUncorrectable)
    EMULATED_NAME(cudaErrorUnsupportedPtxVersion)
    EMULATED_NAME(cudaErrorInvalidResourceHandle)
    EMULATED_NAME(cudaErrorIllegalState)
    EMULATED_NAME(cudaErrorNotReady)
    EMULATED_NAME(cudaErrorIllegalAddress)
    EMULATED_NAME(cudaErrorLaunchOutOfResources)
    EMULATED_NAME(cudaErrorLaunchTimeout)
    EMULATED_NAME(cudaErrorLaunchFailure)
    EMULATED_NAME(cudaErrorNotSupported)
    EMULATED_NAME(cudaErrorStreamCaptureUnsupported)
    EMULATED_NAME(cudaErrorStreamCaptureInvalidated)
    EMULATED_NAME(cudaErrorStreamCaptureMerge)
    EMULATED_NAME(cudaErrorStreamCaptureUnmatched)
    EMULATED_NAME(cudaErrorStreamCaptureUnjoined)
    EMULATED_NAME(cudaErrorStreamCaptureIsolation)
    EMULATED_NAME(cudaErrorStreamCaptureImplicit)
    EMULATED_NAME(cudaErrorCapturedEvent)
    EMULATED_NAME(cudaErrorUnknown)
#undef EMULATED_NAME
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    default:
      return cudaGetErrorName(error);
  }
}

cudaError_t cudaGetLastError() {
  const Call call(false);
  const cudaError_t error = std::exchange(emulation::last_error, cudaSuccess);
  return emulation::lost_error() != cudaSuccess ? emulation::lost_error() : error;
}

cudaError_t cudaPeekAtLastError() {
  const Call call(false);
  return emulation::lost_error() != cudaSuccess ? emulation::lost_error() : emulation::last_error;
}

// devices

cudaError_t cudaGetDeviceCount(int* count) {
  const Call call;
  *count = call.status() == cudaSuccess ? emulation::device_count() : 0;
  return call.done(call.status());
}

cudaError_t cudaSetDevice(int device) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (device < 0 || device >= emulation::device_count()) return call.done(cudaErrorInvalidDevice);
  emulation::chosen_device = device;
  return call.done(cudaSuccess);
}

cudaError_t cudaGetDevice(int* device) {
  const Call call;
  *device = emulation::chosen_device;
  return call.done(call.status());
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (device < 0 || device >= emulation::device_count()) return call.done(cudaErrorInvalidDevice);
  *properties = {};
  std::strcpy(properties->name, "host emulation");
  std::size_t free_bytes = 0;
  cudaMemGetInfo(&free_bytes, &properties->totalGlobalMem);
  properties->sharedMemPerBlock = emulation::kSharedAlways;
  properties->sharedMemPerBlockOptin = emulation::kSharedOptin;
  properties->sharedMemPerMultiprocessor = 228 * 1024;
  properties->reservedSharedMemPerBlock = 1024;
  properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
  properties->maxThreadsDim[2] = 64;
  properties->maxGridSize[0] = 0x7fffffff;
  properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
  properties->major = 9;
  properties->multiProcessorCount = emulation::kMultiprocessors;
  properties->unifiedAddressing = 1;
  properties->l2CacheSize = 4 << 20;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->maxBlocksPerMultiProcessor = 32;
  return call.done(cudaSuccess);
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp facts;
  if (const auto status = cudaGetDeviceProperties(&facts, device)) return status;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = facts.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(facts.sharedMemPerBlock);
      break;
    case cudaDevAttrWarpSize:
      *value = facts.warpSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = facts.multiProcessorCount;
      break;
    case cudaDevAttrL2CacheSize:
      *value = facts.l2CacheSize;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = facts.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = facts.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = facts.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(facts.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(facts.sharedMemPerBlockOptin);
      break;
    default:
      *value = 0;
      break;  // clocks and buses: there are none
  }
  return cudaSuccess;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned version,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  constexpr unsigned kFirstVersion = 12000;
  auto found = cudaDriverEntryPointSuccess;
  if (std::strcmp(symbol, "cuTensorMapEncodeTiled") != 0) {
    found = cudaDriverEntryPointSymbolNotFound;
  } else if (version < kFirstVersion) {
    found = cudaDriverEntryPointVersionNotSufficent;
  }
  *function = found == cudaDriverEntryPointSuccess
                  ? reinterpret_cast<void*>(&emulation::encode_tiled)
                  : nullptr;
  if (result != nullptr) *result = found;
  return call.done(cudaSuccess);
}

cudaError_t cudaDeviceGetPCIBusId(char* id, int length, int device) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (length < 13) return call.done(cudaErrorInvalidValue);
  if (device < 0 || device >= emulation::device_count()) return call.done(cudaErrorInvalidDevice);
  std::snprintf(id, static_cast<std::size_t>(length), "0000:%02x:00.0", device & 0xff);
  return call.done(cudaSuccess);
}

cudaError_t cudaDeviceSynchronize() {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (const auto status = emulation::forbidden_in_capture()) return call.done(status);
  emulation::drain_all();
  return call.done(emulation::lost_error());
}

cudaError_t cudaDeviceReset() {
  emulation::reset();
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  const Call call(false);
  *version = emulation::device_count() == 0 ? 0 : CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  const Call call(false);
  *version = CUDART_VERSION;
  return cudaSuccess;
}

// streams

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  auto* made = new CUstream_st;
  made->blocking = (flags & cudaStreamNonBlocking) == 0;
  made->device = emulation::current_device();
  emulation::streams().push_back(made);
  *stream = made;
  return call.done(cudaSuccess);
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Call call(false);
  auto& all = emulation::streams();
  const auto found = std::find(all.begin(), all.end(), stream);
  if (stream == nullptr || found == all.end()) return call.done(cudaErrorInvalidResourceHandle);
  emulation::drain(*stream);
  all.erase(found);
  delete stream;
  return call.done(emulation::lost_error());
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (!emulation::known(stream)) return call.done(cudaErrorInvalidResourceHandle);
  if (const auto status = emulation::forbidden_in_capture(stream)) return call.done(status);
  if (const auto status = emulation::implicit_in_capture(stream)) return call.done(status);
  if (stream == nullptr) {
    emulation::drain_blocking();
  } else {
    emulation::drain(*stream);
  }
  return call.done(emulation::lost_error());
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (!emulation::known(stream)) return call.done(cudaErrorInvalidResourceHandle);
  if (const auto status = emulation::forbidden_in_capture(stream)) return call.done(status);
  // asked once it is not ready yet, asked again it is
  const bool ready = emulation::stream_of(stream).queue.empty();
  emulation::drain(emulation::stream_of(stream));
  return call.done(ready ? emulation::lost_error() : cudaErrorNotReady);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (!emulation::known(stream)) return call.done(cudaErrorInvalidResourceHandle);
  return call.done(emulation::submit(stream, cudaGraphNodeTypeHost, [=] {
    const emulation::Aside aside;  // it may wait for other threads of the host
    function(data);
  }));
}

// events

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  *event = new CUevent_st;
  (*event)->timed = (flags & cudaEventDisableTiming) == 0;
  return call.done(cudaSuccess);
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (event == nullptr || !emulation::known(stream)) {
    return call.done(cudaErrorInvalidResourceHandle);
  }
  CUstream_st& queue = emulation::stream_of(stream);
  event->recorded = true;
  event->capture = queue.capture;
  event->tail = queue.tail;
  event->stream = stream;
  if (queue.capture != nullptr) return call.done(cudaSuccess);
  event->pending = true;
  return call.done(emulation::submit(stream, cudaGraphNodeTypeEventRecord, [event] {
    event->pending = false;
    event->when = std::chrono::steady_clock::now();
  }));
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (event == nullptr || !emulation::known(stream)) {
    return call.done(cudaErrorInvalidResourceHandle);
  }
  CUstream_st& queue = emulation::stream_of(stream);
  if (event->capture != nullptr) {
    // the stream joins the capture that the event belongs to
    if (queue.capture != nullptr && queue.capture != event->capture) {
      return call.done(cudaErrorStreamCaptureMerge);
    }
    queue.capture = event->capture;
    for (CUgraphNode_st* node : event->tail) {
      if (std::find(queue.tail.begin(), queue.tail.end(), node) == queue.tail.end()) {
        queue.tail.push_back(node);
      }
    }
    return call.done(cudaSuccess);
  }
  if (event->pending && event->stream != stream) {
    emulation::drain(emulation::stream_of(event->stream));
  }
  return call.done(cudaSuccess);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (event == nullptr) return call.done(cudaErrorInvalidResourceHandle);
  if (event->capture != nullptr) return call.done(cudaErrorCapturedEvent);
  if (event->pending) emulation::drain(emulation::stream_of(event->stream));
  return call.done(emulation::lost_error());
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (event == nullptr) return call.done(cudaErrorInvalidResourceHandle);
  if (event->capture != nullptr) return call.done(cudaErrorCapturedEvent);
  if (!event->pending) return call.done(cudaSuccess);
  emulation::drain(emulation::stream_of(event->stream));
  return call.done(cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (start == nullptr || end == nullptr || !start->recorded || !end->recorded || !start->timed ||
      !end->timed) {
    return call.done(cudaErrorInvalidResourceHandle);
  }
  if (start->pending || end->pending) return call.done(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(end->when - start->when).count();
  return call.done(cudaSuccess);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Call call(false);
  if (event == nullptr) return call.done(cudaErrorInvalidResourceHandle);
  if (event->pending) emulation::drain(emulation::stream_of(event->stream));
  delete event;
  return call.done(cudaSuccess);
}
