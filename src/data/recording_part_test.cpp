#include "data/recording_part.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <span>

#include "base/error.h"
#include "base/random.h"

namespace orrery {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// rows of 1 MB: several pieces an episode
const std::vector<Column> kColumns = {{"pixels", DType::uint8, {512, 683, 3}},
                                      {"action", DType::f32, {2}},
                                      {"reward", DType::f64, Shape({})}};

PlayedEpisode episode_of(i64 rows, u64 seed) {
  PlayedEpisode episode;
  episode.rows = rows;
  episode.reached = seed % 2 == 1;
  for (const Column& column : kColumns) {
    std::vector<std::byte> values(static_cast<std::size_t>(rows * column.row_bytes()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<std::byte>(mix(seed, i / 97) & 0xff);
    }
    episode.values.push_back(std::move(values));
  }
  return episode;
}

std::string part_of(const std::vector<i64>& rows) {
  std::string part(kPartMagic);
  for (std::size_t e = 0; e < rows.size(); ++e) {
    part += packed_episode(episode_of(rows[e], e), kColumns);
  }
  return part;
}

PartReader reader_of(const std::string& part, i64 count, i64 max_rows = 20) {
  return {std::as_bytes(std::span(part)), "a part", kColumns, count, max_rows};
}

TEST(RecordingPart, EpisodesComeBackAsTheyWere) {
  const std::string part = part_of({1, 9, 4});
  const PartReader reader = reader_of(part, 3);
  EXPECT_EQ(reader.count(), 3);
  EXPECT_EQ(reader.rows(), 14);
  PlayedEpisode out;
  for (const i64 e : {2, 0, 1}) {
    reader.unpack(e, out);
    const PlayedEpisode wanted = episode_of(e == 0 ? 1 : e == 1 ? 9 : 4, static_cast<u64>(e));
    EXPECT_EQ(out.rows, wanted.rows);
    EXPECT_EQ(out.reached, wanted.reached);
    EXPECT_TRUE(out.values == wanted.values) << e;
  }
}

TEST(RecordingPart, WhatIsCutOrOtherwiseWrongIsRefused) {
  const std::string part = part_of({3, 2});
  EXPECT_THAT([&] { reader_of(part, 3); }, ThrowsMessage<Error>(HasSubstr("cut short")));
  EXPECT_THAT([&] { reader_of(part, 1); }, ThrowsMessage<Error>(HasSubstr("bytes after its 1")));
  EXPECT_THAT([&] { reader_of(part, 2, 2); }, ThrowsMessage<Error>(HasSubstr("has 3 rows")));
  EXPECT_THAT([] { reader_of("OrrPart0", 0); }, ThrowsMessage<Error>(HasSubstr("not a part")));
  for (std::size_t bytes = 0; bytes < part.size(); bytes += bytes < 60 ? 1 : 997) {
    EXPECT_THROW(reader_of(part.substr(0, bytes), 2), Error) << bytes;
  }
}

TEST(RecordingPart, DamageIsFoundOrIsOtherValues) {
  const std::string part = part_of({2});
  const std::size_t frame = kPartMagic.size() + 3 * sizeof(u64);
  PlayedEpisode out;
  for (std::size_t at = kPartMagic.size(); at < part.size(); at += at < frame + 64 ? 1 : 4099) {
    for (const char change : {'\x01', '\x80', '\xff'}) {
      std::string damaged = part;
      damaged[at] = static_cast<char>(damaged[at] ^ change);
      try {
        reader_of(damaged, 1).unpack(0, out);
      } catch (const Error&) {
      }
    }
  }
  // a length that reaches beyond the end, and one that would not fit any memory
  for (const u64 length : {u64{1} << 40, ~u64{0}}) {
    std::string damaged = part;
    std::memcpy(damaged.data() + frame - sizeof length, &length, sizeof length);
    EXPECT_THROW(reader_of(damaged, 1), Error);
  }
}

}  // namespace
}  // namespace orrery
