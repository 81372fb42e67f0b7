// Sums over ranks by NCCL. Host code. The library is looked for when it is first needed, so that a
// program built with it also starts where it is not installed.

#include "dist/nccl_sums.h"

#include <cuda_runtime.h>

#if ORRERY_NCCL
#include <dlfcn.h>
#include <nccl.h>
#endif

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <span>
#include <thread>

#include "base/text.h"
#include "device/cuda.h"

namespace orrery::dist {

#if ORRERY_NCCL

namespace {

// What we call of NCCL.
struct Library {
  decltype(&ncclGetVersion) version = nullptr;
  decltype(&ncclGetUniqueId) unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) join = nullptr;
  decltype(&ncclCommGetAsyncError) state = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclCommFinalize) finalize = nullptr;
  decltype(&ncclCommDestroy) destroy = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;
  std::string missing;  // why it cannot be used; empty when it can
};

#if ORRERY_CUDA_EMULATED

Library load() {
  return {ncclGetVersion,         ncclGetUniqueId,
          ncclCommInitRankConfig, ncclCommGetAsyncError,
          ncclAllReduce,          ncclCommFinalize,
          ncclCommDestroy,        ncclCommAbort,
          ncclGetErrorString,     {}};
}

#else

Library load() {
  Library library;
  void* handle = ::dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = ::dlerror();
    library.missing = text("NCCL cannot be loaded: ", reason == nullptr ? "no reason" : reason);
    return library;
  }
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)> >(::dlsym(handle, name));
    if (function == nullptr && library.missing.empty()) {
      library.missing = text("libnccl.so.2 has no ", name, ", which came with NCCL 2.14");
    }
  };
  find(library.version, "ncclGetVersion");
  find(library.unique_id, "ncclGetUniqueId");
  find(library.join, "ncclCommInitRankConfig");
  find(library.state, "ncclCommGetAsyncError");
  find(library.all_reduce, "ncclAllReduce");
  find(library.finalize, "ncclCommFinalize");
  find(library.destroy, "ncclCommDestroy");
  find(library.abort, "ncclCommAbort");
  find(library.error_string, "ncclGetErrorString");
  return library;
}

#endif

const Library& library() {
  static const Library one = load();
  return one;
}

std::string version_in_words() {
  int version = 0;
  library().version(&version);
  return text("NCCL ", version / 10000, ".", version / 100 % 100, ".", version % 100);
}

// How often somebody looks whether all ranks are there: beside 15 s of silence it is at once.
constexpr auto kLookEvery = std::chrono::milliseconds(50);
constexpr auto kAskAgain = std::chrono::microseconds(20);

// A communicator that never blocks the host. A thread beside the one that works looks after it:
// when a rank is gone, or NCCL reports an error, it aborts the communicator, which ends what the
// device waits for, wherever the other thread then waits for the device.
class NcclSums final : public DeviceSums {
 public:
  NcclSums(Context& ctx, Lockstep& lockstep)
      : ctx_(ctx), lockstep_(lockstep), exceptions_(std::uncaught_exceptions()) {}

  // Work that was given up is aborted, for nobody may come to its other end.
  ~NcclSums() override {
    {
      const std::lock_guard hold(mutex_);
      stopping_ = true;
      stop_.notify_one();
    }
    if (watcher_.joinable()) watcher_.join();
    if (beside_ != nullptr) cudaStreamDestroy(beside_);
    for (cudaEvent_t event : {fork_, join_}) {
      if (event != nullptr) cudaEventDestroy(event);
    }
    if (comm_ == nullptr || aborted_) return;
    if (std::uncaught_exceptions() > exceptions_ || !finished()) library().abort(comm_);
  }

  void connect() {
    ncclUniqueId id = {};
    if (lockstep_.rank() == 0) must_succeed(library().unique_id(&id), "beginning");
    lockstep_.take_from_rank_0(std::as_writable_bytes(std::span<ncclUniqueId>(&id, 1)));
    cuda_check(cudaSetDevice(ctx_.device_index()), "choosing a device");
    cuda_check(cudaStreamCreateWithFlags(&beside_, cudaStreamNonBlocking), "making a stream");
    for (cudaEvent_t* event : {&fork_, &join_}) {
      cuda_check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "making an event");
    }
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const ncclResult_t result =
        library().join(&comm_, lockstep_.size(), id, lockstep_.rank(), &config);
    if (comm_ != nullptr) watcher_ = std::thread([this] { watch(); });
    settle(result, "connecting ranks");
  }

  void sum(View<float, 1> values) override {
    add_up(values.data(), values.numel(), ncclFloat32, stream_of(ctx_));
  }
  void sum(View<double, 1> values) override {
    add_up(values.data(), values.numel(), ncclFloat64, stream_of(ctx_));
  }

  // a branch of the stream's work, of a captured graph too, that join() leads back
  void sum_beside(View<float, 1> values) override {
    cuda_check(cudaEventRecord(fork_, stream_of(ctx_)), kDoing);
    cuda_check(cudaStreamWaitEvent(beside_, fork_, 0), kDoing);
    add_up(values.data(), values.numel(), ncclFloat32, beside_);
    cuda_check(cudaEventRecord(join_, beside_), kDoing);
  }
  void join() override { cuda_check(cudaStreamWaitEvent(stream_of(ctx_), join_, 0), kDoing); }

  void check() override {
    const std::lock_guard hold(mutex_);
    must_be_open();
  }

  std::string name() const override { return version_in_words(); }

 private:
  static constexpr const char* kDoing = "a sum over ranks";

  void add_up(void* values, i64 count, ncclDataType_t type, cudaStream_t stream) {
    if (count == 0) return;
    ncclResult_t result = ncclSuccess;
    {
      const std::lock_guard hold(mutex_);
      must_be_open();
      result = library().all_reduce(values, values, static_cast<std::size_t>(count), type, ncclSum,
                                    comm_, stream);
    }
    settle(result, kDoing);
  }

  // waits until the host's part of a call is done
  void settle(ncclResult_t result, const char* doing) {
    while (result == ncclInProgress) {
      std::this_thread::sleep_for(kAskAgain);
      const std::lock_guard hold(mutex_);
      must_be_open();
      must_succeed(library().state(comm_, &result), doing);
    }
    must_succeed(result, doing);
  }

  void must_be_open() const { orrery::check(!aborted_, reason_); }

  static std::string words(ncclResult_t result, const char* doing) {
    return text("NCCL: ", doing, ": ", library().error_string(result));
  }
  static void must_succeed(ncclResult_t result, const char* doing) {
    orrery::check(result == ncclSuccess, words(result, doing));
  }

  void watch() {
    // abort and the calls it ends belong to the device
    cudaSetDevice(ctx_.device_index());
    std::unique_lock hold(mutex_);
    while (!stop_.wait_for(hold, kLookEvery, [this] { return stopping_; })) {
      std::string trouble = lockstep_.lost();
      ncclResult_t state = ncclSuccess;
      const ncclResult_t asked = library().state(comm_, &state);
      if (asked != ncclSuccess) state = asked;
      if (trouble.empty() && state != ncclSuccess && state != ncclInProgress) {
        trouble = words(state, "between ranks");
      }
      if (trouble.empty()) continue;
      reason_ = std::move(trouble);
      aborted_ = true;
      hold.unlock();
      // returns once captured work that holds the communicator is gone, too
      library().abort(comm_);
      return;
    }
  }

  // Whether all ranks have come to the end, and the communicator with them.
  bool finished() {
    ncclResult_t result = library().finalize(comm_);
    while (result == ncclInProgress) {
      if (!lockstep_.lost().empty()) return false;
      std::this_thread::sleep_for(kAskAgain);
      if (library().state(comm_, &result) != ncclSuccess) return false;
    }
    return result == ncclSuccess && library().destroy(comm_) == ncclSuccess;
  }

  Context& ctx_;
  Lockstep& lockstep_;
  int exceptions_;  // in flight when this was made
  ncclComm_t comm_ = nullptr;
  cudaStream_t beside_ = nullptr;
  cudaEvent_t fork_ = nullptr, join_ = nullptr;

  std::mutex mutex_;  // over what follows, and over calls, so that none uses what was aborted
  std::condition_variable stop_;
  bool stopping_ = false, aborted_ = false;
  std::string reason_;   // why it was aborted
  std::thread watcher_;  // last: it uses the rest
};

}  // namespace

std::string why_no_nccl() { return library().missing; }

std::unique_ptr<DeviceSums> nccl_sums(Context& ctx, Lockstep& lockstep) {
  auto sums = std::make_unique<NcclSums>(ctx, lockstep);
  sums->connect();
  return sums;
}

std::string nccl_build() {
  return library().missing.empty() ? version_in_words() : "no: " + library().missing;
}

#else

std::string why_no_nccl() { return "this build has no NCCL"; }

std::unique_ptr<DeviceSums> nccl_sums(Context&, Lockstep&) { fail(why_no_nccl()); }

std::string nccl_build() { return "no: its header was not found when this was built"; }

#endif

}  // namespace orrery::dist
