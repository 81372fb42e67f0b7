// Sums over ranks through the host, and the choice between them and NCCL. Host code.

#include "dist/device_sums.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "base/text.h"
#include "device/cuda.h"
#include "device/memory.h"
#include "dist/nccl_sums.h"

namespace orrery::dist {

namespace {

// Values go down to page-locked memory, are added up there by a function that the stream calls, and
// come back: at 25 GB/s of PCIe each way, and what the network takes. Neither it nor its errors
// stop the stream; who waits for the stream asks check().
class HostSums final : public DeviceSums {
 public:
  HostSums(Context& ctx, Lockstep& lockstep) : ctx_(ctx), lockstep_(lockstep) {}

  void sum(View<float, 1> values) override { add_up(values); }
  void sum(View<double, 1> values) override { add_up(values); }
  void check() override {
    if (failed_.load(std::memory_order_acquire)) std::rethrow_exception(failure_);
  }
  std::string name() const override { return "the host"; }

 private:
  // What the stream calls: once, or as often as the work that captured it is run.
  struct Call {
    HostSums* sums;
    std::function<void()> work;
    bool once;
  };

  template <typename T>
  void add_up(View<T, 1> values) {
    if (values.numel() == 0) return;
    const auto count = static_cast<std::size_t>(values.numel());
    auto* here = reinterpret_cast<T*>(staging(count * sizeof(T)));
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    cuda_check(cudaStreamIsCapturing(stream_of(ctx_), &status), "sums over ranks");
    const bool once = status == cudaStreamCaptureStatusNone;
    auto call = std::make_unique<Call>(
        Call{this, [this, here, count] { lockstep_.sum(std::span<T>(here, count)); }, once});
    // page-locked, so nobody waits
    cuda_check(cudaMemcpyAsync(here, values.data(), count * sizeof(T), cudaMemcpyDeviceToHost,
                               stream_of(ctx_)),
               "sums over ranks");
    cuda_check(cudaLaunchHostFunc(stream_of(ctx_), &run, call.get()), "sums over ranks");
    if (once) {
      static_cast<void>(call.release());  // it deletes itself
    } else {
      captured_.push_back(std::move(call));
    }
    ctx_.upload(values.data(), here, count * sizeof(T));
  }

  // One place for all sums: they follow each other on one stream. Captured work goes on using one
  // that was outgrown.
  std::byte* staging(std::size_t bytes) {
    if (staging_.empty() || staging_.back().bytes() < bytes) {
      staging_.push_back(Block::staging(ctx_, bytes));
    }
    return staging_.back().data();
  }

  static void run(void* data) {
    auto* call = static_cast<Call*>(data);
    const std::unique_ptr<Call> owned(call->once ? call : nullptr);
    HostSums& sums = *call->sums;
    // after the first failure nobody comes to the other end
    if (sums.failed_.load(std::memory_order_relaxed)) return;
    try {
      call->work();
    } catch (...) {
      sums.failure_ = std::current_exception();
      sums.failed_.store(true, std::memory_order_release);
    }
  }

  Context& ctx_;
  Lockstep& lockstep_;
  std::vector<Block> staging_;
  std::vector<std::unique_ptr<Call>> captured_;
  std::exception_ptr failure_;
  std::atomic<bool> failed_ = false;
};

// a device as no other in the world is called
std::string device_name(const Context& ctx, const std::string& host) {
  char bus[32] = {};
  cuda_check(cudaDeviceGetPCIBusId(bus, static_cast<int>(sizeof bus), ctx.device_index()),
             "asking for a device's place");
  return text(host, " ", bus);
}

// why not all ranks can use NCCL together; empty when they can
std::string why_not_together(Context& ctx, Lockstep& lockstep) {
  const auto reasons = lockstep.gather(why_no_nccl());
  for (std::size_t rank = 0; rank < reasons.size(); ++rank) {
    if (!reasons[rank].empty()) return text("on rank ", rank, " ", reasons[rank]);
  }
  const auto devices = lockstep.gather(device_name(ctx, lockstep.host()));
  for (std::size_t rank = 0; rank < devices.size(); ++rank) {
    const auto first = std::find(devices.begin(), devices.end(), devices[rank]);
    const auto other = static_cast<std::size_t>(first - devices.begin());
    if (other != rank) {
      return text("ranks ", other, " and ", rank, " share the device ", devices[rank]);
    }
  }
  return {};
}

}  // namespace

std::unique_ptr<DeviceSums> device_sums(Context& ctx, Lockstep& lockstep, SumsBy by,
                                        std::string* notice) {
  check(ctx.device() == Device::cuda, "sums of a device: the context is of the CPU");
  if (notice != nullptr) notice->clear();
  if (by == SumsBy::host) return std::make_unique<HostSums>(ctx, lockstep);
  const std::string reason = why_not_together(ctx, lockstep);
  if (reason.empty()) return nccl_sums(ctx, lockstep);
  check(by != SumsBy::nccl, "NCCL was asked for: ", reason);
  if (notice != nullptr) *notice = text("ranks add up through the host, not by NCCL: ", reason);
  return std::make_unique<HostSums>(ctx, lockstep);
}

}  // namespace orrery::dist
