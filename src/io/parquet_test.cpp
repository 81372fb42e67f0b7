#include "io/parquet.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"

namespace orrery {
namespace {

// written by pyarrow: tests/fuzz/make_corpus.py says of what
std::filesystem::path corpus() {
  return std::filesystem::path(ORRERY_SOURCE_DIR) / "tests" / "fuzz" / "corpus" / "parquet";
}

std::string words_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(Parquet, ReadsWhatArrowWrites) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(corpus())) {
    SCOPED_TRACE(entry.path());
    ++files;
    const ParquetReader reader(entry.path());
    ASSERT_EQ(reader.rows(), 40);
    const auto read = [&](const char* name) { return reader.read(reader.find(name)); };
    const Tensor state = read("state"), action = read("action"), index = read("index");
    const Tensor small = read("small"), done = read("done"), reward = read("reward");
    ASSERT_EQ(state.shape(), Shape({40, 2}));
    ASSERT_EQ(action.shape(), Shape({40, 3}));
    ASSERT_EQ(index.shape(), Shape({40}));
    ASSERT_EQ(done.dtype(), DType::boolean);
    for (i64 i = 0; i < 40; ++i) {
      EXPECT_EQ(state.data<float>()[2 * i + 1], static_cast<float>(2 * i + 1) / 4);
      for (i64 k = 0; k < 3; ++k) {
        EXPECT_EQ(action.data<double>()[3 * i + k], static_cast<double>(k * i) * 0.5);
      }
      EXPECT_EQ(index.data<i64>()[i], i);
      EXPECT_EQ(small.data<i32>()[i], i % 3);
      EXPECT_EQ(done.data<bool>()[i], i % 7 == 0);
      const double got = reward.data<double>()[i];
      if (i % 5 == 0) {
        EXPECT_TRUE(std::isnan(got)) << i;
      } else {
        EXPECT_EQ(got, static_cast<double>(i) / 2);
      }
    }
    EXPECT_FALSE(reader.columns()[static_cast<std::size_t>(reader.find("task"))].refusal.empty());
    EXPECT_THROW(read("task"), Error);
    EXPECT_THROW(read("ragged"), Error);
    const i64 task = reader.find("task");
    i64 next = 3;
    reader.read_blobs(task, 3, 40, [&](i64 row, std::span<const std::byte> blob) {
      EXPECT_EQ(row, next++);
      EXPECT_EQ(words_of(blob), "push");
    });
    EXPECT_EQ(next, 40);
    // byte i, 1 to 4 times; nothing where the record is missing
    const i64 picture = reader.find("picture", "bytes");
    ASSERT_GE(picture, 0);
    for (const auto& [begin, end] :
         {std::pair<i64, i64>{0, 40}, {0, 0}, {12, 14}, {26, 40}, {39, 40}}) {
      next = begin;
      reader.read_blobs(picture, begin, end, [&](i64 row, std::span<const std::byte> blob) {
        EXPECT_EQ(row, next++);
        const auto times = static_cast<std::size_t>(row % 9 == 4 ? 0 : row % 4 + 1);
        EXPECT_EQ(words_of(blob), std::string(times, static_cast<char>(row)));
      });
      EXPECT_EQ(next, end);
    }
    reader.read_blobs(
        reader.find("picture", "path"), 7, 8,
        [&](i64, std::span<const std::byte> blob) { EXPECT_EQ(words_of(blob), "1.png"); });
    EXPECT_THROW(reader.read_blobs(picture, 0, 41, [](i64, std::span<const std::byte>) {}), Error);
    EXPECT_THROW(
        reader.read_blobs(reader.find("index"), 0, 1, [](i64, std::span<const std::byte>) {}),
        Error);
    EXPECT_EQ(reader.find("picture", "nothing"), -1);
    EXPECT_EQ(reader.find("nothing"), -1);
  }
  EXPECT_GE(files, 4);
}

TEST(Parquet, ShortenedAndChangedFilesAreErrorsOrValues) {
  const MappedFile file(corpus() / "snappy");
  const std::vector<std::byte> whole(file.bytes().begin(), file.bytes().end());
  const auto read_all = [](const std::vector<std::byte>& bytes) {
    const ParquetReader reader(bytes, "input");
    for (i64 c = 0; c < static_cast<i64>(reader.columns().size()); ++c) {
      try {
        if (reader.columns()[static_cast<std::size_t>(c)].blob) {
          reader.read_blobs(c, 0, reader.rows(), [](i64, std::span<const std::byte>) {});
        } else {
          reader.read(c);
        }
      } catch (const Error&) {
      }
    }
  };
  for (std::size_t length = 0; length < whole.size(); length += 7) {
    EXPECT_THROW(read_all({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)}),
                 Error);
  }
  // any byte may be anything: nothing but an Error may come out
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const int change : {1, 128, 255}) {
      std::vector<std::byte> changed = whole;
      changed[at] ^= static_cast<std::byte>(change);
      try {
        read_all(changed);
      } catch (const Error&) {
      }
    }
  }
}

}  // namespace
}  // namespace orrery
