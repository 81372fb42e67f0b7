// The CUDA side of Context: one stream, memory, captured graphs. Host code but for one kernel.

#include <cuda_runtime.h>

#include <cstdlib>
#include <cstring>

#include "base/text.h"
#include "device/context_cuda.h"
#include "device/cuda.h"

namespace orrery {

namespace {

// Ampere: the first with bf16 and asynchronous copies
constexpr int kOldestMajor = 8;

std::string version(int number) { return text(number / 1000, ".", number % 1000 / 10); }

// why a call failed, in words that say what to do where there is something to do
std::string reason_of(cudaError_t status) {
  switch (status) {
    case cudaErrorNoDevice:
      return "there is no CUDA device on this machine";
    case cudaErrorInsufficientDriver: {
      int driver = 0, runtime = 0;
      cudaDriverGetVersion(&driver);
      cudaRuntimeGetVersion(&runtime);
      if (driver == 0) return "there is no CUDA driver on this machine";
      return text("the driver supports CUDA ", version(driver), ", this build needs ",
                  version(runtime));
    }
    case cudaErrorDevicesUnavailable:
      return "the device is taken by another process (exclusive mode) or cannot be used now";
    case cudaErrorNoKernelImageForDevice:
      return "this build has no kernels for the device's architecture";
    default:
      return text(cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
  }
}

bool waits_after_each_launch() {
  static const bool wanted = [] {
    const char* given = std::getenv("ORRERY_CUDA_DEBUG");
    return given != nullptr && std::strcmp(given, "0") != 0 && *given != '\0';
  }();
  return wanted;
}

CudaFacts facts_of(int index) {
  cudaDeviceProp properties = {};
  cuda_check(cudaGetDeviceProperties(&properties, index), "reading a device's properties");
  CudaFacts facts;
  facts.name = properties.name;
  facts.major = properties.major;
  facts.minor = properties.minor;
  facts.multiprocessors = properties.multiProcessorCount;
  facts.memory_bytes = properties.totalGlobalMem;
  facts.cache_bytes = static_cast<std::size_t>(properties.l2CacheSize);
  facts.shared_bytes = properties.sharedMemPerBlockOptin;
  cudaDriverGetVersion(&facts.driver);
  cudaRuntimeGetVersion(&facts.runtime);
  return facts;
}

cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }

__global__ void set_condition_kernel(cudaGraphConditionalHandle handle, const i32* keep_going) {
  cudaGraphSetConditional(handle, *keep_going != 0 ? 1u : 0u);
}

// where the capture on a stream stands: the graph it grows and the nodes the next one depends on
struct Capture {
  cudaGraph_t graph = nullptr;
  const cudaGraphNode_t* dependencies = nullptr;
  const cudaGraphEdgeData* edges = nullptr;
  std::size_t count = 0;
};

Capture capture_of(cudaStream_t stream) {
  Capture capture;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  cuda_check(cudaStreamGetCaptureInfo(stream, &status, nullptr, &capture.graph,
                                      &capture.dependencies, &capture.edges, &capture.count),
             "capture");
  check(status == cudaStreamCaptureStatusActive, "capture: was broken off by an operation in it");
  return capture;
}

CudaGraph instantiated(cudaGraph_t graph) {
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  cuda_check(status, "making captured work executable");
  return CudaGraph(executable);
}

// Ends a capture that an exception leaves open, so that the stream can be used again.
class OpenCapture {
 public:
  explicit OpenCapture(cudaStream_t stream) : stream_(stream) {}
  ~OpenCapture() {
    if (stream_ == nullptr) return;
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(stream_, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
  }
  OpenCapture(const OpenCapture&) = delete;
  OpenCapture& operator=(const OpenCapture&) = delete;
  cudaGraph_t end() {
    cudaGraph_t graph = nullptr;
    cuda_check(cudaStreamEndCapture(std::exchange(stream_, nullptr), &graph), "capture");
    return graph;
  }

 private:
  cudaStream_t stream_;
};

// puts a value back when the scope ends
template <typename T>
class Restored {
 public:
  Restored(T& value, T meanwhile) : value_(value), kept_(std::exchange(value, meanwhile)) {}
  ~Restored() { value_ = kept_; }
  Restored(const Restored&) = delete;
  Restored& operator=(const Restored&) = delete;

 private:
  T& value_;
  T kept_;
};

}  // namespace

void cuda_check(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // an error of the call is told once; one of the device stays
  fail("CUDA: ", doing, ": ", reason_of(status));
}

void finish_launch(const Context& ctx, const char* name) {
  cuda_check(cudaGetLastError(), name);
  if (!waits_after_each_launch()) return;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  cuda_check(cudaStreamIsCapturing(stream_of(ctx), &status), name);
  if (status == cudaStreamCaptureStatusNone) {
    cuda_check(cudaStreamSynchronize(stream_of(ctx)), name);
  }
}

std::vector<CudaFacts> cuda_facts(std::string* reason) {
  if (reason != nullptr) reason->clear();
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();
    if (reason != nullptr) *reason = reason_of(status == cudaSuccess ? cudaErrorNoDevice : status);
    return {};
  }
  std::vector<CudaFacts> facts;
  for (int index = 0; index < count; ++index) facts.push_back(facts_of(index));
  if (facts.front().major < kOldestMajor) {
    if (reason != nullptr) {
      *reason = text("device 0, ", facts.front().name, ", has compute capability ",
                     facts.front().major, ".", facts.front().minor, ", 8.0 or later is needed");
    }
    return {};
  }
  return facts;
}

namespace cuda {

std::byte* allocate(int device, std::size_t bytes) {
  cuda_check(cudaSetDevice(device), "choosing a device");
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free_bytes = 0, total = 0;
    cudaMemGetInfo(&free_bytes, &total);
    fail("CUDA: out of memory: ", bytes, " bytes were asked for, ", free_bytes, " of ", total,
         " are free");
  }
  cuda_check(status, "taking memory");
  // zeroed before anybody gets it, whichever stream uses it
  const cudaError_t zeroed = cudaMemset(memory, 0, bytes);
  if (zeroed != cudaSuccess) cudaFree(memory);
  cuda_check(zeroed, "clearing memory");
  cuda_check(cudaDeviceSynchronize(), "clearing memory");
  return static_cast<std::byte*>(memory);
}

void free(std::byte* memory, int device) {
  // at the end of a process the driver may be gone already: nothing is left to give back then
  if (cudaSetDevice(device) == cudaSuccess) cudaFree(memory);
  cudaGetLastError();
}

std::byte* allocate_locked(std::size_t bytes) {
  void* memory = nullptr;
  cuda_check(cudaMallocHost(&memory, bytes), "taking page-locked memory");
  std::memset(memory, 0, bytes);
  return static_cast<std::byte*>(memory);
}

void free_locked(std::byte* memory, int) {
  cudaFreeHost(memory);
  cudaGetLastError();
}

}  // namespace cuda

CudaGraph::~CudaGraph() {
  if (executable_ != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable_));
}

Context::Cuda::Cuda(int device) : device_(device) {
  int count = 0;
  cuda_check(cudaGetDeviceCount(&count), "looking for devices");
  check(count > 0, "CUDA: looking for devices: ", reason_of(cudaErrorNoDevice));
  check(device < count, "CUDA: device ", device, " was asked for, this machine has ", count);
  const CudaFacts facts = facts_of(device);
  check(facts.major >= kOldestMajor, "CUDA: device ", device, ", ", facts.name,
        ", has compute capability ", facts.major, ".", facts.minor, ", 8.0 or later is needed");
  cuda_check(cudaSetDevice(device), "choosing a device");
  cudaStream_t stream = nullptr;
  cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  stream_ = stream;
}

Context::Cuda::~Cuda() {
  for (void* stream : {stream_, side_stream_, copy_stream_}) {
    if (stream != nullptr) cudaStreamDestroy(as_stream(stream));
  }
  if (copied_ != nullptr) cudaEventDestroy(static_cast<cudaEvent_t>(copied_));
  cudaGetLastError();
}

void Context::Cuda::upload(void* device, const void* host, std::size_t bytes) {
  if (bytes == 0) return;
  cuda_check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, as_stream(stream_)),
             "copying to the device");
}

void Context::Cuda::download(void* host, const void* device, std::size_t bytes) {
  if (bytes == 0) return;
  cuda_check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, as_stream(stream_)),
             "copying from the device");
  if (!capturing_) synchronize();
}

void Context::Cuda::upload_beside(void* device, const void* host, std::size_t bytes) {
  if (bytes == 0) return;
  if (copied_ == nullptr) {
    cudaEvent_t event = nullptr;
    cuda_check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
    copied_ = event;
    cudaStream_t stream = nullptr;
    cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    copy_stream_ = stream;
  }
  cuda_check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, as_stream(copy_stream_)),
             "copying to the device");
  cuda_check(cudaEventRecord(static_cast<cudaEvent_t>(copied_), as_stream(copy_stream_)),
             "copying to the device");
}

void Context::Cuda::join_uploads() {
  if (copied_ == nullptr) return;
  cuda_check(cudaStreamWaitEvent(as_stream(stream_), static_cast<cudaEvent_t>(copied_), 0),
             "copying to the device");
}

void Context::Cuda::synchronize() {
  cuda_check(cudaStreamSynchronize(as_stream(stream_)), "waiting for the device");
}

CudaGraph Context::Cuda::capture(FunctionRef<void()> body) {
  const Restored<bool> mark(capturing_, true);
  cuda_check(cudaStreamBeginCapture(as_stream(stream_), cudaStreamCaptureModeThreadLocal),
             "capture");
  OpenCapture open(as_stream(stream_));
  body();
  return instantiated(open.end());
}

CudaGraph Context::Cuda::capture_loop(FunctionRef<void()> before, FunctionRef<void()> body,
                                      FunctionRef<void()> after, const i32* keep_going,
                                      void*& current) {
  if (side_stream_ == nullptr) {
    cudaStream_t stream = nullptr;
    cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    side_stream_ = stream;
  }
  const cudaStream_t stream = as_stream(stream_);
  const cudaStream_t side = as_stream(side_stream_);
  const Restored<bool> mark(capturing_, true);
  const auto set_condition = [&](cudaStream_t on, cudaGraphConditionalHandle handle) {
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1);
    config.blockDim = dim3(1);
    config.stream = on;
    cuda_check(cudaLaunchKernelEx(&config, set_condition_kernel, handle, keep_going), "loop");
  };

  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  OpenCapture open(stream);
  before();

  // the loop: a node that runs its own graph while the handle's value is not 0
  cudaGraphConditionalHandle handle = {};
  cuda_check(cudaGraphConditionalHandleCreate(&handle, capture_of(stream).graph, 0, 0), "loop");
  set_condition(stream, handle);
  cudaGraphNodeParams loop = {};
  loop.type = cudaGraphNodeTypeConditional;
  loop.conditional.handle = handle;
  loop.conditional.type = cudaGraphCondTypeWhile;
  loop.conditional.size = 1;
  const Capture here = capture_of(stream);
  cudaGraphNode_t node = nullptr;
  cuda_check(cudaGraphAddNode(&node, here.graph, here.dependencies, here.edges, here.count, &loop),
             "loop");
  cuda_check(cudaStreamUpdateCaptureDependencies(stream, &node, nullptr, 1,
                                                 cudaStreamSetCaptureDependencies),
             "loop");
  {
    const Restored<void*> on_side(stream_, side_stream_);
    const Restored<void*> seen(current, side_stream_);
    cuda_check(cudaStreamBeginCaptureToGraph(side, loop.conditional.phGraph_out[0], nullptr,
                                             nullptr, 0, cudaStreamCaptureModeThreadLocal),
               "loop");
    // the inner graph belongs to the outer one: it is ended, not taken
    bool ended = false;
    try {
      body();
      set_condition(side, handle);
      cudaGraph_t inner = nullptr;
      ended = true;
      cuda_check(cudaStreamEndCapture(side, &inner), "loop");
    } catch (...) {
      cudaGraph_t inner = nullptr;
      if (!ended) cudaStreamEndCapture(side, &inner);
      cudaGetLastError();
      throw;
    }
  }

  after();
  return instantiated(open.end());
}

void Context::Cuda::replay(const CudaGraph& graph) {
  cuda_check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph.executable()), as_stream(stream_)),
             "running captured work");
}

}  // namespace orrery
