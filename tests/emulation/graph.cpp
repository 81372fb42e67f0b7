// Capture and graphs. Captured work is a list of closures with the edges that the host code made;
// what the edges leave open is run in the order of ORRERY_EMULATED_ORDER, so that a missing one is
// seen.

#include <algorithm>

#include "block.h"
#include "runtime.h"

namespace emulation {

namespace {

thread_local char this_thread;  // its address tells host threads apart
thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

struct Condition {
  unsigned value = 0, first = 0;
  bool assign = false;
  bool used = false;  // by a node: one handle serves one node
  bool alive = false;
};
// handles are indices, counted from 1; never reused
std::vector<Condition>& conditions() {
  static std::vector<Condition> all(1);
  return all;
}

unsigned long long captures_begun = 0;

// A frozen copy of a graph, in an order that its edges allow.
struct Program {
  struct Step {
    std::shared_ptr<Node> node;
    std::vector<Program> bodies;
  };
  std::vector<Step> steps;
  std::vector<cudaGraphConditionalHandle> handles;
};

cudaError_t make_program(const Graph& graph, Order& order, Program& program) {
  program.handles = graph.handles;
  std::vector<const Node*> done;
  std::vector<std::shared_ptr<Node>> left(graph.nodes.begin(), graph.nodes.end());
  while (!left.empty()) {
    std::vector<std::size_t> ready;
    for (std::size_t i = 0; i < left.size(); ++i) {
      const auto& after = left[i]->after;
      if (std::all_of(after.begin(), after.end(), [&](const Node* needed) {
            return std::find(done.begin(), done.end(), needed) != done.end();
          })) {
        ready.push_back(i);
      }
    }
    if (ready.empty()) return cudaErrorInvalidValue;  // a cycle
    std::vector<unsigned> turn(ready.size());
    arrange(order, turn.data(), static_cast<unsigned>(turn.size()));
    const std::size_t next = ready[turn.front()];
    Program::Step step;
    step.node = left[next];
    // bodies run on the device alone: what only a host can do is not for them
    if (graph.is_body && (step.node->type == cudaGraphNodeTypeHost || step.node->touches_pageable ||
                          step.node->type == cudaGraphNodeTypeEventRecord)) {
      return cudaErrorNotSupported;
    }
    for (const cudaGraph_t body : step.node->bodies) {
      step.bodies.emplace_back();
      if (const auto status = make_program(*body, order, step.bodies.back())) return status;
    }
    done.push_back(step.node.get());
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(next));
    program.steps.push_back(std::move(step));
  }
  return cudaSuccess;
}

// loops of a plan end after tens of rounds
constexpr int kMostRounds = 10000000;

void run(const Program& program) {
  for (const auto handle : program.handles) {
    Condition& condition = conditions()[handle];
    if (condition.assign) condition.value = condition.first;
  }
  for (const auto& step : program.steps) {
    if (lost_error() != cudaSuccess) return;
    if (step.node->type != cudaGraphNodeTypeConditional) {
      if (step.node->work) step.node->work();
      continue;
    }
    const auto value = [&] { return conditions()[step.node->handle].value; };
    switch (step.node->condition) {
      case cudaGraphCondTypeIf:
        if (value() != 0) {
          run(step.bodies[0]);
        } else if (step.bodies.size() > 1) {
          run(step.bodies[1]);
        }
        break;
      case cudaGraphCondTypeWhile:
        for (int round = 0; value() != 0 && lost_error() == cudaSuccess; ++round) {
          if (round == kMostRounds) fail("a captured loop does not end");
          run(step.bodies[0]);
        }
        break;
      case cudaGraphCondTypeSwitch:
        if (value() < step.bodies.size()) run(step.bodies[value()]);
        break;
    }
  }
}

std::vector<cudaGraph_t>& graphs() {
  static std::vector<cudaGraph_t> all;
  return all;
}

cudaError_t begin(cudaStream_t stream, cudaGraph_t graph, const cudaGraphNode_t* dependencies,
                  std::size_t count, cudaStreamCaptureMode mode) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  // the default stream cannot be captured
  if (stream == nullptr) return call.done(cudaErrorStreamCaptureUnsupported);
  if (!known(stream)) return call.done(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) return call.done(cudaErrorIllegalState);
  drain(*stream);
  auto capture = std::make_shared<Capture>();
  capture->to_graph = graph != nullptr;
  if (graph == nullptr) cudaGraphCreate(&graph, 0);
  capture->graph = graph;
  capture->origin = stream;
  capture->mode = mode;
  capture->thread = &this_thread;
  capture->id = ++captures_begun;
  stream->capture = std::move(capture);
  stream->tail.assign(dependencies, dependencies + count);
  return call.done(cudaSuccess);
}

}  // namespace

cudaError_t forbidden_in_capture() {
  if (thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  bool forbidden = false;
  for (CUstream_st* stream : streams()) {
    Capture* capture = stream->capture.get();
    if (capture == nullptr || capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (capture->mode == cudaStreamCaptureModeThreadLocal && capture->thread != &this_thread) {
      continue;
    }
    capture->invalid = true;
    forbidden = true;
  }
  return forbidden ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

void set_conditional(cudaGraphConditionalHandle handle, unsigned value) {
  if (handle == 0 || handle >= conditions().size() || !conditions()[handle].alive) {
    fail("cudaGraphSetConditional with the handle %llu, which is none", handle);
  }
  conditions()[handle].value = value;
}

}  // namespace emulation

using emulation::Call;

struct CUgraphExec_st {
  emulation::Program program;
};

void cudaGraphSetConditional(cudaGraphConditionalHandle handle, unsigned value) {
  emulation::set_conditional(handle, value);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return emulation::begin(stream, nullptr, nullptr, 0, mode);
}

cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t stream, cudaGraph_t graph,
                                          const cudaGraphNode_t* dependencies,
                                          const cudaGraphEdgeData*, std::size_t count,
                                          cudaStreamCaptureMode mode) {
  if (graph == nullptr) return cudaErrorInvalidValue;
  return emulation::begin(stream, graph, dependencies, count, mode);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Call call(false);
  if (stream == nullptr || !emulation::known(stream) || stream->capture == nullptr) {
    return call.done(cudaErrorIllegalState);
  }
  if (stream->capture->origin != stream) return call.done(cudaErrorStreamCaptureUnmatched);
  const auto capture = stream->capture;
  *graph = nullptr;
  // every stream that joined must have been waited for
  bool unjoined = false;
  for (CUstream_st* other : emulation::streams()) {
    if (other == stream || other->capture != capture) continue;
    for (const CUgraphNode_st* node : other->tail) {
      const auto& joined = stream->tail;
      const bool waited = std::find(joined.begin(), joined.end(), node) != joined.end() ||
                          std::any_of(capture->graph->nodes.begin(), capture->graph->nodes.end(),
                                      [&](const auto& later) {
                                        return std::find(later->after.begin(), later->after.end(),
                                                         node) != later->after.end();
                                      });
      unjoined = unjoined || !waited;
    }
    other->capture = nullptr;
    other->tail.clear();
  }
  stream->capture = nullptr;
  stream->tail.clear();
  if (capture->invalid || unjoined) {
    if (!capture->to_graph) cudaGraphDestroy(capture->graph);
    return call.done(capture->invalid ? cudaErrorStreamCaptureInvalidated
                                      : cudaErrorStreamCaptureUnjoined);
  }
  *graph = capture->graph;
  return call.done(emulation::lost_error());
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return cudaStreamGetCaptureInfo(stream, status);
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                     unsigned long long* id, cudaGraph_t* graph,
                                     const cudaGraphNode_t** dependencies,
                                     const cudaGraphEdgeData** edges, std::size_t* count) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (!emulation::known(stream)) return call.done(cudaErrorInvalidResourceHandle);
  if (const auto implicit = emulation::implicit_in_capture(stream)) return call.done(implicit);
  CUstream_st& queue = emulation::stream_of(stream);
  if (queue.capture == nullptr) {
    *status = cudaStreamCaptureStatusNone;
    return call.done(cudaSuccess);
  }
  *status =
      queue.capture->invalid ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
  if (queue.capture->invalid) return call.done(cudaSuccess);
  if (id != nullptr) *id = queue.capture->id;
  if (graph != nullptr) *graph = queue.capture->graph;
  if (dependencies != nullptr) *dependencies = queue.tail.data();
  if (edges != nullptr) *edges = nullptr;
  if (count != nullptr) *count = queue.tail.size();
  return call.done(cudaSuccess);
}

cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t stream, cudaGraphNode_t* dependencies,
                                                const cudaGraphEdgeData*, std::size_t count,
                                                unsigned flags) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (stream == nullptr || !emulation::known(stream) || stream->capture == nullptr) {
    return call.done(cudaErrorIllegalState);
  }
  const std::vector<CUgraphNode_st*> wanted(dependencies, dependencies + count);
  if (flags == cudaStreamSetCaptureDependencies) stream->tail.clear();
  stream->tail.insert(stream->tail.end(), wanted.begin(), wanted.end());
  return call.done(cudaSuccess);
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, emulation::thread_mode);
  return cudaSuccess;
}

cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  *graph = new CUgraph_st;
  emulation::graphs().push_back(*graph);
  return call.done(cudaSuccess);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Call call(false);
  auto& all = emulation::graphs();
  const auto found = std::find(all.begin(), all.end(), graph);
  if (found == all.end()) return call.done(cudaErrorInvalidValue);
  all.erase(found);
  delete graph;
  return call.done(cudaSuccess);
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (graph == nullptr) return call.done(cudaErrorInvalidValue);
  if (nodes != nullptr) {
    for (std::size_t i = 0; i < std::min(*count, graph->nodes.size()); ++i) {
      nodes[i] = static_cast<CUgraphNode_st*>(graph->nodes[i].get());
    }
  }
  *count = graph->nodes.size();
  return call.done(cudaSuccess);
}

cudaError_t cudaGraphAddNode(cudaGraphNode_t* node, cudaGraph_t graph,
                             const cudaGraphNode_t* dependencies, const cudaGraphEdgeData*,
                             std::size_t count, cudaGraphNodeParams* parameters) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (graph == nullptr || parameters == nullptr) return call.done(cudaErrorInvalidValue);
  auto made = std::make_shared<CUgraphNode_st>();
  made->type = parameters->type;
  made->after.assign(dependencies, dependencies + count);
  if (parameters->type == cudaGraphNodeTypeConditional) {
    cudaConditionalNodeParams& wanted = parameters->conditional;
    auto& conditions = emulation::conditions();
    if (wanted.handle == 0 || wanted.handle >= conditions.size() ||
        conditions[wanted.handle].used) {
      return call.done(cudaErrorInvalidValue);
    }
    const unsigned most = wanted.type == cudaGraphCondTypeWhile ? 1
                          : wanted.type == cudaGraphCondTypeIf  ? 2
                                                                : 1024;
    if (wanted.size == 0 || wanted.size > most) return call.done(cudaErrorInvalidValue);
    conditions[wanted.handle].used = true;
    made->handle = wanted.handle;
    made->condition = wanted.type;
    for (unsigned i = 0; i < wanted.size; ++i) {
      graph->bodies.push_back(std::make_shared<CUgraph_st>());
      graph->bodies.back()->is_body = true;
      made->bodies.push_back(graph->bodies.back().get());
    }
    wanted.phGraph_out = made->bodies.data();
  } else if (parameters->type != cudaGraphNodeTypeEmpty) {
    return call.done(cudaErrorNotSupported);
  }
  *node = made.get();
  graph->nodes.push_back(std::move(made));
  return call.done(cudaSuccess);
}

cudaError_t cudaGraphConditionalHandleCreate(cudaGraphConditionalHandle* handle, cudaGraph_t graph,
                                             unsigned default_value, unsigned flags) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (graph == nullptr) return call.done(cudaErrorInvalidValue);
  auto& conditions = emulation::conditions();
  conditions.push_back(
      {default_value, default_value, (flags & cudaGraphCondAssignDefault) != 0, false, true});
  *handle = conditions.size() - 1;
  graph->handles.push_back(*handle);
  return call.done(cudaSuccess);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (executable == nullptr || graph == nullptr) return call.done(cudaErrorInvalidValue);
  emulation::Order order = emulation::order_from_environment();
  auto made = std::make_unique<CUgraphExec_st>();
  if (const auto status = emulation::make_program(*graph, order, made->program)) {
    return call.done(status);
  }
  *executable = made.release();
  return call.done(cudaSuccess);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  return call.done(executable == nullptr ? cudaErrorInvalidValue : cudaSuccess);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (executable == nullptr) return call.done(cudaErrorInvalidValue);
  if (!emulation::known(stream)) return call.done(cudaErrorInvalidResourceHandle);
  // a graph within a graph is a thing of its own, which nothing here needs
  if (const auto status = emulation::forbidden_in_capture(stream)) return call.done(status);
  return call.done(emulation::submit(stream, cudaGraphNodeTypeEmpty,
                                     [executable] { emulation::run(executable->program); }));
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  const Call call(false);
  if (executable == nullptr) return call.done(cudaErrorInvalidValue);
  // launched work is finished first
  emulation::drain_all();
  delete executable;
  return call.done(cudaSuccess);
}
