#include "io/hdf5_filters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/random.h"
#include "io/hdf5.h"
#include "io/hdf5_handle.h"

namespace orrery {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<std::byte> bytes_of(std::string_view characters) {
  const auto bytes = std::as_bytes(std::span(characters));
  return {bytes.begin(), bytes.end()};
}

std::string decoded(std::string_view stored, std::span<const Hdf5Step> steps, std::size_t bytes,
                    u32 skipped = 0) {
  std::string out(bytes, '?');
  decode_hdf5_chunk(bytes_of(stored), steps, skipped, std::as_writable_bytes(std::span(out)),
                    "chunk: ");
  return out;
}

TEST(Hdf5Filters, ShuffleKeepsWhatIsNoWholeElement) {
  const Hdf5Step steps[] = {{Hdf5Filter::shuffle, 3}};
  EXPECT_EQ(decoded("adgbehcfiXY", steps, 11), "abcdefghiXY");
  EXPECT_EQ(decoded("ab", steps, 2), "ab");
  EXPECT_EQ(decoded("adgbehcfi", steps, 9, /*skipped=*/1), "adgbehcfi");
}

TEST(Hdf5Filters, LzfRepeatsAndRefusesWhatReachesOutside) {
  const Hdf5Step steps[] = {{Hdf5Filter::lzf}};
  using namespace std::string_view_literals;
  // two literals; 1 + 2 bytes from two back; a long run: 7 + 3 + 2 bytes from one back
  const auto stream = "\1ab\x20\1\xe0\3\0"sv;
  EXPECT_EQ(decoded(stream, steps, 17), "ababa" + std::string(12, 'a'));
  for (const std::size_t wrong : {0, 5, 16, 18}) {
    EXPECT_THROW(decoded(stream, steps, wrong), Error) << wrong;
  }
  for (std::size_t cut = 0; cut < stream.size(); ++cut) {
    EXPECT_THROW(decoded(stream.substr(0, cut), steps, 17), Error) << cut;
  }
  EXPECT_THROW(decoded("\1ab\x20\2"sv, steps, 5), Error);  // from before the beginning
}

// The format's own words, one by one and with the sums kept at 16 bits after each.
u32 fletcher32_slow(std::span<const std::byte> bytes) {
  u32 first = 0, second = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    first += static_cast<u32>(bytes[i]) << 8;
    if (i + 1 < bytes.size()) first += static_cast<u32>(bytes[i + 1]);
    first = (first & 0xffff) + (first >> 16);
    second += first;
    second = (second & 0xffff) + (second >> 16);
  }
  return second << 16 | first;
}

TEST(Hdf5Filters, FletcherIsTheFormats) {
  Random random(3, 1);
  for (const std::size_t size : {0, 1, 2, 3, 720, 721, 100001, (1 << 21) + 3}) {
    std::vector<std::byte> bytes(size);
    EXPECT_EQ(fletcher32(bytes), 0u);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random.below(256));
    EXPECT_EQ(fletcher32(bytes), fletcher32_slow(bytes)) << size;
    std::fill(bytes.begin(), bytes.end(), std::byte{0xff});
    EXPECT_EQ(fletcher32(bytes), fletcher32_slow(bytes)) << size;
  }
}

// files that libhdf5 itself filters

struct Kind {
  std::string name;
  std::vector<Hdf5Filter> filters;
  std::array<hsize_t, 3> chunk = {4, 6, 5};  // of rows of 6 x 5
  bool big_endian = false;
  bool plain_edges = false;
  bool compact = false;
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

constexpr hsize_t kRows = 23;

std::vector<i32> values_of_sample() {
  std::vector<i32> values(kRows * 30);
  // small steps, which pack well, and now and then all bytes in use
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<i32>(i * (i % 7 == 0 ? 0x01234567u : 3u));
  }
  return values;
}

void write_kind(const std::filesystem::path& path, const Kind& kind) {
  const std::vector<i32> values = values_of_sample();
  const Hdf5Lock lock;
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  if (kind.plain_edges) {
    H5Pset_libver_bounds(access.id(), H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
  }
  const Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.id()), H5Fclose);
  const std::array<hsize_t, 3> sizes = {kRows, 6, 5};
  const Hdf5Handle space(H5Screate_simple(3, sizes.data(), nullptr), H5Sclose);
  const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  if (kind.compact) {
    H5Pset_layout(creation.id(), H5D_COMPACT);
  } else {
    H5Pset_chunk(creation.id(), 3, kind.chunk.data());
  }
  if (kind.plain_edges) H5Pset_chunk_opts(creation.id(), H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS);
  for (const Hdf5Filter filter : kind.filters) {
    if (filter == Hdf5Filter::shuffle) H5Pset_shuffle(creation.id());
    if (filter == Hdf5Filter::deflate) H5Pset_deflate(creation.id(), 4);
    if (filter == Hdf5Filter::fletcher32) H5Pset_fletcher32(creation.id());
  }
  const Hdf5Handle data(
      H5Dcreate2(file.id(), "action", kind.big_endian ? H5T_STD_I32BE : H5T_STD_I32LE, space.id(),
                 H5P_DEFAULT, creation.id(), H5P_DEFAULT),
      H5Dclose);
  ASSERT_TRUE(data.valid()) << hdf5_reason();
  ASSERT_GE(H5Dwrite(data.id(), H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
}

class Hdf5Filtered : public testing::TestWithParam<Kind> {
 protected:
  Hdf5Filtered()
      : path_(std::filesystem::temp_directory_path() /
              text("orrery-hdf5-filters-", ::getpid(), ".h5")) {}
  ~Hdf5Filtered() override { std::filesystem::remove(path_); }

  std::filesystem::path path_;
};

std::vector<i32> read_rows(const Hdf5Reader& reader, i64 begin, i64 end, i64 stride) {
  std::vector<i32> values(static_cast<std::size_t>((end - begin + stride - 1) / stride * 30));
  reader.read(0, begin, end, stride, std::as_writable_bytes(std::span(values)).data());
  return values;
}

TEST_P(Hdf5Filtered, ValuesAreThoseWritten) {
  write_kind(path_, GetParam());
  const Hdf5Reader reader(path_);
  ASSERT_EQ(reader.columns().size(), 1u);
  ASSERT_EQ(reader.columns()[0].refusal, "");
  const std::vector<i32> values = values_of_sample();
  EXPECT_EQ(read_rows(reader, 0, kRows, 1), values);
  // parts of chunks, across them, and with gaps
  for (const auto& [begin, end, stride] :
       {std::array<i64, 3>{5, 6, 1}, {3, 18, 1}, {1, 23, 4}, {22, 23, 9}, {0, 23, 22}}) {
    std::vector<i32> expected;
    for (i64 row = begin; row < end; row += stride) {
      expected.insert(expected.end(), values.begin() + row * 30, values.begin() + (row + 1) * 30);
    }
    EXPECT_EQ(read_rows(reader, begin, end, stride), expected) << begin << " " << stride;
  }
}

// Whatever is wrong ends in the right values, another refusal or an Error, never outside of memory.
TEST_P(Hdf5Filtered, DamageIsNoCrash) {
  write_kind(path_, GetParam());
  const std::string whole = read_file(path_, 1 << 20);
  Random random(11, 1);
  for (int i = 0; i < 300; ++i) {
    std::string damaged = whole;
    for (u64 flips = 1 + random.below(3); flips > 0; --flips) {
      damaged[random.below(damaged.size())] ^= static_cast<char>(1u << random.below(8));
    }
    try {
      const Hdf5Reader reader(std::as_bytes(std::span(damaged)), "damaged");
      if (reader.columns().empty() || reader.columns()[0].row_bytes() != 120) continue;
      read_rows(reader, 0, std::min<i64>(reader.columns()[0].rows, 100), 1);
    } catch (const Error&) {
    }
  }
}

using enum Hdf5Filter;

INSTANTIATE_TEST_SUITE_P(
    Kinds, Hdf5Filtered,
    testing::Values(Kind{"deflate", {deflate}}, Kind{"shuffle", {shuffle}},
                    Kind{"fletcher", {fletcher32}}, Kind{"shuffle_deflate", {shuffle, deflate}},
                    Kind{"deflate_shuffle", {deflate, shuffle}},
                    Kind{"all", {shuffle, deflate, fletcher32}},
                    Kind{"checked_first", {fletcher32, shuffle, deflate}},
                    Kind{"checked_between", {shuffle, fletcher32, deflate}},
                    Kind{"checked_twice", {fletcher32, deflate, fletcher32}},
                    Kind{"cut", {}, {4, 4, 2}}, Kind{"cut_deflate", {shuffle, deflate}, {7, 2, 5}},
                    Kind{"single_numbers", {deflate}, {1, 1, 1}},
                    Kind{"one_column_of_all", {fletcher32}, {23, 6, 1}},
                    Kind{"big_endian", {}, {4, 6, 5}, true},
                    Kind{"big_endian_cut", {shuffle, deflate}, {4, 5, 3}, true},
                    Kind{"plain_edges", {shuffle, deflate}, {4, 6, 5}, false, true},
                    Kind{"plain_edges_cut", {deflate, fletcher32}, {4, 4, 4}, false, true},
                    Kind{"compact", {}, {}, false, false, true},
                    Kind{"compact_big_endian", {}, {}, true, false, true}),
    [](const auto& about) { return about.param.name; });

using Hdf5FilteredOnce = Hdf5Filtered;

TEST_P(Hdf5FilteredOnce, AFlippedBitIsTold) {
  write_kind(path_, GetParam());
  const std::string whole = read_file(path_, 1 << 20);
  // the last bytes of the file belong to a chunk
  std::string damaged = whole;
  damaged[damaged.size() - 9] ^= 4;
  const Hdf5Reader reader(std::as_bytes(std::span(damaged)), "damaged");
  EXPECT_THAT([&] { read_rows(reader, 0, kRows, 1); },
              ThrowsMessage<Error>(
                  AllOf(HasSubstr("of column action of damaged"), HasSubstr("it is damaged"))));
}

INSTANTIATE_TEST_SUITE_P(Kinds, Hdf5FilteredOnce,
                         testing::Values(Kind{"fletcher", {fletcher32}},
                                         Kind{"deflate", {shuffle, deflate}}),
                         [](const auto& about) { return about.param.name; });

TEST(Hdf5FilteredRefusals, AreNamed) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / text("orrery-hdf5-refused-", ::getpid(), ".h5");
  write_kind(path, {"twice", {deflate, shuffle, deflate}});
  EXPECT_EQ(Hdf5Reader(path).columns()[0].refusal, "its chunks are packed 2 times");
  {
    // a chunk that was never written stands for minus one
    const Hdf5Lock lock;
    const Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
                          H5Fclose);
    const hsize_t size = 10, chunk = 5;
    const Hdf5Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose);
    const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_chunk(creation.id(), 1, &chunk);
    const i32 fill = -1;
    H5Pset_fill_value(creation.id(), H5T_NATIVE_INT32, &fill);
    const Hdf5Handle data(H5Dcreate2(file.id(), "a", H5T_STD_I32LE, space.id(), H5P_DEFAULT,
                                     creation.id(), H5P_DEFAULT),
                          H5Dclose);
  }
  const Hdf5Reader reader(path);
  std::vector<std::byte> out(40);
  EXPECT_THAT([&] { reader.read(0, 0, 10, 1, out.data()); },
              ThrowsMessage<Error>(HasSubstr("it was never written")));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace orrery
