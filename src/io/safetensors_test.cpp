#include "io/safetensors.h"

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

std::vector<std::byte> file_of(const std::string& header, std::size_t value_bytes) {
  const u64 length = header.size();
  std::vector<std::byte> file(8 + header.size() + value_bytes);
  std::memcpy(file.data(), &length, 8);
  std::memcpy(file.data() + 8, header.data(), header.size());
  return file;
}

std::string refusal(const std::string& header, std::size_t value_bytes) {
  const auto file = file_of(header, value_bytes);
  return error_of([&] { parse_safetensors(file, "f"); });
}

TensorMap some_tensors() {
  TensorMap tensors;
  tensors.emplace("a.weight", Tensor::of<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}));
  tensors.emplace("count", Tensor::of<i64>({}, std::vector<i64>{-7}));
  tensors.emplace("bytes", Tensor::of<u8>({3}, std::vector<u8>{1, 2, 255}));
  tensors.emplace("none", Tensor(DType::f16, {0, 4}));
  tensors.emplace("wide \"name\" \xc3\xa9", Tensor::of<double>({1}, std::vector<double>{0.1}));
  return tensors;
}

TEST(Safetensors, RoundTrips) {
  const auto path = scratch("round.safetensors");
  const TensorMap tensors = some_tensors();
  write_safetensors(path, tensors, {{"format", "pt"}, {"note", "x"}});
  const TensorMap again = read_safetensors(path);
  ASSERT_EQ(again.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    ASSERT_TRUE(again.contains(name)) << name;
    const Tensor& other = again.at(name);
    EXPECT_EQ(other.dtype(), tensor.dtype()) << name;
    EXPECT_EQ(other.shape(), tensor.shape()) << name;
    const auto bytes = static_cast<std::size_t>(tensor.byte_count());
    EXPECT_TRUE(bytes == 0 || std::memcmp(other.bytes(), tensor.bytes(), bytes) == 0) << name;
  }
  EXPECT_EQ(read_safetensors_metadata(path), (Metadata{{"format", "pt"}, {"note", "x"}}));

  // header padded to 8; tensors in order of width, so every one is aligned
  const std::string bytes = read_file(path, 1 << 16);
  u64 length = 0;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  write_safetensors(path, {});
  EXPECT_TRUE(read_safetensors(path).empty());
  std::filesystem::remove(path);
}

TEST(Safetensors, RefusesAHeaderThatDoesNotFit) {
  EXPECT_THAT(error_of([] { parse_safetensors({}, "f"); }), HasSubstr("f has 0 bytes"));
  std::vector<std::byte> file = file_of("{}", 0);
  file[7] = std::byte{0x7f};
  EXPECT_THAT(error_of([&] { parse_safetensors(file, "f"); }), HasSubstr("cut short"));
  EXPECT_THAT(refusal("[]", 0), HasSubstr("not an object"));
  EXPECT_THAT(refusal("{\"a\":", 0), HasSubstr("not valid JSON"));
}

TEST(Safetensors, NamesTheTensorThatIsWrong) {
  const auto entry = [](const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}";
  };
  const auto one = [&](const std::string& dtype, const std::string& shape,
                       const std::string& offsets, std::size_t bytes) {
    return refusal(R"({"w":)" + entry(dtype, shape, offsets) + "}", bytes);
  };
  EXPECT_EQ(one("F32", "[2]", "[0,8]", 8), "");
  EXPECT_THAT(one("F8_E4M3", "[2]", "[0,2]", 2), HasSubstr("'w' has element type F8_E4M3"));
  EXPECT_THAT(one("F32", "[3]", "[0,8]", 8), HasSubstr("'w' of type F32 and shape (3)"));
  EXPECT_THAT(one("F32", "[-2]", "[0,8]", 8), HasSubstr("not a size"));
  EXPECT_THAT(one("F32", "[2.5]", "[0,8]", 8), HasSubstr("not a size"));
  EXPECT_THAT(one("F32", "[18446744073709551615]", "[0,8]", 8), HasSubstr("not a size"));
  EXPECT_THAT(one("F32", "[4611686018427387904, 4]", "[0,0]", 0), HasSubstr("does not fill"));
  EXPECT_THAT(one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]", 4), HasSubstr("9 dimensions"));
  EXPECT_THAT(one("F32", "[2]", "[8,0]", 8), HasSubstr("not a beginning and an end"));
  EXPECT_THAT(one("F32", "[2]", "[0,8]", 7), HasSubstr("has 7 bytes of values"));
  EXPECT_THAT(one("F32", "[2]", "[0,8]", 9), HasSubstr("has 9 bytes of values"));
  EXPECT_THAT(one("F32", "[2]", "[4,12]", 12), HasSubstr("begins at byte 4"));
  // two tensors on the same bytes, and one name twice
  const std::string a = entry("F32", "[2]", "[0,8]");
  EXPECT_THAT(refusal(R"({"a":)" + a + R"(,"b":)" + a + "}", 8), HasSubstr("begins at byte 0"));
  EXPECT_THAT(refusal(R"({"a":)" + a + R"(,"a":)" + a + "}", 8), HasSubstr("'a' twice"));
  EXPECT_THAT(refusal(R"({"w":3})", 0), HasSubstr("'w' is not described"));
}

TEST(Safetensors, MakesEveryOtherBooleanTrue) {
  auto file = file_of(R"({"w":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", 2);
  file.back() = std::byte{2};
  const TensorMap tensors = parse_safetensors(file, "f");
  EXPECT_FALSE(tensors.at("w").span<bool>()[0]);
  EXPECT_TRUE(tensors.at("w").span<bool>()[1]);
}

TEST(Safetensors, SurvivesDamage) {
  const auto path = scratch("damage.safetensors");
  write_safetensors(path, some_tensors(), {{"format", "pt"}});
  const MappedFile file(path);
  const auto read = [](std::span<const std::byte> bytes) { parse_safetensors(bytes, "f"); };
  EXPECT_EQ(read_truncated(file.bytes(), read).read, 0);
  const DamageCount flipped = read_flipped(file.bytes(), read);
  EXPECT_GT(flipped.refused, 0);
  EXPECT_GT(flipped.read, 0);  // a flipped value is another value
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace orrery
