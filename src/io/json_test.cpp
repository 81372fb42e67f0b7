#include "io/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/fuzz/damage.h"

namespace orrery {
namespace {

using ::testing::HasSubstr;

TEST(Json, RoundTrips) {
  const auto path = std::filesystem::path(::testing::TempDir()) / text(::getpid(), "-round.json");
  const auto value = nlohmann::json::parse(R"({"b": [1, 2.5, null], "a": {"c": true}})");
  write_json(path, value);
  EXPECT_EQ(read_json(path), value);
  EXPECT_THAT(error_of([&] { write_json(path, "\xff"); }), HasSubstr("not UTF-8"));
  EXPECT_EQ(read_json(path), value);
  std::filesystem::remove(path);
}

TEST(Json, SaysWhatIsWrong) {
  EXPECT_EQ(error_of([] { parse_json("{\"a\": 1,}", "c.json"); }),
            "c.json is not valid JSON at byte 9");
  EXPECT_EQ(error_of([] { parse_json("", "c.json"); }), "c.json is not valid JSON at byte 1");
  EXPECT_EQ(error_of([] { parse_json(R"({"x": {"a": 1, "a": 2}})", "c.json"); }),
            "c.json has the key 'a' twice in one object");
  EXPECT_NO_THROW(parse_json(R"([{"a": 1}, {"a": 2}])", "c.json"));
  EXPECT_THAT(error_of([] { parse_json("1e999", "c.json"); }), HasSubstr("too large"));
  const std::string deep = std::string(100'000, '[');
  EXPECT_THAT(error_of([&] { parse_json(deep, "c.json"); }), HasSubstr("nested deeper"));
}

}  // namespace
}  // namespace orrery
