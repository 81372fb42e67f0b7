#include "io/torch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "base/atomic_file.h"
#include "io/pickle.h"
#include "io/tensors.h"
#include "tests/fuzz/damage.h"

namespace orrery {
namespace {

using ::testing::HasSubstr;

// files that PyTorch wrote (tests/fuzz/make_corpus.py)
std::filesystem::path seed(const std::string& name) {
  return std::filesystem::path(ORRERY_SOURCE_DIR) / "tests" / "fuzz" / "corpus" / name;
}

std::span<const std::byte> bytes_of(std::string_view characters) {
  return {reinterpret_cast<const std::byte*>(characters.data()), characters.size()};
}

std::vector<float> values_of(const Tensor& tensor) {
  const Tensor wide = tensor.converted(DType::f32);
  const auto span = wide.span<float>();
  return {span.begin(), span.end()};
}

TEST(Torch, ReadsPlainAndOrderedDictionaries) {
  const TensorMap plain = read_torch(seed("torch/plain"));
  ASSERT_EQ(plain.size(), 2u);
  EXPECT_EQ(plain.at("w").shape(), Shape({2, 3}));
  EXPECT_EQ(values_of(plain.at("w")), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(plain.at("n").dtype(), DType::int64);
  EXPECT_EQ(plain.at("n").span<i64>()[0], 3);

  // Linear and BatchNorm: 2 + 5 tensors; the _metadata attribute is no entry
  const TensorMap ordered = read_torch(seed("torch/ordered"));
  EXPECT_EQ(ordered.size(), 7u);
  EXPECT_EQ(values_of(ordered.at("1.running_var")), std::vector<float>{1});
}

TEST(Torch, MakesViewsContiguous) {
  const TensorMap tensors = read_torch(seed("torch/views"));
  ASSERT_EQ(tensors.size(), 6u);
  EXPECT_EQ(tensors.at("t").shape(), Shape({3, 2}));
  EXPECT_EQ(values_of(tensors.at("t")), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(values_of(tensors.at("row")), (std::vector<float>{3, 4, 5}));
  EXPECT_EQ(tensors.at("spread").shape(), Shape({4, 3}));
  EXPECT_EQ(values_of(tensors.at("spread")),
            (std::vector<float>{0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(tensors.at("none").numel(), 0);
  EXPECT_EQ(values_of(tensors.at("p")), values_of(tensors.at("same")));
}

TEST(Torch, FindsTheStateDict) {
  const TensorMap lightning = read_torch(seed("torch/lightning"));
  ASSERT_EQ(lightning.size(), 1u);
  EXPECT_EQ(lightning.at("model.w").dtype(), DType::f16);
  EXPECT_EQ(values_of(lightning.at("model.w")), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  const TensorMap wrapped = read_torch(seed("torch/wrapped"));
  EXPECT_EQ(wrapped.at("w").dtype(), DType::bf16);
  EXPECT_EQ(values_of(wrapped.at("w")), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  // a whole pickled module, of which nothing is executed
  const TensorMap module = read_torch(seed("torch/module"));
  ASSERT_EQ(module.size(), 2u);
  EXPECT_EQ(module.at("weight").shape(), Shape({1, 2}));
  EXPECT_EQ(read_torch(seed("torch/unsigned")).at("w").dtype(), DType::uint16);
}

TEST(Torch, SurvivesDamage) {
  const MappedFile file(seed("torch/plain"));
  const auto read = [](std::span<const std::byte> bytes) { parse_torch(bytes, "f"); };
  EXPECT_EQ(read_truncated(file.bytes(), read).read, 0);
  EXPECT_GT(read_flipped(file.bytes(), read).refused, 8 * 100);
}

// the storages of every seed: ramps long enough for all of them
TensorMap from_pickle(std::span<const std::byte> pickle) {
  const auto storage = [](const std::string&) { return std::vector<std::byte>(24); };
  return tensors_from_pickle(pickle, storage, 1 << 20, "f");
}

TEST(Torch, SurvivesDamagedPickles) {
  // here no checksum stands before the parser
  for (const char* name : {"plain", "views", "lightning", "module", "unsigned"}) {
    const MappedFile file(seed(std::string("pickle/") + name));
    EXPECT_EQ(read_truncated(file.bytes(), from_pickle).read, 0) << name;
    EXPECT_GT(read_flipped(file.bytes(), from_pickle).refused, 8 * 50) << name;
  }
}

// A dictionary {"w": tensor} with everything about the tensor given as opcodes.
std::string pickle_of(const std::string& offset, const std::string& sizes,
                      const std::string& strides, const std::string& count,
                      const std::string& storage = "ctorch\nFloatStorage\n") {
  const auto word = [](const std::string& text) {
    return std::string("\x8c") + static_cast<char>(text.size()) + text;
  };
  return "\x80\x02}" + word("w") + "ctorch._utils\n_rebuild_tensor_v2\n((" + word("storage") +
         storage + word("0") + word("cpu") + count + "tQ" + offset + sizes + strides + "\x89}tRs.";
}

std::string refusal(const std::string& pickle) {
  return error_of([&] { from_pickle(bytes_of(pickle)); });
}

TEST(Torch, BoundsEveryTensor) {
  using namespace std::string_literals;
  // K: one byte; J: i32; the storage has 24 bytes, six floats
  const std::string six = "K\x06", zero = "K\0"s, two_three = "K\x02K\x03\x86",
                    rows = "K\x03K\x01\x86";
  EXPECT_EQ(refusal(pickle_of(zero, two_three, rows, six)), "");
  EXPECT_THAT(refusal(pickle_of("K\x01", two_three, rows, six)), HasSubstr("reaches out"));
  EXPECT_THAT(refusal(pickle_of(zero, two_three, "K\x04K\x01\x86", six)), HasSubstr("reaches out"));
  EXPECT_THAT(refusal(pickle_of("J\xff\xff\xff\xff", two_three, rows, six)),
              HasSubstr("not a whole number"));
  EXPECT_THAT(refusal(pickle_of(zero, two_three, "J\xff\xff\xff\xffK\x01\x86", six)),
              HasSubstr("not a whole number"));
  EXPECT_THAT(refusal(pickle_of(zero, two_three, "K\x01\x85", six)), HasSubstr("2 sizes and 1"));
  EXPECT_THAT(refusal(pickle_of(zero, two_three, rows, "K\x07")),
              HasSubstr("has 24 bytes, the pickle says 28"));
  EXPECT_THAT(refusal(pickle_of(zero, two_three, rows, six, "ctorch\nComplexStorage\n")),
              HasSubstr("torch.ComplexStorage, which is not supported"));
  // 2^62 sizes and strides, by 8-byte integers
  const std::string large = "\x8a\x08\0\0\0\0\0\0\0\x40"s;
  EXPECT_THAT(refusal(pickle_of(zero, large + "\x85", "K\x01\x85", six)), HasSubstr("too large"));
  EXPECT_THAT(refusal(pickle_of(large, "K\x01\x85", "K\x01\x85", six)), HasSubstr("reaches out"));
  EXPECT_THAT(refusal(pickle_of(zero, "K\x03\x85", large + "\x85", six)), HasSubstr("reaches out"));
  EXPECT_THAT(refusal(pickle_of(zero, "K\x03\x85", "K\x01\x85", large)), HasSubstr("too large"));
  // a stride of 0 may not make terabytes of six floats: 2^30 elements
  const std::string many = "J\0\0\0\x40\x85"s;
  EXPECT_THAT(refusal(pickle_of(zero, many, "K\0\x85"s, six)), HasSubstr("more than the file"));
}

TEST(Torch, SaysWhatIsWrong) {
  EXPECT_THAT(error_of([] { parse_torch({}, "f"); }), HasSubstr("no PyTorch checkpoint"));
  EXPECT_THAT(refusal("\x80\x02}."), HasSubstr("holds no state dict"));
  EXPECT_THAT(error_of([] { read_torch(seed("npz/stored")); }), HasSubstr("without data.pkl"));
  EXPECT_THAT(error_of([] { read_tensors(seed("image/rgb.png")); }),
              HasSubstr("is neither a safetensors file, nor a PyTorch checkpoint (zip), nor .npz"));
  EXPECT_EQ(read_tensors(seed("torch/plain")).size(), 2u);
  EXPECT_EQ(read_tensors(seed("npz/deflated")).size(), 2u);
  EXPECT_EQ(read_tensors(seed("safetensors/two")).size(), 2u);
}

TEST(Torch, ReadsBackWhatItWrote) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / text("orrery-torch-", ::getpid(), ".pt");
  TensorMap tensors;
  const std::vector<float> ramp = {0, 1, 2, 3, 4, 5};
  tensors.emplace("w", Tensor::of<float>({2, 3}, ramp));
  tensors.emplace("none", Tensor(DType::f32, {0, 4}));
  tensors.emplace("n", Tensor::of<i64>(Shape{}, std::vector<i64>{-7}));
  tensors.emplace("half", Tensor(DType::bf16, {2}));
  tensors.emplace("bytes", Tensor::of<u8>({3}, std::vector<u8>{1, 2, 255}));
  write_torch(path, tensors);
  const TensorMap back = read_torch(path);
  ASSERT_EQ(back.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(back.at(name).dtype(), tensor.dtype()) << name;
    EXPECT_EQ(back.at(name).shape(), tensor.shape()) << name;
    EXPECT_TRUE(
        std::equal(tensor.bytes(), tensor.bytes() + tensor.byte_count(), back.at(name).bytes()))
        << name;
  }
  // the same tensors, the same bytes
  const std::string first = read_file(path, 1 << 20);
  write_torch(path, tensors);
  EXPECT_TRUE(read_file(path, 1 << 20) == first);
  EXPECT_FALSE(read_torch_optimiser(path).has_value());

  tensors.emplace("wide", Tensor(DType::uint32, {1}));
  EXPECT_THAT(error_of([&] { write_torch(path, tensors); }), HasSubstr("no storage class"));
  EXPECT_TRUE(read_file(path, 1 << 20) == first);
  std::filesystem::remove(path);
}

TEST(Pickle, ReadsEveryProtocolAsData) {
  for (const char* name : {"values_2", "values_4", "values_5"}) {
    const MappedFile file(seed(std::string("pickle/") + name));
    const Pickle pickle = parse_pickle(file.bytes(), "f");
    const PickleNode& root = pickle.at(pickle.root);
    ASSERT_EQ(root.kind, PickleKind::dict) << name;
    ASSERT_EQ(root.items.size(), 12u) << name;
    const PickleNode& list = pickle.at(root.items[1]);
    ASSERT_EQ(list.items.size(), 6u) << name;
    const std::vector<i64> expected = {1, -1, 300, 70000, i64{1} << 40};
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(pickle.at(list.items[i]).integer, expected[i]) << name;
    }
    EXPECT_EQ(pickle.at(list.items[5]).kind, PickleKind::unknown) << name;
    const PickleNode& tuple = pickle.at(root.items[3]);
    EXPECT_EQ(pickle.at(tuple.items[0]).kind, PickleKind::none) << name;
    EXPECT_EQ(pickle.at(tuple.items[2]).real, 1.5) << name;
    EXPECT_EQ(pickle.at(tuple.items[4]).text, std::string(300, 'y')) << name;
    // complex(1, 2): named, not called
    const PickleNode& number = pickle.at(root.items[9]);
    EXPECT_EQ(number.kind, PickleKind::call) << name;
    EXPECT_THAT(pickle.at(number.callee).text, HasSubstr(".complex")) << name;
  }
}

TEST(Pickle, RefusesWhatDoesNotFit) {
  const auto refused = [](std::string_view pickle) {
    return error_of([&] { parse_pickle(bytes_of(pickle), "f"); });
  };
  EXPECT_EQ(refused("\x80\x02N."), "");
  EXPECT_EQ(refused(""), "f: pickle byte 0: it is cut short");
  EXPECT_THAT(refused("."), HasSubstr("a value is missing"));
  EXPECT_THAT(refused("N(."), HasSubstr("a value is missing"));  // none above the mark
  EXPECT_THAT(refused("Nt."), HasSubstr("a mark is missing"));
  EXPECT_THAT(refused("h\x01."), HasSubstr("memo 1 was never put"));
  EXPECT_THAT(refused("}(Nu."), HasSubstr("a key has no value"));
  EXPECT_THAT(refused("N(NNu."), HasSubstr("items go into what holds none"));
  EXPECT_THAT(refused("NNb."), HasSubstr("a state is given"));
  EXPECT_THAT(refused("NN\x93."), HasSubstr("name of a global"));
  EXPECT_THAT(refused("X\xff\xff\xff\xff."), HasSubstr("cut short"));
  EXPECT_THAT(refused("I1\n."), HasSubstr("opcode 73 is not supported"));
}

}  // namespace
}  // namespace orrery
