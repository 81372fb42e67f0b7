#include "train/ranks.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/philox.h"

namespace orrery::train {

namespace {

template <typename T>
std::span<T> span_of(View<T, 1> values) {
  return {values.data(), static_cast<std::size_t>(values.numel())};
}

}  // namespace

BatchPart Ranks::part_of(i64 batch) const {
  if (alone()) return {0, batch};
  const i64 rank = lockstep_->rank(), ranks = lockstep_->size();
  check(batch >= ranks, "training: a batch of ", batch, " windows cannot be shared by ", ranks,
        " ranks");
  const i64 first = batch * rank / ranks;
  return {first, batch * (rank + 1) / ranks - first};
}

BatchShare Ranks::share_of(Context& ctx, i64 batch) {
  if (alone()) return {};
  const i64 first = part_of(batch).first;
  lockstep_->must_agree("the kind of device", name_of(ctx.device()));
  if (ctx.device() == Device::cpu) return {this, first, batch};
#if ORRERY_CUDA
  if (!sums_) {
    sums_ = dist::device_sums(ctx, *lockstep_, by_, &notice_);
    ctx_ = &ctx;
  }
#endif
  return {&of_device_, first, batch};
}

void Ranks::add_up_beside(View<float, 1> values) {
  if (sums_ && values.numel() > 0) sums_->sum_beside(values);
}
void Ranks::join() {
  if (sums_) sums_->join();
}

dist::Lockstep& Ranks::together() {
  if (sums_) {
    ctx_->synchronize();
    sums_->check();
  }
  return *lockstep_;
}

void Ranks::add_up(View<float, 1> values) {
  if (!alone()) together().sum(span_of(values));
}
void Ranks::add_up(View<double, 1> values) {
  if (!alone()) together().sum(span_of(values));
}

bool Ranks::any(bool here) { return alone() ? here : together().any(here); }

void Ranks::take_from_rank_0(Tensor& values) {
  if (alone()) return;
  together().take_from_rank_0({values.bytes(), static_cast<std::size_t>(values.byte_count())});
}
void Ranks::take_from_rank_0(i64& number) {
  if (!alone()) together().take_from_rank_0(std::as_writable_bytes(std::span<i64>(&number, 1)));
}

std::vector<std::string> Ranks::gather(const std::string& bytes) {
  return alone() ? std::vector<std::string>{bytes} : together().gather(bytes);
}

void Ranks::must_agree(const std::string& what, const std::string& value) {
  if (!alone()) together().must_agree(what, value);
}

std::string fingerprint_of(const Tensor& values) {
  // eight bytes at a time; a byte at a time takes as long as a step of a small model
  const auto count = static_cast<std::size_t>(values.byte_count());
  u64 hash = count;
  for (std::size_t i = 0; i < count; i += sizeof(u64)) {
    u64 word = 0;
    std::memcpy(&word, values.bytes() + i, std::min(sizeof word, count - i));
    hash = mix(hash, word);
  }
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

}  // namespace orrery::train
