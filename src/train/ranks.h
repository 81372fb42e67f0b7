#pragma once

#include <string>
#include <vector>

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
class Ranks final : public BatchSums {
 public:
  Ranks() = default;  // this process has everything
  explicit Ranks(dist::Lockstep* lockstep) : lockstep_(lockstep) {}

  int size() const { return lockstep_ == nullptr ? 1 : lockstep_->size(); }
  // the rank that writes and tells
  bool leads() const { return lockstep_ == nullptr || lockstep_->rank() == 0; }

  // Parts differ by one window at most. Error: fewer windows than ranks.
  BatchPart part_of(i64 batch) const;
  BatchShare share_of(i64 batch);

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
  bool alone() const { return size() == 1; }

  dist::Lockstep* lockstep_ = nullptr;
};

// A number of 16 hexadecimal digits that hangs on every bit of the values. exact
std::string fingerprint_of(const Tensor& values);

}  // namespace orrery::train
