#include "io/zarr.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "base/atomic_file.h"
#include "base/error.h"

namespace orrery {
namespace {

class Zarr : public testing::Test {
 protected:
  Zarr() {
    folder_ = std::filesystem::temp_directory_path() / text("orrery-zarr-", ::getpid());
    std::filesystem::create_directories(folder_);
  }
  ~Zarr() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

std::vector<i32> numbers(i64 count) {
  std::vector<i32> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), -5);
  return values;
}

TEST_F(Zarr, WhatIsWrittenIsReadWithEveryCodec) {
  const auto values = numbers(23 * 6);
  for (const BloscCodec codec : {BloscCodec::blosclz, BloscCodec::lz4, BloscCodec::lz4hc,
                                 BloscCodec::snappy, BloscCodec::zlib, BloscCodec::zstd}) {
    for (const BloscShuffle shuffle : {BloscShuffle::none, BloscShuffle::byte, BloscShuffle::bit}) {
      const auto path = folder_ / text(name_of(codec), static_cast<int>(shuffle));
      ZarrWriter writer(path);
      const i64 packed =
          writer.add_array("data/a", DType::int32, {2, 3}, 5, BloscSettings{codec, 5, shuffle});
      const i64 plain = writer.add_array("data/b", DType::int32, {6}, 23, std::nullopt);
      // in pieces that do not fit the chunks
      for (i64 row = 0; row < 23; row += 4) {
        const i64 count = std::min<i64>(4, 23 - row);
        writer.append(packed, count, values.data() + row * 6);
        writer.append(plain, count, values.data() + row * 6);
        writer.flush();
      }
      const ZarrReader reader(path);
      for (const char* array : {"data/a", "data/b"}) {
        const i64 index = reader.find(array);
        ASSERT_GE(index, 0);
        ASSERT_EQ(reader.arrays()[static_cast<std::size_t>(index)].refusal, "");
        const auto got = reader.read_all(index);
        ASSERT_EQ(got.size(), values.size() * 4);
        EXPECT_EQ(0, std::memcmp(got.data(), values.data(), got.size())) << path << array;
      }
      zip_folder(path, folder_ / "store.zarr.zip");
      const ZarrReader zipped(folder_ / "store.zarr.zip");
      const auto got = zipped.read_all(zipped.find("data/a"));
      EXPECT_EQ(0, std::memcmp(got.data(), values.data(), got.size()));
    }
  }
}

TEST_F(Zarr, MissingChunksHoldTheFillValue) {
  std::filesystem::create_directories(folder_ / "s/a");
  write_file(folder_ / "s/.zgroup", "{\"zarr_format\": 2}");
  write_file(folder_ / "s/a/.zarray",
             R"({"zarr_format": 2, "shape": [5], "chunks": [2], "dtype": "<f8", "order": "C",
                 "compressor": null, "filters": null, "fill_value": "NaN"})");
  const std::vector<double> chunk = {1, 2};
  write_file(folder_ / "s/a/1", {reinterpret_cast<const char*>(chunk.data()), 16});
  const ZarrReader reader(folder_ / "s");
  const auto bytes = reader.read_all(0);
  std::vector<double> got(5);
  ASSERT_EQ(bytes.size(), 40u);
  std::memcpy(got.data(), bytes.data(), 40);
  EXPECT_TRUE(std::isnan(got[0]) && std::isnan(got[1]) && std::isnan(got[4]));
  EXPECT_EQ(got[2], 1);
  EXPECT_EQ(got[3], 2);
}

TEST_F(Zarr, ChunksThatCutRowsAreJoined) {
  std::filesystem::create_directories(folder_ / "s/a");
  write_file(folder_ / "s/a/.zarray",
             R"({"zarr_format": 2, "shape": [3, 3], "chunks": [2, 2], "dtype": "|u1", "order": "C",
                 "compressor": null, "filters": null, "fill_value": 9,
                 "dimension_separator": "."})");
  // rows 012 345 678, cut into squares of two; what lies outside is not looked at
  write_file(folder_ / "s/a/0.0", std::string("\0\1\3\4", 4));
  write_file(folder_ / "s/a/0.1", std::string("\2\77\5\77", 4));
  write_file(folder_ / "s/a/1.0", std::string("\6\7\77\77", 4));
  const ZarrReader reader(folder_ / "s");
  const auto got = reader.read_all(0);
  ASSERT_EQ(got.size(), 9u);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(static_cast<int>(got[static_cast<std::size_t>(i)]), i);
  EXPECT_EQ(static_cast<int>(got[8]), 9);  // of a chunk that is missing
}

TEST_F(Zarr, DamagedChunksAreErrors) {
  const auto values = numbers(40);
  ZarrWriter writer(folder_ / "s");
  const i64 array = writer.add_array("a", DType::int32, {4}, 10, BloscSettings{});
  writer.append(array, 10, values.data());
  writer.flush();
  const std::string whole = read_file(folder_ / "s/a/0.0", 1 << 20);
  const ZarrReader reader(folder_ / "s");
  for (const std::size_t length : {std::size_t{0}, std::size_t{3}, whole.size() - 1}) {
    write_file(folder_ / "s/a/0.0", whole.substr(0, length));
    EXPECT_THROW(reader.read_all(0), Error) << length;
  }
  // more or fewer bytes inside than the array needs
  std::string other = whole;
  other[4] = static_cast<char>(other[4] + 4);
  write_file(folder_ / "s/a/0.0", other);
  EXPECT_THROW(reader.read_all(0), Error);
}

TEST(ZarrMetadata, RefusesWhatItCannotRead) {
  const std::string good =
      R"({"zarr_format": 2, "shape": [5, 2], "chunks": [2, 2], "dtype": "<f8", "order": "C",
          "compressor": null, "filters": null, "fill_value": 0})";
  EXPECT_EQ(parse_zarray(good, "a", "s").refusal, "");
  const auto refused = [&](const std::string& from, const std::string& to) {
    std::string changed = good;
    changed.replace(changed.find(from), from.size(), to);
    return !parse_zarray(changed, "a", "s").refusal.empty();
  };
  EXPECT_TRUE(refused("\"zarr_format\": 2", "\"zarr_format\": 3"));
  EXPECT_TRUE(refused("[5, 2]", "[5]"));
  EXPECT_TRUE(refused("[5, 2]", "[5, -2]"));
  EXPECT_TRUE(refused("[5, 2]", "[5, 0]"));
  EXPECT_TRUE(refused("[5, 2]", "[5, 1e3]"));
  EXPECT_TRUE(refused("[2, 2]", "[0, 2]"));
  EXPECT_TRUE(refused("[2, 2]", "[281474976710656, 281474976710656]"));
  EXPECT_TRUE(refused("<f8", ">f8"));
  EXPECT_TRUE(refused("<f8", "<U3"));
  EXPECT_TRUE(refused("\"C\"", "\"F\""));
  EXPECT_TRUE(refused("\"compressor\": null", R"("compressor": {"id": "bz2"})"));
  EXPECT_TRUE(refused("\"filters\": null", R"("filters": [{"id": "delta"}])"));
  EXPECT_TRUE(refused("\"fill_value\": 0", "\"fill_value\": \"abc\""));
  EXPECT_THROW(parse_zarray("{", "a", "s"), Error);
}

}  // namespace
}  // namespace orrery
