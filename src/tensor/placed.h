#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/error.h"
#include "device/context.h"
#include "device/memory.h"
#include "tensor/tensor.h"
#include "tensor/view.h"

namespace orrery {

// Contiguous values where a context's operations run, filled from and read back by the host: what
// goes in and out of a forward pass on any device. The context outlives them.
template <typename T>
class Placed {
 public:
  Placed() = default;
  // zeros
  Placed(Context& ctx, i64 count)
      : ctx_(&ctx), count_(count), block_(ctx, static_cast<std::size_t>(count) * sizeof(T)) {}
  Placed(Context& ctx, std::span<const T> values) : Placed(ctx, static_cast<i64>(values.size())) {
    set(values);
  }
  Placed(Context& ctx, const Tensor& values) : Placed(ctx, values.span<T>()) {}

  i64 count() const { return count_; }
  T* data() { return reinterpret_cast<T*>(block_.data()); }
  const T* data() const { return reinterpret_cast<const T*>(block_.data()); }

  // the first values, under any sizes
  template <int Rank>
  View<T, Rank> view(typename View<T, Rank>::Sizes sizes) {
    return fitting(View<T, Rank>(data(), sizes));
  }
  template <int Rank>
  View<const T, Rank> view(typename View<T, Rank>::Sizes sizes) const {
    return fitting(View<const T, Rank>(data(), sizes));
  }

  // The first values from the host's; returns when the host's may change.
  void set(std::span<const T> values) {
    check(static_cast<i64>(values.size()) <= count_, values.size(), " values for a place of ",
          count_);
    if (values.empty()) return;
    ctx_->upload(data(), values.data(), values.size_bytes());
    ctx_->synchronize();
  }
  // all values
  std::vector<T> values() const {
    std::vector<T> result(static_cast<std::size_t>(count_));
    get(result);
    return result;
  }
  // the first values
  void get(std::span<T> to) const {
    check(static_cast<i64>(to.size()) <= count_, to.size(), " values of a place of ", count_);
    if (!to.empty()) ctx_->download(to.data(), data(), to.size_bytes());
  }

 private:
  template <typename Element, int Rank>
  View<Element, Rank> fitting(View<Element, Rank> view) const {
    ORRERY_ASSERT(view.numel() <= count_);
    return view;
  }

  Context* ctx_ = nullptr;
  i64 count_ = 0;
  Block block_;
};

}  // namespace orrery
