#pragma once

#include <ostream>

#include "base/bf16.h"
#include "base/error.h"
#include "base/types.h"

namespace orrery {

// Element types that files may hold. Arithmetic is on f32 unless an operation says otherwise.
enum class DType {
  f32,
  f64,
  f16,
  bf16,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64,
  boolean
};

i64 element_bytes(DType dtype);
const char* name_of(DType dtype);  // "f32"
inline std::ostream& operator<<(std::ostream& out, DType dtype) { return out << name_of(dtype); }

template <typename T>
struct dtype_of_t;  // no value for a type that is not an element type
template <>
struct dtype_of_t<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct dtype_of_t<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct dtype_of_t<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct dtype_of_t<i8> {
  static constexpr DType value = DType::int8;
};
template <>
struct dtype_of_t<i16> {
  static constexpr DType value = DType::int16;
};
template <>
struct dtype_of_t<i32> {
  static constexpr DType value = DType::int32;
};
template <>
struct dtype_of_t<i64> {
  static constexpr DType value = DType::int64;
};
template <>
struct dtype_of_t<u8> {
  static constexpr DType value = DType::uint8;
};
template <>
struct dtype_of_t<u16> {
  static constexpr DType value = DType::uint16;
};
template <>
struct dtype_of_t<u32> {
  static constexpr DType value = DType::uint32;
};
template <>
struct dtype_of_t<u64> {
  static constexpr DType value = DType::uint64;
};
template <>
struct dtype_of_t<bool> {
  static constexpr DType value = DType::boolean;
};

template <typename T>
inline constexpr DType dtype_of = dtype_of_t<std::remove_const_t<T>>::value;

}  // namespace orrery
