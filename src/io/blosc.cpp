#include "io/blosc.h"

#include <blosc.h>

#include <array>
#include <cstring>

#include "base/error.h"

namespace orrery {

namespace {

static_assert(kBloscOverhead == BLOSC_MAX_OVERHEAD);

// in the order of BloscCodec; also Blosc's numbers for them
constexpr std::array<const char*, 6> kCodecs = {
    BLOSC_BLOSCLZ_COMPNAME, BLOSC_LZ4_COMPNAME,  BLOSC_LZ4HC_COMPNAME,
    BLOSC_SNAPPY_COMPNAME,  BLOSC_ZLIB_COMPNAME, BLOSC_ZSTD_COMPNAME,
};

}  // namespace

const char* name_of(BloscCodec codec) { return kCodecs[static_cast<std::size_t>(codec)]; }

std::optional<BloscCodec> blosc_codec_from(std::string_view name) {
  for (std::size_t i = 0; i < kCodecs.size(); ++i) {
    if (name == kCodecs[i]) return static_cast<BloscCodec>(i);
  }
  return std::nullopt;
}

bool blosc_has(BloscCodec codec) { return blosc_compname_to_compcode(name_of(codec)) >= 0; }

std::size_t blosc_encode(std::span<const std::byte> values, i64 element_bytes,
                         const BloscSettings& settings, std::span<std::byte> out) {
  check(settings.level >= 0 && settings.level <= 9, "Blosc level ", settings.level,
        " was asked for, 0 to 9 exist");
  check(blosc_has(settings.codec), "this machine's Blosc has no codec ", name_of(settings.codec));
  const int stored = blosc_compress_ctx(
      settings.level, static_cast<int>(settings.shuffle), static_cast<std::size_t>(element_bytes),
      values.size(), values.data(), out.data(), out.size(), name_of(settings.codec), 0, 1);
  check(stored > 0, "Blosc does not compress ", values.size(), " bytes");
  return static_cast<std::size_t>(stored);
}

std::vector<std::byte> blosc_frame_of(std::span<const std::byte> values, i64 element_bytes,
                                      const BloscSettings& settings) {
  std::vector<std::byte> frame(values.size() + kBloscOverhead);
  frame.resize(blosc_encode(values, element_bytes, settings, frame));
  return frame;
}

BloscFrame::BloscFrame(std::span<const std::byte> frame, i64 bytes, std::string_view where)
    : frame_(frame), where_(where), bytes_(bytes) {
  // the frame's own sizes must be those of the chunk before anything is decoded
  std::size_t decoded = 0;
  check(frame.size() >= BLOSC_MIN_HEADER_LENGTH &&
            blosc_cbuffer_validate(frame.data(), frame.size(), &decoded) == 0,
        where, "it is not a whole Blosc frame");
  check(static_cast<i64>(decoded) == bytes, where, "its Blosc frame holds ", decoded, " bytes, ",
        bytes, " are needed");
  element_ = std::max<i64>(1, static_cast<i64>(frame[3]));
}

void BloscFrame::decode(std::byte* out) const {
  const int written = blosc_decompress_ctx(frame_.data(), out, static_cast<std::size_t>(bytes_), 1);
  check(written == bytes_, where_, "its Blosc frame is damaged");
}

void BloscFrame::decode_range(i64 begin, i64 count, std::byte* out) const {
  // the library counts in elements of the frame, whatever ours are
  if (begin % element_ != 0 || count % element_ != 0) {
    std::vector<std::byte> whole(static_cast<std::size_t>(bytes_));
    decode(whole.data());
    std::memcpy(out, whole.data() + begin, static_cast<std::size_t>(count));
    return;
  }
  const int written = blosc_getitem(frame_.data(), static_cast<int>(begin / element_),
                                    static_cast<int>(count / element_), out);
  check(written == count, where_, "its Blosc frame is damaged");
}

}  // namespace orrery
