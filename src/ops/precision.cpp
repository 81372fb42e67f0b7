#include "ops/precision.h"

#include "base/error.h"

namespace orrery {

namespace {
constexpr Precision kAll[] = {Precision::f32, Precision::tf32, Precision::bf16, Precision::int8,
                              Precision::fp8};
}  // namespace

const char* name_of(Precision precision) {
  switch (precision) {
    case Precision::f32:
      return "f32";
    case Precision::tf32:
      return "tf32";
    case Precision::bf16:
      return "bf16";
    case Precision::int8:
      return "int8";
    case Precision::fp8:
      return "fp8";
  }
  return "?";
}

Precision precision_from(const std::string& name) {
  for (const Precision precision : kAll) {
    if (name == name_of(precision)) return precision;
  }
  fail("precision is \"", name, "\", needed f32, tf32, bf16, int8 or fp8");
}

}  // namespace orrery
