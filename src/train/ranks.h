#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/context.h"
#include "dist/device_sums.h"
#include "dist/lockstep.h"
#include "ops/batch_share.h"
#include "tensor/tensor.h"

namespace orrery::train {

// Windows of a batch, one after the other.
struct BatchPart {
  i64 first = 0;
  i64 count = 0;  // 0: all that there are
};

// The ranks that share a run. Each has a part of every batch, in their order, and all hold the same
// weights: what the batch has as a whole is added up over them, and so are gradients.
//
// It adds up memory of the host itself. What a CUDA context works on is added up by dist's
// DeviceSums, as part of the context's work; whatever ranks do together on the host waits for that.
class Ranks final : public BatchSums {
 public:
  Ranks() = default;  // this process has everything
  // `by` is how devices add up
  explicit Ranks(dist::Lockstep* lockstep, dist::SumsBy by = dist::SumsBy::automatic)
      : lockstep_(lockstep), by_(by) {}

  int size() const { return lockstep_ == nullptr ? 1 : lockstep_->size(); }
  // the rank that writes and tells
  bool leads() const { return lockstep_ == nullptr || lockstep_->rank() == 0; }

  // Parts differ by one window at most. Error: fewer windows than ranks.
  BatchPart part_of(i64 batch) const;
  // For operations of the context, which outlives this and is always the same. The first call, by
  // all ranks together, connects their devices; Error when they work on unlike kinds.
  BatchShare share_of(Context& ctx, i64 batch);
  // Values of a device become their sums beside the work that is asked for next, in any number of
  // calls until joined. For gradients, of which nobody knows before the end of a step.
  void add_up_beside(View<float, 1> values);
  void join();
  // How devices add up, "NCCL 2.28.9" or "the host"; empty where there are none, or one rank.
  std::string device_sums() const { return sums_ ? sums_->name() : std::string(); }
  // why not by NCCL, where it might have been
  const std::string& notice() const { return notice_; }
  // For whoever has waited for the context: Error when another rank is gone, and what the device
  // holds is worth nothing.
  void check_device() const {
    if (sums_) sums_->check();
  }

  void add_up(View<float, 1> values) override;
  void add_up(View<double, 1> values) override;

  // whether any rank says so
  bool any(bool here);
  // all ranks get the values that rank 0 has
  void take_from_rank_0(Tensor& values);
  void take_from_rank_0(i64& number);
  // what each rank gives, by rank
  std::vector<std::string> gather(const std::string& bytes);
  // Error that names a rank that differs from rank 0.
  void must_agree(const std::string& what, const std::string& value);

 private:
  class OfDevice final : public BatchSums {
   public:
    explicit OfDevice(const std::unique_ptr<dist::DeviceSums>& sums) : sums_(sums) {}
    void add_up(View<float, 1> values) override { sums_->sum(values); }
    void add_up(View<double, 1> values) override { sums_->sum(values); }

   private:
    const std::unique_ptr<dist::DeviceSums>& sums_;
  };

  bool alone() const { return size() == 1; }
  // the host's side, once nothing of the device's is under way
  dist::Lockstep& together();

  dist::Lockstep* lockstep_ = nullptr;
  dist::SumsBy by_ = dist::SumsBy::automatic;
  Context* ctx_ = nullptr;  // that sums_ belong to
  std::unique_ptr<dist::DeviceSums> sums_;
  OfDevice of_device_{sums_};
  std::string notice_;
};

// A number of 16 hexadecimal digits that hangs on every bit of the values. exact
std::string fingerprint_of(const Tensor& values);

}  // namespace orrery::train
