// NCCL for ranks that are threads of this process. A sum waits in its stream until all ranks have
// come to theirs, or until its own communicator is aborted: a rank that is gone leaves the others
// waiting, as it does there.

#include "nccl.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <map>

#include "runtime.h"

namespace emulation {

namespace {

// one sum that all ranks come to
struct Round {
  std::size_t count = 0;
  ncclDataType_t type = ncclFloat32;
  std::vector<const void*> from;
  std::vector<void*> to;
  int came = 0, left = 0;
  bool done = false;
};

struct Clique {
  std::mutex mutex;
  std::condition_variable changed;
  int size = 0, joined = 0, finalized = 0;
  bool twice = false;   // a device has two ranks
  bool broken = false;  // a rank has aborted: nothing comes about any more
  std::vector<int> devices;
  std::map<long, Round> rounds;
};

// What a communicator and the work asked for through it share.
struct Member {
  std::shared_ptr<Clique> clique;
  int rank = 0;
  bool aborted = false, finalized = false;
  int in_progress = 0;  // times that the state is still to be told as unknown
  long round = 0;       // that its stream comes to next
};

std::mutex cliques_mutex;
std::map<std::string, std::weak_ptr<Clique>> cliques;

std::string key_of(const ncclUniqueId& id) { return {id.internal, sizeof id.internal}; }

// Each number is added up along a ring that begins at another rank, rounded at each step: the order
// is not that of the ranks, and is the same on all.
template <typename T>
void add_up(const Round& round) {
  const std::size_t ranks = round.from.size();
  const DeviceTurn turn;
  for (std::size_t i = 0; i < round.count; ++i) {
    const std::size_t first = i * ranks / round.count;
    T sum = 0;
    for (std::size_t k = 0; k < ranks; ++k) {
      sum += static_cast<const T*>(round.from[(first + k) % ranks])[i];
    }
    // in place: a number is read by all before it is written
    for (void* to : round.to) static_cast<T*>(to)[i] = sum;
  }
}

void join_round(Member& member, const void* from, void* to, std::size_t count,
                ncclDataType_t type) {
  const Aside aside;
  Clique& clique = *member.clique;
  std::unique_lock hold(clique.mutex);
  const long number = member.round++;
  Round& round = clique.rounds[number];
  const auto ranks = static_cast<std::size_t>(clique.size);
  if (round.came == 0) {
    round.count = count;
    round.type = type;
    round.from.resize(ranks);
    round.to.resize(ranks);
  }
  if (round.count != count || round.type != type) {
    fail("ncclAllReduce: rank %d adds up %zu numbers where another one has %zu", member.rank, count,
         round.count);
  }
  round.from[static_cast<std::size_t>(member.rank)] = from;
  round.to[static_cast<std::size_t>(member.rank)] = to;
  if (++round.came == clique.size && !clique.broken) {
    if (type == ncclFloat32) {
      add_up<float>(round);
    } else {
      add_up<double>(round);
    }
    round.done = true;
    clique.changed.notify_all();
  }
  clique.changed.wait(hold, [&] { return round.done || member.aborted; });
  if (++round.left == clique.size) clique.rounds.erase(number);
}

}  // namespace

}  // namespace emulation

struct ncclComm {
  std::shared_ptr<emulation::Member> member;
};

namespace emulation {

namespace {

// What was captured goes on holding the communicator, and its end waits for that.
void wait_for_graphs(const ncclComm& comm, const char* call) {
  constexpr int kPatience_ms = 20000;
  for (int i = 0; comm.member.use_count() > 1; ++i) {
    if (i == kPatience_ms) fail("%s: captured work still holds the communicator", call);
    usleep(1000);
  }
}

}  // namespace

}  // namespace emulation

using emulation::Member;

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

// the process and a number: ranks of other processes are not to be reached
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static std::atomic<int> made = 0;
  *id = {};
  std::snprintf(id->internal, sizeof id->internal, "%d-%d", static_cast<int>(getpid()), ++made);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  const std::string process = std::to_string(getpid()) + "-";
  if (ranks < 1 || rank < 0 || rank >= ranks || config == nullptr) return ncclInvalidArgument;
  if (process.compare(0, process.size(), id.internal, process.size()) != 0) {
    return ncclInvalidUsage;
  }
  if (config->blocking != 0) {
    emulation::fail("ncclCommInitRankConfig: only communicators that do not block are emulated");
  }
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return ncclUnhandledCudaError;
  auto member = std::make_shared<Member>();
  member->rank = rank;
  {
    const std::lock_guard hold(emulation::cliques_mutex);
    auto& known = emulation::cliques[emulation::key_of(id)];
    member->clique = known.lock();
    if (!member->clique) known = member->clique = std::make_shared<emulation::Clique>();
  }
  const std::lock_guard hold(member->clique->mutex);
  emulation::Clique& clique = *member->clique;
  clique.size = ranks;
  ++clique.joined;
  clique.twice = clique.twice || std::find(clique.devices.begin(), clique.devices.end(), device) !=
                                     clique.devices.end();
  clique.devices.push_back(device);
  *comm = new ncclComm{std::move(member)};
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  Member& member = *comm->member;
  const std::lock_guard hold(member.clique->mutex);
  const emulation::Clique& clique = *member.clique;
  const bool waits =
      clique.joined < clique.size || (member.finalized && clique.finalized < clique.size);
  *error = clique.twice                                        ? ncclInvalidUsage
           : waits || std::exchange(member.in_progress, 0) > 0 ? ncclInProgress
                                                               : ncclSuccess;
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* from, void* to, std::size_t count, ncclDataType_t type,
                           ncclRedOp_t, ncclComm_t comm, cudaStream_t stream) {
  const auto member = comm->member;
  {
    const std::lock_guard hold(member->clique->mutex);
    if (member->aborted || member->finalized) return ncclInvalidUsage;
    member->in_progress = 1;
  }
  const emulation::Call call;
  if (call.status() != cudaSuccess || !emulation::known(stream)) return ncclUnhandledCudaError;
  const std::size_t bytes = count * (type == ncclFloat32 ? sizeof(float) : sizeof(double));
  for (const void* memory : {from, static_cast<const void*>(to)}) {
    if (emulation::where_is(memory, bytes) != emulation::Where::device) return ncclInvalidArgument;
  }
  const auto work = [member, from, to, count, type] {
    emulation::join_round(*member, from, to, count, type);
  };
  CUstream_st& queue = emulation::stream_of(stream);
  if (queue.capture == nullptr) {
    queue.queue.push_back(work);  // the caller never waits, whatever the order of streams
  } else if (emulation::submit(stream, cudaGraphNodeTypeKernel, work) != cudaSuccess) {
    return ncclUnhandledCudaError;
  }
  return ncclInProgress;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  Member& member = *comm->member;
  const std::lock_guard hold(member.clique->mutex);
  if (member.finalized) return ncclInvalidUsage;
  member.finalized = true;
  ++member.clique->finalized;
  return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  emulation::wait_for_graphs(*comm, "ncclCommDestroy");
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  {
    Member& member = *comm->member;
    const std::lock_guard hold(member.clique->mutex);
    member.aborted = true;
    member.clique->broken = true;
    member.clique->changed.notify_all();
  }
  emulation::wait_for_graphs(*comm, "ncclCommAbort");
  delete comm;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclUnhandledCudaError:
      return "unhandled cuda error";
    case ncclInvalidArgument:
      return "invalid argument";
    case ncclInvalidUsage:
      return "invalid usage";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclInProgress:
      return "NCCL operation in progress";
    default:
      return "an error that is not emulated";
  }
}
