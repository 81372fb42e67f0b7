#pragma once

// What the files of the emulated runtime share: its lock, its errors, its memory, its streams.

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "emulation/host.h"

namespace emulation {

inline constexpr std::size_t kSharedAlways = 48 * 1024;  // without asking
inline constexpr std::size_t kSharedOptin = 227 * 1024;  // when asked for
inline constexpr int kMultiprocessors = 4;

// One call at a time; a call may make others.
class Lock {
 public:
  void lock();
  void unlock();
  // Gives up all holds of this thread and takes them back: for what waits for other threads.
  int release();
  void take_back(int holds);

 private:
  std::recursive_mutex mutex_;
};
Lock& lock();

// While one lives, other threads may use the interface: for work of a stream that waits for them.
class Aside {
 public:
  Aside() : holds_(lock().release()) {}
  ~Aside() { lock().take_back(holds_); }
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;

 private:
  int holds_;
};

// A call of the interface: takes the lock, and knows whether it may do anything at all.
class Call {
 public:
  // `device`: it needs one
  explicit Call(bool device = true);
  cudaError_t status() const { return status_; }
  // what the call returns: an error is kept for cudaGetLastError
  cudaError_t done(cudaError_t status) const;

 private:
  std::lock_guard<Lock> hold_;
  cudaError_t status_ = cudaSuccess;
};

// the error of a device that is lost; cudaSuccess while it is well
cudaError_t lost_error();
void lose_device(cudaError_t error);
bool is_lasting(cudaError_t error);
// whether the kernel that runs now is the one that was to fail; loses the device then
bool kernel_shall_fail();
const char* kernel_name(const void* kernel);
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// memory

enum class Where { nowhere, device, locked };
// in which allocation all of [pointer, pointer + bytes) lies
Where where_is(const void* pointer, std::size_t bytes);
// bytes from pointer to the end of its allocation; 0: in none
std::size_t room_at(const void* pointer);
// While one lives, the host may touch the device's memory (AddressSanitizer reports it else).
class DeviceTurn {
 public:
  DeviceTurn();
  ~DeviceTurn();
  DeviceTurn(const DeviceTurn&) = delete;
  DeviceTurn& operator=(const DeviceTurn&) = delete;
};

// captured work

struct Graph;
struct Node {
  cudaGraphNodeType type = cudaGraphNodeTypeEmpty;
  std::function<void()> work;
  std::vector<Node*> after;  // of the same graph
  // of conditional nodes
  cudaGraphConditionalHandle handle = 0;
  cudaGraphConditionalNodeType condition = cudaGraphCondTypeIf;
  std::vector<cudaGraph_t> bodies;
  bool touches_pageable = false;
};
struct Graph {
  std::vector<std::shared_ptr<Node>> nodes;
  std::vector<std::shared_ptr<CUgraph_st>> bodies;  // of its conditional nodes
  std::vector<cudaGraphConditionalHandle> handles;
  bool is_body = false;
};
struct Capture {
  cudaGraph_t graph = nullptr;
  cudaStream_t origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  const void* thread = nullptr;  // who began it
  bool invalid = false;
  bool to_graph = false;  // the graph was given, not made
  unsigned long long id = 0;
};

}  // namespace emulation

struct CUgraph_st : emulation::Graph {};
struct CUgraphNode_st : emulation::Node {};
struct CUstream_st {
  bool blocking = true;  // waits for the default stream, and it for this one
  int device = 0;
  const void* worker = nullptr;  // the thread that does its work now; it may be waiting aside
  std::deque<std::function<void()>> queue;
  std::shared_ptr<emulation::Capture> capture;
  std::vector<CUgraphNode_st*> tail;  // what the next captured node depends on
};
struct CUevent_st {
  bool recorded = false, timed = true;
  bool pending = false;  // recorded in a stream that has not come to it yet
  cudaStream_t stream = nullptr;
  std::chrono::steady_clock::time_point when;
  std::shared_ptr<emulation::Capture> capture;
  std::vector<CUgraphNode_st*> tail;
};

namespace emulation {

CUstream_st& stream_of(cudaStream_t stream);
bool known(cudaStream_t stream);
// Does `work` in its turn: at once, or when the stream is waited for
// (ORRERY_EMULATED_STREAMS=late), or keeps it in the graph that the stream is capturing.
cudaError_t submit(cudaStream_t stream, cudaGraphNodeType type, std::function<void()> work,
                   bool touches_pageable = false);
// Runs what waits in the stream; what waits in all that the default stream waits for, or in all of
// this thread's device. Work that another thread does just now is not waited for.
void drain(CUstream_st& stream);
void drain_blocking();
void drain_all();
// the device that this thread has chosen
int current_device();
std::vector<CUstream_st*>& streams();
// cudaErrorStreamCaptureUnsupported while a capture of this thread (or one in global mode) forbids
// what a call does; the capture is then invalid
cudaError_t forbidden_in_capture();
cudaError_t forbidden_in_capture(cudaStream_t stream);
// the default stream is not to be used, directly or not, while a blocking stream captures
cudaError_t implicit_in_capture(cudaStream_t stream);
void set_conditional(cudaGraphConditionalHandle handle, unsigned value);

}  // namespace emulation
