#include "io/parquet_page.h"

#include <snappy.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "io/inflate.h"
#include "io/thrift.h"

namespace orrery::parquet {

namespace {

constexpr i64 kMaxPageBytes = i64{1} << 30;

enum CodecNumber { kUncompressed = 0, kSnappy = 1, kGzip = 2, kZstd = 6 };
enum PageType { kDataPage = 0, kDictionaryPage = 2, kDataPageV2 = 3 };

std::vector<std::byte> unpacked(std::span<const std::byte> packed, i64 bytes, int codec,
                                const std::string& where) {
  check(bytes >= 0 && bytes <= kMaxPageBytes &&
            (bytes <= kAlwaysAllowed || bytes / kMaxExpansion <= static_cast<i64>(packed.size())),
        where, " claims a page of ", bytes, " bytes in ", packed.size());
  std::vector<std::byte> out(static_cast<std::size_t>(bytes));
  const auto damaged = [&] { fail(where, " has a page that is damaged"); };
  auto* to = reinterpret_cast<char*>(out.data());
  const auto* from = reinterpret_cast<const char*>(packed.data());
  switch (codec) {
    case kUncompressed:
      if (packed.size() != out.size()) damaged();
      std::copy(packed.begin(), packed.end(), out.begin());
      break;
    case kSnappy: {
      std::size_t length = 0;
      if (!snappy::GetUncompressedLength(from, packed.size(), &length) || length != out.size() ||
          !snappy::RawUncompress(from, packed.size(), to)) {
        damaged();
      }
      break;
    }
    case kGzip:
      if (!inflate_exactly(packed, DeflateHeader::either, out)) damaged();
      break;
    case kZstd:
      if (ZSTD_decompress(to, out.size(), from, packed.size()) != out.size()) damaged();
      break;
    default:
      fail(where, " is compressed by codec ", codec,
           ", of which none, snappy, gzip and zstd are supported");
  }
  return out;
}

int bits_for(int most) {
  int bits = 0;
  while (most >> bits != 0) ++bits;
  return bits;
}

// A page of values: its levels, and what lies behind them.
void unpack_values(const ThriftValue& about, bool second, std::span<const std::byte> packed,
                   i64 size, int codec, const Levels& levels, const std::string& where,
                   Page& page) {
  const int definition_bits = bits_for(levels.definition);
  const int repetition_bits = bits_for(levels.repetition);
  if (second) {
    // levels stand before what is compressed, their lengths in the head
    const ThriftValue& head = about[8];
    const i64 definition_bytes = head[5].integer, repetition_bytes = head[6].integer;
    const auto stored = static_cast<i64>(packed.size());
    check(definition_bytes >= 0 && repetition_bytes >= 0 && definition_bytes <= stored &&
              repetition_bytes <= stored - definition_bytes &&
              size >= definition_bytes + repetition_bytes,
          where, " has a page that is cut short");
    const auto first = packed.first(static_cast<std::size_t>(repetition_bytes));
    const auto then = packed.subspan(static_cast<std::size_t>(repetition_bytes),
                                     static_cast<std::size_t>(definition_bytes));
    if (repetition_bits > 0)
      page.repetition = numbers_of(first, repetition_bits, page.count, where);
    if (definition_bits > 0) page.definition = numbers_of(then, definition_bits, page.count, where);
    packed = packed.subspan(static_cast<std::size_t>(repetition_bytes + definition_bytes));
    const bool is_packed = !head.has(7) || head[7].integer != 0;
    page.unpacked = unpacked(packed, size - repetition_bytes - definition_bytes,
                             is_packed ? codec : kUncompressed, where);
    page.values = page.unpacked;
  } else {
    page.unpacked = unpacked(packed, size, codec, where);
    page.values = page.unpacked;
    const auto next_levels = [&](int bits, i64 encoding) {
      std::vector<u32> result;
      if (bits == 0) return result;
      check(encoding == kRle, where, " has levels in encoding ", encoding);
      u32 length = 0;
      check(page.values.size() >= 4, where, " has a page that is cut short");
      std::memcpy(&length, page.values.data(), 4);
      check(length <= page.values.size() - 4, where, " has a page that is cut short");
      result = numbers_of(page.values.subspan(4, length), bits, page.count, where);
      page.values = page.values.subspan(4 + std::size_t{length});
      return result;
    };
    page.repetition = next_levels(repetition_bits, about[5][4].integer);
    page.definition = next_levels(definition_bits, about[5][3].integer);
  }
  page.present = page.definition.empty()
                     ? page.count
                     : std::count(page.definition.begin(), page.definition.end(),
                                  static_cast<u32>(levels.definition));
}

}  // namespace

std::vector<u32> numbers_of(std::span<const std::byte> bytes, int width, i64 count,
                            const std::string& where) {
  std::vector<u32> out;
  out.reserve(static_cast<std::size_t>(count));
  std::size_t at = 0;
  const auto next = [&]() -> u32 {
    check(at < bytes.size(), where, " has a page that is cut short");
    return static_cast<u32>(bytes[at++]);
  };
  const auto left = [&] { return count - static_cast<i64>(out.size()); };
  while (left() > 0) {
    u64 head = 0;
    for (int shift = 0;; shift += 7) {
      check(shift < 35, where, " has a page with a run that is too long");
      const u32 part = next();
      head |= static_cast<u64>(part & 127u) << shift;
      if (part < 128) break;
    }
    if ((head & 1u) == 0) {
      u32 value = 0;
      for (int i = 0; i < (width + 7) / 8; ++i) value |= next() << (8 * i);
      const i64 run = std::min(left(), static_cast<i64>(head >> 1));
      check(run > 0, where, " has a page with an empty run");
      out.insert(out.end(), static_cast<std::size_t>(run), value);
      continue;
    }
    const i64 run = std::min(left(), static_cast<i64>(head >> 1) * 8);
    check(run > 0, where, " has a page with an empty run");
    u64 bits = 0;
    int held = 0;
    for (i64 i = 0; i < run; ++i) {
      for (; held < width; held += 8) bits |= static_cast<u64>(next()) << held;
      out.push_back(static_cast<u32>(bits & ((u64{1} << width) - 1)));
      bits >>= width;
      held -= width;
    }
    // a group is stored whole, also where the values end inside it
    const std::size_t stored =
        static_cast<std::size_t>((head >> 1)) * static_cast<std::size_t>(width);
    const auto read = (static_cast<std::size_t>(run) * static_cast<std::size_t>(width) + 7) / 8;
    at = std::min(bytes.size(), at + (stored > read ? stored - read : 0));
  }
  return out;
}

void each_page(std::span<const std::byte> file, const Piece& piece, const Levels& levels,
               const std::string& where, FunctionRef<PageUse(i64)> use,
               FunctionRef<void(const Page&)> take) {
  auto rest =
      file.subspan(static_cast<std::size_t>(piece.begin), static_cast<std::size_t>(piece.bytes));
  i64 seen = 0;
  while (seen < piece.values) {
    std::size_t used = 0;
    const ThriftValue about = parse_thrift(rest, where, &used);
    rest = rest.subspan(used);
    const i64 stored = about[3].integer;
    const i64 size = about[2].integer;
    check(stored >= 0 && stored <= static_cast<i64>(rest.size()), where,
          " has a page that is cut short");
    const auto packed = rest.first(static_cast<std::size_t>(stored));
    rest = rest.subspan(static_cast<std::size_t>(stored));

    Page page;
    const i64 type = about[1].integer;
    if (type == kDictionaryPage) {
      page.dictionary = true;
      page.encoding = about[7][2].integer;
      check(page.encoding == kPlain || page.encoding == kPlainDictionary, where,
            " has a dictionary in encoding ", page.encoding);
      page.unpacked = unpacked(packed, size, piece.codec, where);
      page.values = page.unpacked;
      page.count = page.present = about[7][1].integer;
      check(page.count >= 0 && page.count <= static_cast<i64>(page.values.size()) * 8, where,
            " has a dictionary of ", page.count, " values in ", page.values.size(), " bytes");
      take(page);
      continue;
    }
    if (type != kDataPage && type != kDataPageV2) continue;  // an index

    const bool second = type == kDataPageV2;
    const ThriftValue& head = second ? about[8] : about[5];
    page.count = head[1].integer;
    page.encoding = second ? head[4].integer : head[2].integer;
    check(page.count > 0 && page.count <= piece.values - seen, where, " has a page of ", page.count,
          " values, ", piece.values - seen, " are left");
    seen += page.count;
    switch (use(page.count)) {
      case PageUse::stop:
        return;
      case PageUse::skip:
        continue;
      case PageUse::take:
        break;
    }
    unpack_values(about, second, packed, size, piece.codec, levels, where, page);
    take(page);
  }
}

}  // namespace orrery::parquet
