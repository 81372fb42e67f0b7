#include "io/npz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "base/atomic_file.h"
#include "tests/fuzz/damage.h"

namespace orrery {
namespace {

using ::testing::HasSubstr;

std::filesystem::path scratch(const std::string& name) {
  return std::filesystem::path(::testing::TempDir()) / text(::getpid(), "-", name);
}

TensorMap some_tensors() {
  TensorMap tensors;
  tensors.emplace("action", Tensor::of<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}));
  tensors.emplace("count", Tensor::of<i64>({}, std::vector<i64>{-7}));
  tensors.emplace("frames", Tensor::of<u8>({3}, std::vector<u8>{1, 2, 255}));
  tensors.emplace("nothing", Tensor(DType::f64, {0, 4}));
  tensors.emplace("sub/half", Tensor(DType::f16, {1}));
  Tensor flags(DType::boolean, {2});
  flags.data<bool>()[1] = true;
  tensors.emplace("flags", std::move(flags));
  return tensors;
}

std::vector<std::byte> npy_of(const std::string& dict, std::size_t value_bytes) {
  std::string file = "\x93NUMPY";
  file += {1, 0, static_cast<char>(dict.size()), 0};
  file += dict;
  for (std::size_t i = 0; i < value_bytes; ++i) file += static_cast<char>(i);
  const auto* bytes = reinterpret_cast<const std::byte*>(file.data());
  return {bytes, bytes + file.size()};
}

std::string refusal(const std::string& dict, std::size_t value_bytes) {
  const auto file = npy_of(dict, value_bytes);
  return error_of([&] { parse_npy(file, "f"); });
}

TEST(Npz, RoundTripsStoredAndDeflated) {
  const auto path = scratch("round.npz");
  const TensorMap tensors = some_tensors();
  for (const bool deflate : {false, true}) {
    write_npz(path, tensors, deflate);
    const TensorMap again = read_npz(path);
    ASSERT_EQ(again.size(), tensors.size());
    for (const auto& [name, tensor] : tensors) {
      ASSERT_TRUE(again.contains(name)) << name;
      const Tensor& other = again.at(name);
      EXPECT_EQ(other.dtype(), tensor.dtype()) << name;
      EXPECT_EQ(other.shape(), tensor.shape()) << name;
      const auto bytes = static_cast<std::size_t>(tensor.byte_count());
      EXPECT_TRUE(bytes == 0 || std::memcmp(other.bytes(), tensor.bytes(), bytes) == 0) << name;
    }
  }
  const std::string first = read_file(path, 1 << 16);
  write_npz(path, tensors, true);
  EXPECT_EQ(read_file(path, 1 << 16), first);
  const TensorMap some = read_npz(path, [](const std::string& name) { return name == "count"; });
  EXPECT_EQ(some.size(), 1u);
  write_npz(path, {});
  EXPECT_TRUE(read_npz(path).empty());
  std::filesystem::remove(path);
}

TEST(Npz, RoundTripsOneArray) {
  const auto path = scratch("round.npy");
  write_npy(path, Tensor::of<i32>({3}, std::vector<i32>{1, -2, 3}));
  const Tensor again = read_npy(path);
  EXPECT_EQ(again.shape(), Shape({3}));
  EXPECT_EQ(again.span<i32>()[1], -2);
  EXPECT_THAT(read_file(path, 200), HasSubstr("(3,)"));
  EXPECT_THAT(error_of([&] { write_npy(path, Tensor(DType::bf16, {1})); }),
              HasSubstr("NumPy has no type for bf16"));
  EXPECT_EQ(read_npy(path).numel(), 3);
  std::filesystem::remove(path);
}

TEST(Npy, TurnsColumnMajorArrays) {
  const auto file = npy_of("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }", 6);
  const Tensor tensor = parse_npy(file, "f");
  // value i of the file is element (i % 2, i / 2)
  const std::vector<u8> expected = {0, 2, 4, 1, 3, 5};
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(tensor.span<u8>()[i], expected[i]);
}

TEST(Npy, SaysWhatIsWrong) {
  const std::string rest = "', 'fortran_order': False, 'shape': (2,), }";
  EXPECT_EQ(refusal("{'descr': '<f4" + rest, 8), "");
  EXPECT_THAT(refusal("{'descr': '<f4" + rest, 7), HasSubstr("has 7 bytes of values"));
  EXPECT_THAT(refusal("{'descr': '<U5" + rest, 40), HasSubstr("NumPy type '<U5'"));
  EXPECT_THAT(refusal("{'descr': '>f4" + rest, 8), HasSubstr("NumPy type '>f4'"));
  EXPECT_THAT(refusal("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", 8),
              HasSubstr("records"));
  const std::string head = "{'descr': '|u1', 'fortran_order': False, 'shape': ";
  EXPECT_THAT(refusal(head + "(99999999999999999999,), }", 0), HasSubstr("not understood"));
  EXPECT_THAT(refusal(head + "(4294967296, 4294967296), }", 0), HasSubstr("not what shape"));
  EXPECT_THAT(refusal(head + "(-2,), }", 0), HasSubstr("not understood"));
  EXPECT_THAT(refusal(head + "(1,1,1,1,1,1,1,1,1), }", 1), HasSubstr("9 dimensions"));
  EXPECT_THAT(refusal("{'descr': '|u1', 'shape': (2,), }", 2), HasSubstr("not understood"));
  EXPECT_THAT(refusal("", 2), HasSubstr("not understood"));
  EXPECT_THAT(error_of([] { parse_npz({}, "f"); }), HasSubstr("f is no readable zip file"));
}

TEST(Npy, SurvivesDamage) {
  const auto file = npy_of("{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }", 12);
  const auto read = [](std::span<const std::byte> bytes) { parse_npy(bytes, "f"); };
  EXPECT_EQ(read_truncated(file, read).read, 0);
  const DamageCount flipped = read_flipped(file, read);
  EXPECT_GE(flipped.read, 96);  // at least every bit of a value
  EXPECT_GT(flipped.refused, 0);
}

TEST(Npz, SurvivesDamage) {
  const auto path = scratch("damage.npz");
  for (const bool deflate : {false, true}) {
    write_npz(path, some_tensors(), deflate);
    const MappedFile file(path);
    const auto read = [](std::span<const std::byte> bytes) { parse_npz(bytes, "f"); };
    EXPECT_EQ(read_truncated(file.bytes(), read).read, 0);
    const DamageCount flipped = read_flipped(file.bytes(), read);
    // every byte of a value is under a checksum
    EXPECT_GT(flipped.refused, 8 * 100);
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace orrery
