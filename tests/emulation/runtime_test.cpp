// The emulated runtime: memory, streams, capture, loops on the device, errors.

#include <string>

#include "launching.h"

namespace emulation {
namespace {

__global__ void add_kernel(int* x, int amount) {
  if (threadIdx.x == 0) x[blockIdx.x] += amount;
}
__global__ void count_down(cudaGraphConditionalHandle handle, int* left) {
  if (threadIdx.x == 0) *left -= 1;
  cudaGraphSetConditional(handle, *left > 0 ? 1u : 0u);
}
__global__ void ask(cudaGraphConditionalHandle handle, const int* value) {
  cudaGraphSetConditional(handle, static_cast<unsigned>(*value));
}

class Stream {
 public:
  explicit Stream(unsigned flags = cudaStreamNonBlocking) {
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, flags), cudaSuccess);
  }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// a captured graph, ready to be launched
class Executable {
 public:
  explicit Executable(cudaGraph_t graph) {
    EXPECT_EQ(cudaGraphInstantiate(&executable_, graph, 0), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  }
  ~Executable() { cudaGraphExecDestroy(executable_); }
  Executable(const Executable&) = delete;
  Executable& operator=(const Executable&) = delete;
  operator cudaGraphExec_t() const { return executable_; }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

TEST(Memory, IsCountedAndRunsOut) {
  const Set set("ORRERY_EMULATED_MEMORY", "10000");
  const std::size_t before = allocated_bytes();
  ASSERT_EQ(before, 0u);
  void* first = nullptr;
  void* second = nullptr;
  ASSERT_EQ(cudaMalloc(&first, 6000), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&second, 6000), cudaErrorMemoryAllocation);
  EXPECT_EQ(second, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  std::size_t free_bytes = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
  EXPECT_EQ(free_bytes, 4000u);
  EXPECT_EQ(total, 10000u);
  EXPECT_EQ(cudaFree(first), cudaSuccess);
  EXPECT_EQ(cudaFree(first), cudaErrorInvalidValue);  // twice
  EXPECT_EQ(allocated_bytes(), 0u);
  cudaGetLastError();
}

TEST(Memory, CopiesStayWithinAllocations) {
  const OnDevice<int> x(std::vector<int>({1, 2, 3, 4, 5, 6}));
  std::vector<int> host(6);
  EXPECT_EQ(cudaMemcpy(host.data(), x.data(), 28, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(x.data(), host.data(), 24, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(x.data() + 2, 0, 20), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(host.data(), 0, 4), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(x.data() + 4, 0, 8), cudaSuccess);
  // the second column of [3, 2]
  EXPECT_EQ(cudaMemcpy2D(host.data(), 4, x.data() + 1, 8, 4, 3, cudaMemcpyDeviceToHost),
            cudaSuccess);
  EXPECT_EQ(host[0], 2);
  EXPECT_EQ(host[1], 4);
  EXPECT_EQ(host[2], 0);
  cudaGetLastError();
}

TEST(Streams, LateOnesShowAMissingWait) {
  const Set set("ORRERY_EMULATED_STREAMS", "late");
  const Stream stream;
  const OnDevice<int> x(std::vector<int>(1, 0));
  int* host = nullptr;
  ASSERT_EQ(cudaMallocHost(&host, sizeof(int)), cudaSuccess);
  *host = -1;
  ASSERT_EQ(run({1, 1, 0, stream}, add_kernel, x.data(), 5), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(host, x.data(), sizeof(int), cudaMemcpyDeviceToHost, stream),
            cudaSuccess);
  EXPECT_EQ(*host, -1);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(*host, 5);
  // into an ordinary page the copy is done when the call returns
  int page = 0;
  ASSERT_EQ(cudaMemcpyAsync(&page, x.data(), sizeof(int), cudaMemcpyDeviceToHost, stream),
            cudaSuccess);
  EXPECT_EQ(page, 5);
  cudaFreeHost(host);
}

TEST(Streams, EventsOrderThemAndTellTime) {
  const Set set("ORRERY_EMULATED_STREAMS", "late");
  const Stream first, second;
  const OnDevice<int> x(std::vector<int>(1, 1));
  cudaEvent_t start, done;
  cudaEventCreate(&start);
  cudaEventCreate(&done);
  cudaEventRecord(start, first);
  run({1, 1, 0, first}, add_kernel, x.data(), 1);
  EXPECT_EQ(cudaEventRecord(done, first), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(second, done), cudaSuccess);
  int* host = nullptr;
  ASSERT_EQ(cudaMallocHost(&host, sizeof(int)), cudaSuccess);
  cudaMemcpyAsync(host, x.data(), sizeof(int), cudaMemcpyDeviceToHost, second);
  cudaStreamSynchronize(second);
  EXPECT_EQ(*host, 2);
  float elapsed = -1;
  EXPECT_EQ(cudaEventElapsedTime(&elapsed, start, done), cudaSuccess);
  EXPECT_GE(elapsed, 0.0f);
  cudaEventDestroy(start);
  cudaEventDestroy(done);
  cudaFreeHost(host);
}

TEST(Capture, KeepsWorkWithTheArgumentsItHad) {
  const Stream stream;
  const OnDevice<int> x(std::vector<int>(2, 0));
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  int amount = 3;
  ASSERT_EQ(run({2, 32, 0, stream}, add_kernel, x.data(), amount), cudaSuccess);
  amount = 1000;
  ASSERT_EQ(cudaMemsetAsync(x.data() + 1, 0, sizeof(int), stream), cudaSuccess);
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(x.values(), std::vector<int>({0, 0}));
  const Executable executable(graph);
  for (int i = 0; i < 4; ++i) ASSERT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(x.values(), std::vector<int>({12, 0}));
}

TEST(Capture, ForbidsWhatWaits) {
  const Stream stream;
  const OnDevice<int> x(std::vector<int>(1, 0));
  int page = 0;
  void* memory = nullptr;
  const std::vector<std::function<cudaError_t()>> calls = {
      [&] { return cudaMalloc(&memory, 16); },
      [&] { return cudaMemcpy(&page, x.data(), 4, cudaMemcpyDeviceToHost); },
      [&] { return cudaMemcpyAsync(&page, x.data(), 4, cudaMemcpyDeviceToHost, stream); },
      [&] { return cudaStreamSynchronize(stream); },
      [&] { return cudaStreamQuery(stream); },
      [&] { return cudaDeviceSynchronize(); },
  };
  for (const auto& call : calls) {
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    EXPECT_EQ(call(), cudaErrorStreamCaptureUnsupported);
    EXPECT_EQ(run({1, 1, 0, stream}, add_kernel, x.data(), 1), cudaErrorStreamCaptureInvalidated);
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
  }
  // in relaxed mode memory may be taken
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&memory, 16), cudaSuccess);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  cudaGraphDestroy(graph);
  cudaFree(memory);
  cudaGetLastError();
}

TEST(Capture, OtherStreamsJoinByEvents) {
  for (const char* order : kOrders) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    const Stream stream, side;
    const OnDevice<int> x(std::vector<int>(1, 0));
    cudaEvent_t forked, joined;
    cudaEventCreate(&forked);
    cudaEventCreate(&joined);
    for (const bool join : {true, false}) {
      ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
      run({1, 1, 0, stream}, add_kernel, x.data(), 1);
      cudaEventRecord(forked, stream);
      cudaStreamWaitEvent(side, forked);
      run({1, 1, 0, side}, add_kernel, x.data(), 10);
      cudaEventRecord(joined, side);
      if (join) cudaStreamWaitEvent(stream, joined);
      cudaGraph_t graph = nullptr;
      EXPECT_EQ(cudaStreamEndCapture(stream, &graph),
                join ? cudaSuccess : cudaErrorStreamCaptureUnjoined);
      if (!join) continue;
      const Executable executable(graph);
      cudaGraphLaunch(executable, stream);
      cudaStreamSynchronize(stream);
      EXPECT_EQ(x.values()[0], 11);
    }
    cudaEventDestroy(forked);
    cudaEventDestroy(joined);
    cudaGetLastError();
  }
}

struct CapturePlace {
  cudaGraph_t graph = nullptr;
  const cudaGraphNode_t* dependencies = nullptr;
  const cudaGraphEdgeData* edges = nullptr;
  std::size_t count = 0;
};
CapturePlace place_of(cudaStream_t stream) {
  CapturePlace place;
  cudaStreamCaptureStatus status;
  EXPECT_EQ(cudaStreamGetCaptureInfo(stream, &status, nullptr, &place.graph, &place.dependencies,
                                     &place.edges, &place.count),
            cudaSuccess);
  EXPECT_EQ(status, cudaStreamCaptureStatusActive);
  return place;
}

// Adds a conditional node behind what the stream has captured, and its body.
template <typename Body>
void capture_conditional(cudaStream_t stream, cudaGraphConditionalNodeType type, unsigned bodies,
                         cudaGraphConditionalHandle handle, Body body) {
  cudaGraphNodeParams parameters = {};
  parameters.type = cudaGraphNodeTypeConditional;
  parameters.conditional.handle = handle;
  parameters.conditional.type = type;
  parameters.conditional.size = bodies;
  const CapturePlace here = place_of(stream);
  cudaGraphNode_t node = nullptr;
  ASSERT_EQ(
      cudaGraphAddNode(&node, here.graph, here.dependencies, here.edges, here.count, &parameters),
      cudaSuccess);
  ASSERT_EQ(cudaStreamUpdateCaptureDependencies(stream, &node, nullptr, 1,
                                                cudaStreamSetCaptureDependencies),
            cudaSuccess);
  for (unsigned i = 0; i < bodies; ++i) {
    const Stream side;
    ASSERT_EQ(cudaStreamBeginCaptureToGraph(side, parameters.conditional.phGraph_out[i], nullptr,
                                            nullptr, 0, cudaStreamCaptureModeThreadLocal),
              cudaSuccess);
    body(side, i);
    cudaGraph_t inner = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(side, &inner), cudaSuccess);
    EXPECT_EQ(inner, parameters.conditional.phGraph_out[i]);
  }
}

TEST(Capture, LoopsOnTheDevice) {
  for (const char* order : kOrders) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    const Stream stream;
    const OnDevice<int> left(std::vector<int>(1, 0)), rounds(std::vector<int>(1, 0));
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    run({1, 1, 0, stream}, add_kernel, rounds.data(), 100);
    cudaGraphConditionalHandle handle = 0;
    ASSERT_EQ(cudaGraphConditionalHandleCreate(&handle, place_of(stream).graph, 0, 0), cudaSuccess);
    run({1, 1, 0, stream}, ask, handle, left.data());
    capture_conditional(stream, cudaGraphCondTypeWhile, 1, handle,
                        [&](cudaStream_t side, unsigned) {
                          run({1, 1, 0, side}, add_kernel, rounds.data(), 1);
                          run({1, 1, 0, side}, count_down, handle, left.data());
                        });
    run({1, 1, 0, stream}, add_kernel, rounds.data(), 1000);
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    const Executable executable(graph);
    int expected = 0;
    for (const int count : {3, 0, 7}) {
      cudaMemcpy(left.data(), &count, sizeof count, cudaMemcpyHostToDevice);
      ASSERT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
      ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
      expected += 1100 + count;
      EXPECT_EQ(rounds.values()[0], expected) << order;
    }
  }
}

TEST(Capture, ChoosesOnTheDevice) {
  const Stream stream;
  const OnDevice<int> value(std::vector<int>(1, 0)), x(std::vector<int>(1, 0));
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  cudaGraphConditionalHandle handle = 0;
  cudaGraphConditionalHandleCreate(&handle, place_of(stream).graph, 0, cudaGraphCondAssignDefault);
  run({1, 1, 0, stream}, ask, handle, value.data());
  capture_conditional(stream, cudaGraphCondTypeIf, 2, handle, [&](cudaStream_t side, unsigned i) {
    run({1, 1, 0, side}, add_kernel, x.data(), i == 0 ? 1 : 10);
  });
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  const Executable executable(graph);
  cudaGraphLaunch(executable, stream);
  const int yes = 1;
  cudaMemcpy(value.data(), &yes, sizeof yes, cudaMemcpyHostToDevice);
  cudaGraphLaunch(executable, stream);
  cudaStreamSynchronize(stream);
  EXPECT_EQ(x.values()[0], 11);
}

// A node that nothing orders may run before what it needs: one of the orders shows it.
TEST(Capture, MissingEdgesShow) {
  std::vector<int> results;
  for (const char* order : {"forward", "reverse"}) {
    const Set set("ORRERY_EMULATED_ORDER", order);
    const Stream stream;
    const OnDevice<int> x(std::vector<int>(1, 0));
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    run({1, 1, 0, stream}, add_kernel, x.data(), 1);
    cudaStreamUpdateCaptureDependencies(stream, nullptr, nullptr, 0,
                                        cudaStreamSetCaptureDependencies);
    cudaMemsetAsync(x.data(), 0, sizeof(int), stream);
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    const Executable executable(graph);
    cudaGraphLaunch(executable, stream);
    cudaStreamSynchronize(stream);
    results.push_back(x.values()[0]);
  }
  EXPECT_EQ(results, std::vector<int>({0, 1}));
}

TEST(Errors, InjectedOnesComeOnceOrStay) {
  fail_next(cudaErrorMemoryAllocation, 1);
  void* memory = nullptr;
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&memory, 4), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMalloc(&memory, 4), cudaSuccess);

  fail_next(cudaErrorIllegalAddress);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaMemset(memory, 0, 4), cudaErrorIllegalAddress);
  reset();
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
}

TEST(Errors, AKernelsComesWithTheWait) {
  const Stream stream;
  const OnDevice<int> x(std::vector<int>(1, 0));
  fail_kernel(cudaErrorIllegalAddress, 1);
  EXPECT_EQ(run({1, 1, 0, stream}, add_kernel, x.data(), 1), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(run({1, 1, 0, stream}, add_kernel, x.data(), 1), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
  EXPECT_EQ(run({1, 1, 0, stream}, add_kernel, x.data(), 1), cudaErrorIllegalAddress);
  reset();
  EXPECT_EQ(x.values()[0], 1);
}

TEST(Errors, WithoutADevice) {
  const Set set("ORRERY_EMULATED_DEVICES", "0");
  int count = -1;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  EXPECT_EQ(count, 0);
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 4), cudaErrorNoDevice);
  EXPECT_STREQ(cudaGetErrorName(cudaGetLastError()), "cudaErrorNoDevice");
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST(Device, SaysWhatItIs) {
  int count = 0, device = -1, value = 0;
  ASSERT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 1);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  cudaGetLastError();
  EXPECT_EQ(cudaGetDevice(&device), cudaSuccess);
  EXPECT_EQ(device, 0);
  cudaDeviceProp facts;
  ASSERT_EQ(cudaGetDeviceProperties(&facts, 0), cudaSuccess);
  EXPECT_STREQ(facts.name, "host emulation");
  EXPECT_EQ(facts.major, 9);
  cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0);
  EXPECT_EQ(value, 4);
  int blocks = 0;
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add_kernel, 256, 32 * 1024);
  EXPECT_EQ(blocks, 6);
}

}  // namespace
}  // namespace emulation
