#include "tests/floors/floors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"

namespace orrery::floors {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<Source> sources_of_the_repository() {
  const std::filesystem::path root = ORRERY_SOURCE_DIR;
  std::vector<Source> sources;
  for (const char* top : {"src", "include", "bench", "apps"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / top)) {
      if (!entry.is_regular_file()) continue;
      sources.push_back(
          {std::filesystem::relative(entry.path(), root).generic_string(), read(entry.path())});
    }
  }
  return sources;
}

Table table_of_the_repository() {
  return table_from_markdown(
      read(std::filesystem::path(ORRERY_SOURCE_DIR) / "docs" / "architecture.md"));
}

std::vector<std::string> check_one(const char* path, const char* text) {
  return violations(table_of_the_repository(), {{path, text}});
}

TEST(Floors, NobodyLooksUpOrSideways) {
  const auto sources = sources_of_the_repository();
  ASSERT_GT(sources.size(), 100u) << "the repository was not found";
  for (const auto& sentence : violations(table_of_the_repository(), sources)) {
    ADD_FAILURE() << sentence;
  }
}

TEST(Floors, TableIsReadFromTheDocument) {
  const Table table = table_from_markdown(
      "| floor | folders | what |\n| ---: | --- | --- |\n| 0 | `base` | x |\n| 3 | `io`, `env` | y "
      "|\n");
  EXPECT_EQ(table, (Table{{"base", 0}, {"io", 3}, {"env", 3}}));
  EXPECT_THROW(table_from_markdown("| 0 | base | x |\n| 1 | base | y |\n"), Error);
  EXPECT_LT(table_of_the_repository().at("plan"), table_of_the_repository().at("models"));
}

// planted violations: a checker that finds nothing would pass the first test too
TEST(Floors, AnIncludeUpwardIsFound) {
  EXPECT_THAT(check_one("src/ops/x.cpp", "#include <vector>\n\n#include \"plan/cem.h\"\n"),
              ElementsAre(AllOf(HasSubstr("src/ops/x.cpp:3: includes plan/cem.h"),
                                HasSubstr("ops stands on floor 4 and plan on floor 5"))));
  EXPECT_THAT(check_one("src/plan/x.h", " # include  \"models/lewm/model.h\"  // why\n"),
              SizeIs(1));
  EXPECT_THAT(check_one("src/eval/x.h", "#include \"orrery/orrery.h\"\n"), SizeIs(1));
  EXPECT_THAT(check_one("src/ops/x.h", "#include \"bench/figure.h\"\n"), SizeIs(1));
}

TEST(Floors, AnIncludeSidewaysIsFound) {
  EXPECT_THAT(check_one("src/media/x.cpp", "#include \"io/json.h\"\n"),
              ElementsAre(HasSubstr("media stands on floor 3 and io on floor 3")));
  EXPECT_THAT(check_one("src/models/lewm/x.cpp", "#include \"models/rwkv7/state.h\"\n"),
              ElementsAre(HasSubstr("one family does not know another")));
}

TEST(Floors, PathsBeginAtSrc) {
  EXPECT_THAT(check_one("src/plan/x.cpp", "#include \"cem.h\"\n"), SizeIs(1));
  EXPECT_THAT(check_one("src/plan/x.cpp", "#include \"../io/json.h\"\n"), SizeIs(1));
}

TEST(Floors, AFolderWithoutAFloorIsFound) {
  EXPECT_THAT(check_one("src/attic/x.cpp", "#include \"base/error.h\"\n"),
              ElementsAre(HasSubstr("attic is not in the table")));
}

TEST(Floors, ThePromiseStandsAlone) {
  EXPECT_THAT(check_one("include/orrery/x.h", "#include <hwy/highway.h>\n"), SizeIs(1));
  EXPECT_THAT(check_one("include/orrery/x.h", "#include <png.h>\n"), SizeIs(1));
  EXPECT_THAT(check_one("include/orrery/x.h", "#include \"base/types.h\"\n"), SizeIs(1));
  EXPECT_THAT(check_one("include/orrery/x.h",
                        "#include <cstdint>\n#include <stdint.h>\n#include \"orrery/y.h\"\n"),
              IsEmpty());
}

TEST(Floors, ThirdPartiesStayInTheirFolder) {
  EXPECT_THAT(check_one("src/models/lewm/x.cpp", "#include <hwy/highway.h>\n"), SizeIs(1));
  EXPECT_THAT(check_one("src/data/x.cpp", "#include <hdf5.h>\n"), SizeIs(1));
  EXPECT_THAT(check_one("apps/orrery/x.cpp", "#include <hwy/highway.h>\n"), SizeIs(1));
  EXPECT_THAT(check_one("src/ops/x_cpu.cpp", "#include <hwy/highway.h>\n"), IsEmpty());
  EXPECT_THAT(check_one("bench/x.cpp", "#include <hwy/highway.h>\n"), IsEmpty());
}

TEST(Floors, TheToolkitStaysInDeviceCode) {
  const char* const runtime = "#include <cuda_runtime.h>\n";
  EXPECT_THAT(check_one("src/ops/x.cpp", runtime),
              ElementsAre(HasSubstr("src/ops/x.cpp:1: includes <cuda_runtime.h>")));
  EXPECT_THAT(check_one("src/ops/x.h", "#include <cuda_bf16.h>\n"), SizeIs(1));
  EXPECT_THAT(check_one("apps/orrery/x.cpp", runtime), SizeIs(1));
  for (const char* path : {"src/ops/x.cu", "src/ops/x_device.h", "src/device/context_cuda.cpp",
                           "src/plan/x.cuh", "bench/x.cu"}) {
    EXPECT_THAT(check_one(path, runtime), IsEmpty()) << path;
  }
  EXPECT_THAT(check_one("src/ops/x.cu", "#include <cublasLt.h>\n"), SizeIs(1));
  EXPECT_THAT(check_one("bench/x.cpp", "#include <cublasLt.h>\n"), IsEmpty());
}

TEST(Floors, KernelsFollowTheFloors) {
  EXPECT_THAT(check_one("src/ops/x.cu", "#include \"plan/cem.h\"\n"),
              ElementsAre(HasSubstr("src/ops/x.cu:1: includes plan/cem.h")));
  EXPECT_THAT(check_one("src/ops/x.cuh", "#include \"models/lewm/model.h\"\n"), SizeIs(1));
  EXPECT_THAT(check_one("src/ops/x_test.cu", "#include \"tests/emulation/x.h\"\n"), IsEmpty());
}

TEST(Floors, ALinkUpwardIsFound) {
  EXPECT_THAT(check_one("src/ops/CMakeLists.txt",
                        "orrery_folder(ops USES base plan\n  LIBRARIES models::x)\n"),
              ElementsAre(HasSubstr("links plan")));
  EXPECT_THAT(check_one("src/plan/CMakeLists.txt", "orrery_folder(plan USES base lewm)\n"),
              ElementsAre(HasSubstr("links lewm")));
}

TEST(Floors, WhatIsAllowedPasses) {
  EXPECT_THAT(check_one("src/models/lewm/x.cpp",
                        "#include \"models/lewm/model.h\"\n#include \"plan/cem.h\"\n"
                        "#include <nlohmann/json.hpp>\n// #include \"train/loop.h\"\n"),
              IsEmpty());
  EXPECT_THAT(check_one("src/io/x_test.cpp", "#include \"tests/fuzz/damage.h\"\n"), IsEmpty());
  EXPECT_THAT(check_one("src/io/x.cpp", "#include \"tests/fuzz/damage.h\"\n"), SizeIs(1));
  EXPECT_THAT(check_one("apps/orrery/x.cpp", "#include \"verbs.h\"\n#include \"eval/run.h\"\n"),
              IsEmpty());
}

}  // namespace
}  // namespace orrery::floors
