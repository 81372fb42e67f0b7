#include "tensor/tensor.h"

#include <bit>
#include <cmath>

namespace orrery {

i64 element_bytes(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::int64:
    case DType::uint64:
      return 8;
    case DType::f32:
    case DType::int32:
    case DType::uint32:
      return 4;
    case DType::f16:
    case DType::bf16:
    case DType::int16:
    case DType::uint16:
      return 2;
    case DType::int8:
    case DType::uint8:
    case DType::boolean:
      return 1;
  }
  fail("unknown element type");
}

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::int8:
      return "int8";
    case DType::int16:
      return "int16";
    case DType::int32:
      return "int32";
    case DType::int64:
      return "int64";
    case DType::uint8:
      return "uint8";
    case DType::uint16:
      return "uint16";
    case DType::uint32:
      return "uint32";
    case DType::uint64:
      return "uint64";
    case DType::boolean:
      return "bool";
  }
  return "unknown";
}

namespace {

std::size_t checked_bytes(DType dtype, const Shape& shape) {
  // sizes come from files: refuse what cannot be counted
  i64 total = element_bytes(dtype);
  for (const i64 size : shape.sizes()) {
    check(size >= 0 && !__builtin_mul_overflow(total, size, &total), "shape ", shape,
          " is not a size of a tensor");
  }
  return static_cast<std::size_t>(total);
}

float float_from_half(u16 bits) {
  const u32 sign = u32{bits & 0x8000u} << 16;
  const u32 exponent = (bits >> 10) & 31u;
  const u32 mantissa = bits & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

template <typename Visit>
void visit_values(const Tensor& tensor, Visit visit) {
  const i64 count = tensor.numel();
  const auto each = [&](const auto* values) {
    for (i64 i = 0; i < count; ++i) visit(i, values[i]);
  };
  const auto* raw = reinterpret_cast<const u16*>(tensor.bytes());
  switch (tensor.dtype()) {
    case DType::f32:
      return each(tensor.data<float>());
    case DType::f64:
      return each(tensor.data<double>());
    case DType::int8:
      return each(tensor.data<i8>());
    case DType::int16:
      return each(tensor.data<i16>());
    case DType::int32:
      return each(tensor.data<i32>());
    case DType::int64:
      return each(tensor.data<i64>());
    case DType::uint8:
      return each(tensor.data<u8>());
    case DType::uint16:
      return each(tensor.data<u16>());
    case DType::uint32:
      return each(tensor.data<u32>());
    case DType::uint64:
      return each(tensor.data<u64>());
    case DType::boolean:
      return each(reinterpret_cast<const u8*>(tensor.bytes()));
    case DType::f16:
      for (i64 i = 0; i < count; ++i) visit(i, float_from_half(raw[i]));
      return;
    case DType::bf16:
      for (i64 i = 0; i < count; ++i) visit(i, std::bit_cast<float>(u32{raw[i]} << 16));
      return;
  }
}

}  // namespace

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype), shape_(shape), block_(checked_bytes(dtype, shape)) {}

Tensor Tensor::clone() const {
  Tensor copy(dtype_, shape_);
  if (byte_count() > 0) std::memcpy(copy.bytes(), bytes(), static_cast<std::size_t>(byte_count()));
  return copy;
}

Tensor Tensor::reshaped(Shape shape) && {
  check(shape.numel() == numel(), "tensor of shape ", shape_, " cannot be seen as ", shape);
  shape_ = shape;
  return std::move(*this);
}

Tensor Tensor::converted(DType dtype) const {
  if (dtype == dtype_) return clone();
  Tensor result(dtype, shape_);
  const auto into = [&](auto* out) {
    using Out = std::remove_pointer_t<decltype(out)>;
    visit_values(*this, [&](i64 i, auto value) { out[i] = static_cast<Out>(value); });
  };
  switch (dtype) {
    case DType::f32:
      into(result.data<float>());
      break;
    case DType::f64:
      into(result.data<double>());
      break;
    case DType::int32:
      into(result.data<i32>());
      break;
    case DType::int64:
      into(result.data<i64>());
      break;
    case DType::uint8:
      into(result.data<u8>());
      break;
    default:
      fail("conversion from ", dtype_, " to ", dtype, " is not supported");
  }
  return result;
}

}  // namespace orrery
