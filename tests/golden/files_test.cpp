// Files that PyTorch, NumPy, safetensors and Pillow wrote, read by our readers.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <regex>
#include <set>
#include <string>

#include "io/json.h"
#include "io/npz.h"
#include "io/safetensors.h"
#include "io/tensors.h"
#include "media/image.h"
#include "tests/golden/sha256.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

bool same_values(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.byte_count() == 0 ||
          std::memcmp(a.bytes(), b.bytes(), static_cast<std::size_t>(a.byte_count())) == 0);
}

// the older vocabulary of the ViT's names, as the one of transformers 5 has them
std::string newer_name(std::string name) {
  name = std::regex_replace(name, std::regex(R"(^encoder\.encoder\.layer\.)"), "encoder.layers.");
  const bool layer = name.rfind("encoder.layers.", 0) == 0;
  if (!layer) return name;
  const std::pair<const char*, const char*> renames[] = {
      {R"(\.attention\.attention\.(query|key|value)\.)", ".attention.$1."},
      {R"(\.attention\.query\.)", ".attention.q_proj."},
      {R"(\.attention\.key\.)", ".attention.k_proj."},
      {R"(\.attention\.value\.)", ".attention.v_proj."},
      {R"(\.attention\.output\.dense\.)", ".attention.o_proj."},
      {R"(\.intermediate\.dense\.)", ".mlp.fc1."},
      {R"(\.output\.dense\.)", ".mlp.fc2."},
  };
  for (const auto& [from, to] : renames) name = std::regex_replace(name, std::regex(from), to);
  return name;
}

void expect_same(const TensorMap& expected, const TensorMap& found, const std::string& what) {
  EXPECT_EQ(found.size(), expected.size()) << what;
  for (const auto& [name, tensor] : expected) {
    const auto other = found.find(name);
    ASSERT_TRUE(other != found.end()) << what << ": no " << name;
    EXPECT_TRUE(same_values(tensor, other->second)) << what << ": " << name;
  }
}

TEST(GoldenFiles, CopiesOfTheTinyWeightsAreEqual) {
  const auto folder = shared_folder() / "golden" / "lewm" / "tiny";
  ORRERY_NEEDS_SHARED(folder);
  const TensorMap weights = read_tensors(folder / "weights.safetensors");
  ASSERT_FALSE(weights.empty());
  expect_same(weights, read_tensors(folder / "weights.pt"), "weights.pt");

  TensorMap renamed;
  for (auto& [name, tensor] : read_tensors(folder / "weights_v4keys.pt")) {
    renamed.emplace(newer_name(name), tensor.clone());
  }
  expect_same(weights, renamed, "weights_v4keys.pt");

  // Lightning: every name behind "model.", and the buffers of the loss beside them
  TensorMap unwrapped;
  const std::string prefix = "model.";
  for (auto& [name, tensor] : read_tensors(folder / "lightning.ckpt")) {
    if (name.rfind(prefix, 0) == 0) {
      unwrapped.emplace(name.substr(prefix.size()), tensor.clone());
    } else {
      EXPECT_EQ(name.rfind("sigreg.", 0), 0u) << name;
    }
  }
  expect_same(weights, unwrapped, "lightning.ckpt");
}

TEST(GoldenFiles, WeightsSurviveOurWriters) {
  const auto path = shared_folder() / "golden" / "lewm" / "tiny" / "weights.safetensors";
  ORRERY_NEEDS_SHARED(path);
  const TensorMap weights = read_tensors(path);
  const auto copy = std::filesystem::path(::testing::TempDir()) / text(::getpid(), "-copy");
  write_safetensors(copy, weights);
  expect_same(weights, read_tensors(copy), "safetensors");
  write_npz(copy, weights, /*deflate=*/true);
  expect_same(weights, read_tensors(copy), "npz");
  std::filesystem::remove(copy);
}

TEST(GoldenFiles, EveryCheckpointAndArrayFileIsRead) {
  ORRERY_NEEDS_SHARED(shared_folder() / "golden");
  int files = 0;
  for (const char* part : {"golden", "data"}) {
    if (!std::filesystem::exists(shared_folder() / part)) continue;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(shared_folder() / part)) {
      static const std::set<std::string> kTypes = {".pt", ".pth", ".ckpt", ".safetensors", ".npz"};
      if (!kTypes.contains(entry.path().extension().string())) continue;
      ++files;
      EXPECT_NO_THROW(EXPECT_FALSE(read_tensors(entry.path()).empty()) << entry.path())
          << entry.path();
    }
  }
  EXPECT_GT(files, 0);
}

TEST(GoldenFiles, RwkvCheckpointsHaveOneLayout) {
  const auto folder = shared_folder() / "data" / "rwkv-tiny";
  ORRERY_NEEDS_SHARED(folder);
  std::map<std::string, Shape> layout;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".pth") continue;
    std::map<std::string, Shape> found;
    for (const auto& [name, tensor] : read_tensors(entry.path())) {
      EXPECT_EQ(tensor.dtype(), DType::f32) << name;
      found.emplace(name, tensor.shape());
    }
    EXPECT_FALSE(found.empty());
    if (layout.empty()) layout = found;
    EXPECT_EQ(found, layout) << entry.path();
  }
}

TEST(GoldenFiles, HumanDemonstrationsHaveAsManyRowsAsTheyEnd) {
  const auto folder = shared_folder() / "data" / "pusht-human-demos";
  ORRERY_NEEDS_SHARED(folder);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".npz") continue;
    ++files;
    const TensorMap arrays = read_npz(entry.path());
    const auto ends = arrays.at("episode_ends").span<i64>();
    ASSERT_FALSE(ends.empty());
    for (std::size_t i = 1; i < ends.size(); ++i) EXPECT_GT(ends[i], ends[i - 1]);
    for (const auto& [name, array] : arrays) {
      if (name == "episode_ends") continue;
      EXPECT_EQ(array.size(0), ends.back()) << name;
    }
  }
  EXPECT_GT(files, 0);
}

TEST(GoldenFiles, NpzAndSafetensorsOfTheBinaryModelAreEqual) {
  const auto folder = shared_folder() / "data" / "lewm-xnor-bouncing-ball";
  ORRERY_NEEDS_SHARED(folder);
  expect_same(read_tensors(folder / "lewm_xnor_weights.npz"),
              read_tensors(folder / "lewm_xnor_weights.safetensors"), "safetensors");
  EXPECT_FALSE(read_safetensors_metadata(folder / "lewm_xnor_weights.safetensors").empty());
}

TEST(GoldenFiles, FramesHaveTheRecordedBytes) {
  const auto list = shared_folder() / "golden" / "lewm" / "full" / "frames.json";
  ORRERY_NEEDS_SHARED(list);
  EXPECT_EQ(sha256_of({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const nlohmann::json frames = read_json(list);
  ASSERT_FALSE(frames.empty());
  for (const auto& frame : frames) {
    const auto path = shared_folder() / "data" / "pusht-golden" / frame["file"].get<std::string>();
    const Image image = read_image(path);
    EXPECT_EQ(sha256_of(std::as_bytes(std::span<const u8>(image.rgb))),
              frame["sha256_rgb_bytes"].get<std::string>())
        << path;
  }
}

}  // namespace
}  // namespace orrery
