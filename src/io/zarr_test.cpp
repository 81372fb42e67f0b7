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

// one bit at a time, as RFC 3720 describes it
u32 crc32c_ref(std::string_view bytes) {
  u32 sum = ~u32{0};
  for (const char c : bytes) {
    sum ^= static_cast<u8>(c);
    for (int bit = 0; bit < 8; ++bit) sum = (sum & 1u) != 0 ? (sum >> 1) ^ 0x82f63b78u : sum >> 1;
  }
  return ~sum;
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string with_checksum(const std::string& bytes) {
  return bytes + bytes_of(std::vector<u32>{crc32c_ref(bytes)});
}

// format 3: 5 x 4 numbers in chunks of 2 x 2, four of them a file, and one of them nowhere
const std::string kThird =
    R"({"zarr_format": 3, "node_type": "array", "shape": [5, 4], "data_type": "int16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": -7, "attributes": {}, "storage_transformers": [],
        "codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [2, 2],
          "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, "crc32c"],
          "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}},
                           {"name": "crc32c"}], "index_location": "end"}}]})";

TEST_F(Zarr, ShardsOfFormatThreeAreRead) {
  ASSERT_EQ(crc32c_ref("123456789"), 0xe3069283u);  // the published check value
  std::filesystem::create_directories(folder_ / "s/data/a/c/0");
  std::filesystem::create_directories(folder_ / "s/data/a/c/1");
  write_file(folder_ / "s/zarr.json", R"({"zarr_format": 3, "node_type": "group"})");
  write_file(folder_ / "s/data/zarr.json", R"({"zarr_format": 3, "node_type": "group"})");
  write_file(folder_ / "s/data/a/zarr.json", kThird);
  const auto chunk = [](i16 a, i16 b, i16 c, i16 d) {
    return with_checksum(bytes_of(std::vector<i16>{a, b, c, d}));
  };
  // the first shard: rows 0 to 3; chunk (1, 0) is missing, the others lie in any order
  const std::string chunks = chunk(2, 3, 6, 7) + chunk(0, 1, 4, 5) + chunk(14, 15, 18, 19);
  const u64 none = ~u64{0};
  const std::string index =
      with_checksum(bytes_of(std::vector<u64>{12, 12, 0, 12, none, none, 24, 12}));
  write_file(folder_ / "s/data/a/c/0/0", chunks + index);
  // the second: row 4 alone
  write_file(folder_ / "s/data/a/c/1/0",
             chunk(20, 21, 0, 0) + chunk(22, 23, 0, 0) +
                 with_checksum(bytes_of(std::vector<u64>{0, 12, 12, 12, none, none, none, none})));
  const ZarrReader reader(folder_ / "s");
  ASSERT_EQ(reader.arrays().size(), 1u);
  ASSERT_EQ(reader.arrays()[0].refusal, "");
  const auto read = [&] {
    const auto bytes = reader.read_all(reader.find("data/a"));
    std::vector<i16> values(bytes.size() / 2);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  };
  EXPECT_EQ(read(), (std::vector<i16>{0,  1,  2,  3,  4,  5,  6,  7,  -7, -7,
                                      14, 15, -7, -7, 18, 19, 20, 21, 22, 23}));
  zip_folder(folder_ / "s", folder_ / "s.zip");
  EXPECT_EQ(ZarrReader(folder_ / "s.zip").read_all(0).size(), 40u);

  // any byte of a chunk or of the index that is changed shows, and what lies outside is not read
  for (std::size_t at = 0; at < chunks.size() + index.size(); ++at) {
    std::string damaged = chunks + index;
    damaged[at] ^= 4;
    write_file(folder_ / "s/data/a/c/0/0", damaged);
    EXPECT_THROW(read(), Error) << at;
  }
  for (const u64 begin : {u64{1} << 40, ~u64{0} - 3, u64{36}}) {
    write_file(
        folder_ / "s/data/a/c/0/0",
        chunks + with_checksum(bytes_of(std::vector<u64>{begin, 120, 0, 12, none, none, 24, 12})));
    EXPECT_THROW(read(), Error) << begin;
  }
  write_file(folder_ / "s/data/a/c/0/0", index.substr(5));
  EXPECT_THROW(read(), Error);
}

TEST(ZarrMetadata, FormatThree) {
  const auto parsed = [](const std::string& from, const std::string& to) {
    std::string changed = kThird;
    changed.replace(changed.find(from), from.size(), to);
    return *parse_zarr_json(changed, "a", "s");
  };
  EXPECT_EQ(parsed("[5, 4]", "[5, 4]").shard, (std::vector<i64>{2, 2}));
  EXPECT_EQ(parsed("\"default\", \"configuration\": {\"separator\": \"/\"}", "\"v2\"").separator,
            '.');
  EXPECT_EQ(parsed("\"end\"", "\"start\"").index_first, true);
  EXPECT_EQ(parsed("\"crc32c\"]", "{\"name\": \"zstd\"}]").compressor, ZarrCompressor::zstd);
  // a float's fill value may be its bits
  const ZarrArray bits = parsed("\"int16\"", "\"float32\"");
  EXPECT_EQ(bits.refusal, "");
  std::string floats = kThird;
  floats.replace(floats.find("\"int16\""), 7, "\"float32\"");
  floats.replace(floats.find("-7"), 2, "\"0x7fc00001\"");
  const ZarrArray with_bits = *parse_zarr_json(floats, "a", "s");
  ASSERT_EQ(with_bits.refusal, "");
  u32 value = 0;
  std::memcpy(&value, with_bits.fill.data(), 4);
  EXPECT_EQ(value, 0x7fc00001u);

  EXPECT_FALSE(parse_zarr_json(R"({"zarr_format": 3, "node_type": "group"})", "a", "s"));
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"zarr_format\": 3", "\"zarr_format\": 2"},
           {"regular", "rectilinear"},
           {"\"int16\"", "\"complex64\""},
           {"[4, 4]", "[4]"},
           {"[4, 4]", "[5, 4]"},
           {"[4, 4]", "[9007199254740992, 9007199254740992]"},
           {"[2, 2]", "[0, 2]"},
           {"little", "big"},
           {"\"crc32c\"]", "{\"name\": \"zstd\"}, {\"name\": \"gzip\"}]"},
           {"\"crc32c\"]", "{\"name\": \"transpose\"}]"},
           {"{\"name\": \"crc32c\"}]", "{\"name\": \"zstd\"}]"},
           {"\"end\"", "\"middle\""},
           {"\"separator\": \"/\"", "\"separator\": \"-\""},
           {"-7", "70000"},
           {"\"storage_transformers\": []", "\"storage_transformers\": [1]"}}) {
    EXPECT_NE(parsed(from, to).refusal, "") << from << " -> " << to;
  }
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
