#include "io/hdf5.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <numeric>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/random.h"

// what libhdf5 forgets after a damaged header is not ours
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace orrery {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class Hdf5 : public testing::Test {
 protected:
  Hdf5() {
    folder_ = std::filesystem::temp_directory_path() / text("orrery-hdf5-", ::getpid());
    std::filesystem::create_directories(folder_);
  }
  ~Hdf5() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path file(const std::string& name) const { return folder_ / name; }

  std::filesystem::path folder_;
};

std::vector<u8> pixels_of(i64 rows, i64 row_bytes) {
  std::vector<u8> pixels(static_cast<std::size_t>(rows * row_bytes));
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    // smooth, so that it compresses, and different everywhere
    pixels[i] = static_cast<u8>(i / 7 + i / static_cast<std::size_t>(row_bytes));
  }
  return pixels;
}

// 23 rows of images in Blosc chunks of 10, and the other types in chunks of 4
void write_sample(const std::filesystem::path& path) {
  const auto pixels = pixels_of(23, 8 * 6 * 3);
  std::vector<float> action(46);
  std::iota(action.begin(), action.end(), -3.0f);
  std::vector<i64> step(23);
  std::iota(step.begin(), step.end(), i64{1} << 40);
  std::vector<u8> ended(23);
  ended[22] = 1;

  Hdf5Writer writer(path);
  const i64 pixel_column =
      writer.add_column("pixels", DType::uint8, {8, 6, 3}, 10, BloscSettings{});
  const i64 action_column = writer.add_column("action", DType::f32, {2}, 4, std::nullopt);
  const i64 step_column = writer.add_column("step_idx", DType::int64, Shape({}), 4, std::nullopt);
  const i64 ended_column =
      writer.add_column("terminated", DType::boolean, Shape({}), 4, BloscSettings{});
  // appends of uneven length, across chunks
  i64 at = 0;
  for (const i64 rows : {3, 0, 14, 6}) {
    writer.append(pixel_column, rows, pixels.data() + at * 8 * 6 * 3);
    writer.append(action_column, rows, action.data() + at * 2);
    writer.append(step_column, rows, step.data() + at);
    writer.append(ended_column, rows, ended.data() + at);
    at += rows;
  }
  writer.close();
}

template <typename T>
std::vector<T> read_all(const Hdf5Reader& reader, const char* name, i64 begin = 0, i64 end = -1,
                        i64 stride = 1) {
  const i64 index = reader.find(name);
  EXPECT_GE(index, 0) << name;
  const Hdf5Column& column = reader.columns()[static_cast<std::size_t>(index)];
  if (end < 0) end = column.rows;
  std::vector<T> values(
      static_cast<std::size_t>((end - begin + stride - 1) / stride * column.row.numel()));
  reader.read(index, begin, end, stride, reinterpret_cast<std::byte*>(values.data()));
  return values;
}

TEST_F(Hdf5, ReadsWhatItWrote) {
  write_sample(file("a.h5"));
  const Hdf5Reader reader(file("a.h5"));
  ASSERT_EQ(reader.columns().size(), 4u);
  const Hdf5Column& pixels = reader.columns()[1];
  EXPECT_EQ(pixels.name, "pixels");
  EXPECT_EQ(pixels.rows, 23);
  EXPECT_EQ(pixels.row, Shape({8, 6, 3}));
  EXPECT_TRUE(pixels.blosc());
  EXPECT_EQ(pixels.chunk_rows, 10);
  EXPECT_EQ(reader.columns()[3].dtype, DType::boolean);

  const auto expected = pixels_of(23, 8 * 6 * 3);
  EXPECT_EQ(read_all<u8>(reader, "pixels"), expected);
  EXPECT_EQ(read_all<float>(reader, "action")[45], 42.0f);
  EXPECT_EQ(read_all<i64>(reader, "step_idx", 5, 23, 7),
            (std::vector<i64>{(i64{1} << 40) + 5, (i64{1} << 40) + 12, (i64{1} << 40) + 19}));
  const auto ended = read_all<u8>(reader, "terminated");
  EXPECT_EQ(std::accumulate(ended.begin(), ended.end(), 0), 1);
  EXPECT_EQ(ended[22], 1);
  // strided across chunks
  const auto some = read_all<u8>(reader, "pixels", 8, 22, 5);
  for (std::size_t k = 0; k < 3; ++k) {
    EXPECT_TRUE(std::equal(some.begin() + static_cast<std::ptrdiff_t>(k * 144),
                           some.begin() + static_cast<std::ptrdiff_t>((k + 1) * 144),
                           expected.begin() + static_cast<std::ptrdiff_t>((8 + 5 * k) * 144)));
  }
  // white frames are small: compression happened
  EXPECT_LT(std::filesystem::file_size(file("a.h5")), 12000u);
}

TEST_F(Hdf5, ReadsFromMemoryToo) {
  write_sample(file("a.h5"));
  const std::string bytes = read_file(file("a.h5"), 1 << 20);
  const Hdf5Reader reader(std::as_bytes(std::span(bytes)), "memory");
  EXPECT_EQ(read_all<u8>(reader, "pixels"), pixels_of(23, 8 * 6 * 3));
}

TEST_F(Hdf5, RefusesBadRequestsAndMissingFiles) {
  EXPECT_THAT([&] { Hdf5Reader reader(file("none.h5")); },
              ThrowsMessage<Error>(HasSubstr("none.h5: No such file")));
  write_file(file("text.h5"), "this is no HDF5 file");
  EXPECT_THAT([&] { Hdf5Reader reader(file("text.h5")); },
              ThrowsMessage<Error>(HasSubstr("text.h5 as HDF5")));
  write_file(file("empty.h5"), "");
  EXPECT_THROW(Hdf5Reader reader(file("empty.h5")), Error);
  write_sample(file("a.h5"));
  const Hdf5Reader reader(file("a.h5"));
  std::vector<std::byte> out(10000);
  EXPECT_THROW(reader.read(0, 0, 24, 1, out.data()), Error);
  EXPECT_THROW(reader.read(0, -1, 2, 1, out.data()), Error);
  EXPECT_THROW(reader.read(9, 0, 2, 1, out.data()), Error);
  EXPECT_THROW(reader.read_chunk(1, 3, out.data()), Error);
  EXPECT_EQ(reader.find("pixel"), -1);
}

// Reads everything a damaged file still offers; only Error may come out.
void read_whatever(std::string_view bytes) {
  try {
    const Hdf5Reader reader(std::as_bytes(std::span(bytes)), "damaged");
    for (std::size_t i = 0; i < reader.columns().size(); ++i) {
      const Hdf5Column& column = reader.columns()[i];
      const i64 rows = std::min<i64>(column.rows, 100);
      if (!column.refusal.empty() || column.row_bytes() > (1 << 20)) continue;
      std::vector<std::byte> out(static_cast<std::size_t>(rows * column.row_bytes()));
      try {
        reader.read(static_cast<i64>(i), 0, rows, 1, out.data());
      } catch (const Error&) {
      }
    }
  } catch (const Error&) {
  }
}

TEST_F(Hdf5, TruncatedAndFlippedFilesAreErrorsNotCrashes) {
  write_sample(file("a.h5"));
  const std::string whole = read_file(file("a.h5"), 1 << 20);
  for (std::size_t length = 0; length < whole.size(); length += 97) {
    EXPECT_THROW(Hdf5Reader(std::as_bytes(std::span(whole.data(), length)), "cut"), Error)
        << length;
  }
  Random random(7, 1);
  for (int i = 0; i < 1500; ++i) {
    std::string damaged = whole;
    for (u64 flips = 1 + random.below(3); flips > 0; --flips) {
      damaged[random.below(damaged.size())] ^= static_cast<char>(1u << random.below(8));
    }
    read_whatever(damaged);
  }
}

TEST_F(Hdf5, DamagedBloscFrameIsNamed) {
  write_sample(file("a.h5"));
  std::string bytes = read_file(file("a.h5"), 1 << 20);
  // the header of a frame of the images: version 2, 1440 bytes decoded
  const std::string header = {'\xa0', '\x05', 0, 0};
  std::size_t found = 0;
  for (std::size_t at = bytes.find(header); at != std::string::npos;
       at = bytes.find(header, at + 1)) {
    if (at < 4 || bytes[at - 4] != 2) continue;
    bytes[at + 1] = '\x7f';  // 32,672 bytes instead
    ++found;
  }
  ASSERT_EQ(found, 3u);
  const Hdf5Reader reader(std::as_bytes(std::span(bytes)), "damaged");
  EXPECT_THAT([&] { read_all<u8>(reader, "pixels"); },
              ThrowsMessage<Error>(HasSubstr("chunk 0 of column pixels of damaged")));
}

TEST_F(Hdf5, FullDiskIsOneErrorAndTheProcessGoesOn) {
  // a limit on file size stands for the disk; its signal would end the process
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old = {};
  ::getrlimit(RLIMIT_FSIZE, &old);
  // while columns are made, in the middle of the rows, and when all but the last is written
  for (const rlim_t limit : {100, 3000, 200000, 515000}) {
    const rlimit small = {limit, old.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
    const auto fill = [&] {
      AtomicFile target(file("full.h5"));
      Hdf5Writer writer(target.temporary());
      const i64 plain = writer.add_column("plain", DType::int64, {64}, 10, std::nullopt);
      const i64 packed = writer.add_column("packed", DType::int64, {64}, 7, BloscSettings{});
      std::vector<i64> noise(640);
      Random random(1, 1);
      for (int i = 0; i < 50; ++i) {
        for (i64& number : noise) number = static_cast<i64>(random.bits64());
        writer.append(plain, 10, noise.data());
        writer.append(packed, 10, noise.data());
      }
      writer.close();
      target.commit();
    };
    EXPECT_THAT(fill,
                ThrowsMessage<Error>(AllOf(HasSubstr("cannot write"), HasSubstr("File too large"))))
        << limit;
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, before);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  // libhdf5 still works
  write_sample(file("a.h5"));
  EXPECT_EQ(Hdf5Reader(file("a.h5")).columns().size(), 4u);
}

}  // namespace
}  // namespace orrery
