#include "models/lewm/parity.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "models/lewm/recipe.h"
#include "tests/golden/shared.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

// every folder below golden/lewm that holds a model and what the reference computed with it
std::vector<fs::path> model_folders() {
  std::vector<fs::path> folders;
  const fs::path root = shared_folder() / "golden" / "lewm";
  if (!fs::is_directory(root)) return folders;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_directory() && fs::exists(entry.path() / "config.json") &&
        fs::exists(entry.path() / "expect.safetensors")) {
      folders.push_back(entry.path());
    }
  }
  return folders;
}

TEST(Parity, EveryStageOfEveryFolderIsWithinTheReferencesNoise) {
  ORRERY_NEEDS_SHARED(shared_folder() / "golden" / "lewm");
  Context ctx;
  const auto folders = model_folders();
  ASSERT_FALSE(folders.empty());
  for (const fs::path& folder : folders) {
    const lewm::ParityReport report = lewm::run_parity(ctx, folder);
    EXPECT_FALSE(report.stages.empty()) << folder;
    for (const lewm::ParityStage& stage : report.stages) {
      EXPECT_TRUE(stage.ok) << folder << ": " << stage.name << " is off by " << stage.max_abs
                            << ", accepted " << stage.tolerance;
    }
  }
}

TEST(Parity, NoticesAWrongWeight) {
  const fs::path golden = shared_folder() / "golden" / "lewm" / "tiny";
  ORRERY_NEEDS_SHARED(golden);
  // the folder again, with one norm's epsilon changed in its configuration
  const fs::path copy = fs::path(testing::TempDir()) / text("orrery-parity-", ::getpid());
  fs::remove_all(copy);
  fs::copy(golden, copy, fs::copy_options::recursive);
  nlohmann::json config = read_json(copy / "config.json");
  config["encoder"]["layer_norm_eps"] = 1e-2;
  fs::permissions(copy, fs::perms::owner_all);
  fs::permissions(copy / "config.json", fs::perms::owner_all);
  write_json(copy / "config.json", config);
  Context ctx;
  EXPECT_FALSE(lewm::run_parity(ctx, copy).ok());
  for (const auto& entry : fs::recursive_directory_iterator(copy))
    fs::permissions(entry.path(), fs::perms::owner_all);
  fs::remove_all(copy);
}

TEST(Recipe, MakesTheRecordedValues) {
  for (const fs::path& folder : model_folders()) {
    if (!fs::exists(folder / "recipe.json")) continue;
    const nlohmann::json recipe = read_json(folder / "recipe.json");
    const lewm::Weights weights = lewm::weights_from_recipe(
        lewm::read_config(folder / "config.json"), folder / "recipe.json");
    EXPECT_EQ(weights.parameters.numel(), recipe.at("parameters").get<i64>());
    const TensorMap tensors = lewm::tensors_from_weights(weights);
    EXPECT_EQ(tensors.size(), recipe.at("tensor_count").get<std::size_t>());
    for (const auto& [name, entry] : recipe.at("tensors").items()) {
      if (!entry.contains("first_values")) continue;
      const auto values = entry.at("first_values").get<std::vector<float>>();
      for (std::size_t i = 0; i < values.size(); ++i) {
        EXPECT_EQ(tensors.at(name).data<float>()[i], values[i]) << name << " " << i;
      }
    }
  }
  ORRERY_NEEDS_SHARED(shared_folder() / "golden" / "lewm");
}

}  // namespace
}  // namespace orrery
