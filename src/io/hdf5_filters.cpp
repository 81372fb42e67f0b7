#include "io/hdf5_filters.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "io/blosc.h"
#include "io/inflate.h"

namespace orrery {

std::optional<Hdf5Filter> hdf5_filter_of(int number) {
  switch (number) {
    case 1:
      return Hdf5Filter::deflate;
    case 2:
      return Hdf5Filter::shuffle;
    case 3:
      return Hdf5Filter::fletcher32;
    case 32000:
      return Hdf5Filter::lzf;
    case 32001:
      return Hdf5Filter::blosc;
    default:
      return std::nullopt;
  }
}

u32 fletcher32(std::span<const std::byte> bytes) {
  // as the format has it, a sum that is not zero is 1 to 65535 and never 0
  const auto reduced = [](u64 sum) { return sum == 0 ? u64{0} : (sum - 1) % 65535 + 1; };
  // 2^20 words: the second sum stays below 2^56
  constexpr std::size_t kBlock = std::size_t{1} << 21;
  u64 first = 0, second = 0;
  for (std::size_t begin = 0; begin < bytes.size(); begin += kBlock) {
    const auto block = bytes.subspan(begin, std::min(kBlock, bytes.size() - begin));
    std::size_t at = 0;
    for (; at + 1 < block.size(); at += 2) {
      first += static_cast<u64>(block[at]) << 8 | static_cast<u64>(block[at + 1]);
      second += first;
    }
    if (at < block.size()) {
      // the odd byte at the end is an upper half
      first += static_cast<u64>(block[at]) << 8;
      second += first;
    }
    first = reduced(first);
    second = reduced(second);
  }
  return static_cast<u32>(second << 16 | first);
}

namespace {

constexpr std::size_t kChecksumBytes = 4;

std::span<const std::byte> without_checksum(std::span<const std::byte> bytes,
                                            std::string_view where) {
  check(bytes.size() >= kChecksumBytes, where, "it is shorter than its checksum");
  const auto body = bytes.first(bytes.size() - kChecksumBytes);
  const auto behind = bytes.last(kChecksumBytes);
  const auto number = [&](std::size_t a, std::size_t b, std::size_t c, std::size_t d) {
    return static_cast<u32>(behind[a]) | static_cast<u32>(behind[b]) << 8 |
           static_cast<u32>(behind[c]) << 16 | static_cast<u32>(behind[d]) << 24;
  };
  // libhdf5 before 1.6.3 swapped the bytes of both halves on little-endian machines
  const u32 sum = fletcher32(body);
  check(sum == number(0, 1, 2, 3) || sum == number(1, 0, 3, 2), where,
        "it is damaged: its checksum is another");
  return body;
}

void unshuffle(std::span<const std::byte> from, i64 element_bytes, std::span<std::byte> out) {
  const auto element = static_cast<std::size_t>(element_bytes);
  const std::size_t count = from.size() / element;
  for (std::size_t k = 0; k < element; ++k) {
    const std::byte* plane = from.data() + k * count;
    std::byte* to = out.data() + k;
    for (std::size_t i = 0; i < count; ++i) to[i * element] = plane[i];
  }
  // what is no whole element stays where it was
  const auto rest = from.subspan(count * element);
  std::copy(rest.begin(), rest.end(), out.end() - static_cast<std::ptrdiff_t>(rest.size()));
}

// LibLZF's stream. A byte below 32 begins that many literals and one more. Otherwise its upper
// three bits are a length (7: the next byte is added) and its lower five with the byte that follows
// a distance: length + 2 bytes are repeated from distance + 1 bytes back.
bool lzf_exactly(std::span<const std::byte> from, std::span<std::byte> out) {
  constexpr std::size_t kLiterals = 32, kLong = 7;
  std::size_t at = 0, done = 0;
  const auto next = [&] { return static_cast<std::size_t>(from[at++]); };
  while (at < from.size()) {
    const std::size_t control = next();
    if (control < kLiterals) {
      const std::size_t count = control + 1;
      if (count > from.size() - at || count > out.size() - done) return false;
      std::memcpy(out.data() + done, from.data() + at, count);
      at += count;
      done += count;
      continue;
    }
    std::size_t count = control >> 5;
    if (count == kLong) {
      if (at == from.size()) return false;
      count += next();
    }
    count += 2;
    if (at == from.size()) return false;
    const std::size_t back = ((control & 31u) << 8 | next()) + 1;
    if (back > done || count > out.size() - done) return false;
    // one by one: what is repeated may reach into what it makes
    for (std::size_t i = 0; i < count; ++i, ++done) out[done] = out[done - back];
  }
  return done == out.size();
}

}  // namespace

void decode_hdf5_chunk(std::span<const std::byte> stored, std::span<const Hdf5Step> steps,
                       u32 skipped, std::span<std::byte> out, std::string_view where) {
  const auto left_out = [&](std::size_t i) { return (skipped >> i & 1u) != 0; };
  // bytes before step i: known, since only the step that packs changes them in a way of its own
  const auto bytes_before = [&](std::size_t i) {
    std::size_t bytes = out.size();
    for (std::size_t k = 0; k < i; ++k) {
      if (steps[k].filter == Hdf5Filter::fletcher32 && !left_out(k)) bytes += kChecksumBytes;
    }
    return bytes;
  };
  const auto moves = [&](std::size_t i) {
    const Hdf5Step& step = steps[i];
    return !left_out(i) &&
           (step.packs() || (step.filter == Hdf5Filter::shuffle && step.element_bytes > 1));
  };
  std::size_t final_move = 0;
  while (final_move < steps.size() && !moves(final_move)) ++final_move;

  // `now` lies in `stored` or `held`, each step's result is made beside it, the last one's in `out`
  std::vector<std::byte> held, made;
  std::span<const std::byte> now = stored;
  for (std::size_t i = steps.size(); i-- > 0;) {
    const Hdf5Step& step = steps[i];
    if (step.filter == Hdf5Filter::fletcher32 && !left_out(i)) now = without_checksum(now, where);
    if (!moves(i)) continue;
    const std::size_t bytes = step.packs() ? bytes_before(i) : now.size();
    std::span<std::byte> to = out;
    if (i != final_move || bytes != out.size()) {
      made.resize(bytes);
      to = made;
    }
    bool whole = true;
    if (step.filter == Hdf5Filter::shuffle) unshuffle(now, step.element_bytes, to);
    if (step.filter == Hdf5Filter::deflate) whole = inflate_exactly(now, DeflateHeader::zlib, to);
    if (step.filter == Hdf5Filter::lzf) whole = lzf_exactly(now, to);
    if (step.filter == Hdf5Filter::blosc) {
      BloscFrame(now, static_cast<i64>(bytes), where).decode(to.data());
    }
    check(whole, where, "it is damaged or does not hold ", bytes, " bytes");
    now = to;
    std::swap(held, made);
  }
  check(now.size() == out.size(), where, "it has ", now.size(), " bytes, ", out.size(),
        " are needed");
  if (now.data() != out.data()) std::memcpy(out.data(), now.data(), out.size());
}

}  // namespace orrery
