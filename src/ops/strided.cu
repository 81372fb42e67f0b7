#include "ops/strided.h"

#include "ops/rows_device.h"

namespace orrery::cuda {

namespace {

template <typename T>
__device__ T* at(View<T, 3> view, i64 i, i64 j, i64 k) {
  return view.data() + i * view.stride(0) + j * view.stride(1) + k;
}

struct Copy {
  View<const float, 3> from;
  View<float, 3> to;

  template <bool kAligned>
  __device__ void four(i64 i, i64 j, i64 k, i64 count) const {
    store_four<kAligned>(load_four<kAligned>(at(from, i, j, k), count), at(to, i, j, k), count);
  }
};

struct CopyNumbers {
  View<const float, 3> from;
  View<float, 3> to;

  template <bool kAligned>
  __device__ void four(i64 i, i64 j, i64 k, i64 count) const {
    Four value = load_four<kAligned>(at(from, i, j, k), count);
#pragma unroll
    for (int n = 0; n < 4; ++n) value.v[n] = value.v[n] == value.v[n] ? value.v[n] : 0.0f;
    store_four<kAligned>(value, at(to, i, j, k), count);
  }
};

struct AddTo {
  View<const float, 3> from;
  View<float, 3> to;

  template <bool kAligned>
  __device__ void four(i64 i, i64 j, i64 k, i64 count) const {
    Four sum = load_four<kAligned>(at(to, i, j, k), count);
    const Four added = load_four<kAligned>(at(from, i, j, k), count);
#pragma unroll
    for (int n = 0; n < 4; ++n) sum.v[n] += added.v[n];
    store_four<kAligned>(sum, at(to, i, j, k), count);
  }
};

struct Add {
  View<const float, 3> a, b;
  View<float, 3> to;

  template <bool kAligned>
  __device__ void four(i64 i, i64 j, i64 k, i64 count) const {
    Four sum = load_four<kAligned>(at(a, i, j, k), count);
    const Four added = load_four<kAligned>(at(b, i, j, k), count);
#pragma unroll
    for (int n = 0; n < 4; ++n) sum.v[n] += added.v[n];
    store_four<kAligned>(sum, at(to, i, j, k), count);
  }
};

struct Fill {
  float value;
  float* to;

  template <bool kAligned>
  __device__ void four(i64, i64, i64 k, i64 count) const {
    store_four<kAligned>({{value, value, value, value}}, to + k, count);
  }
};

}  // namespace

void copy(Context& ctx, View<const float, 3> from, View<float, 3> to) {
  pass_over_rows(ctx, "copy", in_fours(from) && in_fours(to), to.size(0), to.size(1), to.size(2),
                 Copy{from, to});
}

void copy_numbers(Context& ctx, View<const float, 3> from, View<float, 3> to) {
  pass_over_rows(ctx, "copy_numbers", in_fours(from) && in_fours(to), to.size(0), to.size(1),
                 to.size(2), CopyNumbers{from, to});
}

void add_to(Context& ctx, View<const float, 3> from, View<float, 3> to) {
  pass_over_rows(ctx, "add_to", in_fours(from) && in_fours(to), to.size(0), to.size(1), to.size(2),
                 AddTo{from, to});
}

void add(Context& ctx, View<const float, 3> a, View<const float, 3> b, View<float, 3> to) {
  pass_over_rows(ctx, "add", in_fours(a) && in_fours(b) && in_fours(to), to.size(0), to.size(1),
                 to.size(2), Add{a, b, to});
}

void fill(Context& ctx, float value, View<float, 1> to) {
  pass_over_rows(ctx, "fill", in_fours(to), 1, 1, to.size(0), Fill{value, to.data()});
}

}  // namespace orrery::cuda
