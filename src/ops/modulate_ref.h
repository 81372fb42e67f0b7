#pragma once

#include "ops/modulate.h"

namespace orrery {

template <typename T, typename Body>
void for_each_value(View<T, 3> like, const Body& body) {
  for (i64 b = 0; b < like.size(0); ++b) {
    for (i64 t = 0; t < like.size(1); ++t) {
      for (i64 i = 0; i < like.size(2); ++i) body(b, t, i);
    }
  }
}

template <typename T>
void modulate_ref(View<const T, 3> x, View<const T, 3> shift, View<const T, 3> scale,
                  View<T, 3> y) {
  for_each_value(x, [&](i64 b, i64 t, i64 i) {
    y(b, t, i) = x(b, t, i) * (T(1) + scale(b, t, i)) + shift(b, t, i);
  });
}

template <typename T>
void modulate_backward_ref(View<const T, 3> x, View<const T, 3> scale, View<const T, 3> dy,
                           View<T, 3> dx, View<T, 3> dshift, View<T, 3> dscale) {
  for_each_value(x, [&](i64 b, i64 t, i64 i) {
    const T slope = dy(b, t, i);
    dx(b, t, i) = slope * (T(1) + scale(b, t, i));
    dshift(b, t, i) = slope;
    dscale(b, t, i) = slope * x(b, t, i);
  });
}

template <typename T>
void gated_add_ref(View<const T, 3> x, View<const T, 3> gate, View<const T, 3> branch,
                   View<T, 3> y) {
  for_each_value(
      x, [&](i64 b, i64 t, i64 i) { y(b, t, i) = x(b, t, i) + gate(b, t, i) * branch(b, t, i); });
}

template <typename T>
void gated_add_backward_ref(View<const T, 3> gate, View<const T, 3> branch, View<const T, 3> dy,
                            View<T, 3> dgate, View<T, 3> dbranch) {
  for_each_value(gate, [&](i64 b, i64 t, i64 i) {
    const T slope = dy(b, t, i);
    dgate(b, t, i) = slope * branch(b, t, i);
    dbranch(b, t, i) = slope * gate(b, t, i);
  });
}

}  // namespace orrery
