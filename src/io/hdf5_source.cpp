#include "io/hdf5_source.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace orrery {

Hdf5Source::Hdf5Source(const std::filesystem::path& path) : file_(path), bytes_(file_->bytes()) {
  make_superblock_readable();
}

Hdf5Source::Hdf5Source(std::span<const std::byte> file)
    : memory_(file.begin(), file.end()), bytes_(memory_) {
  make_superblock_readable();
}

void Hdf5Source::read(u64 offset, std::span<std::byte> out) const {
  const std::size_t inside =
      offset >= bytes_.size() ? 0 : std::min(out.size(), bytes_.size() - offset);
  if (inside > 0) std::memcpy(out.data(), bytes_.data() + offset, inside);
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(inside), out.end(), std::byte{0});
  for (const Patch& patch : patches_) {
    const u64 begin = std::max(offset, patch.offset);
    const u64 end = std::min(offset + out.size(), patch.offset + patch.bytes.size());
    if (begin < end) {
      std::memcpy(out.data() + (begin - offset), patch.bytes.data() + (begin - patch.offset),
                  static_cast<std::size_t>(end - begin));
    }
  }
}

std::optional<Hdf5Source::Place> Hdf5Source::place_read_by(FunctionRef<void()> body) {
  noted_.reset();
  noting_ = true;
  body();
  noting_ = false;
  return noted_;
}

bool Hdf5Source::note(u64 offset, u64 bytes) {
  if (noting_) noted_ = Place{offset, bytes};
  return noting_;
}

namespace {

// what libhdf5 keeps of an open file: its own part first
struct DriverFile {
  H5FD_t base;
  Hdf5Source* source;
  haddr_t end_of_allocated;
};

// what the access properties carry
struct DriverInfo {
  Hdf5Source* source;
};

DriverFile* file_of(H5FD_t* file) { return reinterpret_cast<DriverFile*>(file); }
const DriverFile* file_of(const H5FD_t* file) { return reinterpret_cast<const DriverFile*>(file); }

H5FD_t* open_file(const char*, unsigned flags, hid_t access, haddr_t) {
  const auto* info = static_cast<const DriverInfo*>(H5Pget_driver_info(access));
  if (info == nullptr || (flags & (H5F_ACC_RDWR | H5F_ACC_CREAT)) != 0) return nullptr;
  auto* file = new DriverFile{};
  file->source = info->source;
  return &file->base;
}

herr_t close_file(H5FD_t* file) {
  delete file_of(file);
  return 0;
}

haddr_t end_of_allocated(const H5FD_t* file, H5FD_mem_t) { return file_of(file)->end_of_allocated; }

herr_t set_end_of_allocated(H5FD_t* file, H5FD_mem_t, haddr_t address) {
  file_of(file)->end_of_allocated = address;
  return 0;
}

haddr_t end_of_file(const H5FD_t* file, H5FD_mem_t) {
  return static_cast<haddr_t>(file_of(file)->source->size());
}

herr_t read_bytes(H5FD_t* file, H5FD_mem_t kind, hid_t, haddr_t address, std::size_t size,
                  void* out) {
  Hdf5Source& source = *file_of(file)->source;
  const auto end = static_cast<haddr_t>(source.size());
  if (address == HADDR_UNDEF || address > end || size > end - address) return -1;
  if (kind == H5FD_MEM_DRAW && source.note(address, size)) return 0;
  source.read(address, {static_cast<std::byte*>(out), size});
  return 0;
}

herr_t refuse_write(H5FD_t*, H5FD_mem_t, hid_t, haddr_t, std::size_t, const void*) { return -1; }

// registered once, for the life of the process
hid_t driver() {
  static const hid_t id = [] {
    static H5FD_class_t about = {};
#if H5_VERSION_GE(1, 13, 2)
    about.version = H5FD_CLASS_VERSION;
    about.value = static_cast<H5FD_class_value_t>(511);  // the last of those for private use
#endif
    about.name = "orrery";
    about.maxaddr = HADDR_MAX;
    about.fc_degree = H5F_CLOSE_STRONG;
    about.fapl_size = sizeof(DriverInfo);
    about.open = open_file;
    about.close = close_file;
    // No query(): its features are buffers for metadata and small values, in which libhdf5 1.10
    // trusts sizes that a damaged file gives.
    about.get_eoa = end_of_allocated;
    about.set_eoa = set_end_of_allocated;
    about.get_eof = end_of_file;
    about.read = read_bytes;
    about.write = refuse_write;
    const H5FD_mem_t map[] = H5FD_FLMAP_DICHOTOMY;
    std::copy(std::begin(map), std::end(map), about.fl_map);
    return H5FDregister(&about);
  }();
  return id;
}

}  // namespace

Hdf5Handle Hdf5Source::open(const std::string& name) {
  constexpr i64 kSignatureBytes = 8;
  check(size() >= kSignatureBytes, "cannot read ", name, " as HDF5: it has ", size(), " bytes");
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  const DriverInfo info = {this};
  H5Pset_driver(access.id(), driver(), &info);
  Hdf5Handle file(H5Fopen(name.c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose);
  // here, for closing `access` makes libhdf5 forget why
  check(file.valid(), "cannot read ", name, " as HDF5: ", hdf5_reason());
  return file;
}

namespace {

// Bob Jenkins' lookup3, hashlittle() with initial value 0: the checksum of HDF5's newer headers.
u32 header_checksum(std::span<const std::byte> bytes) {
  u32 a = 0xdeadbeefu + static_cast<u32>(bytes.size());
  u32 b = a;
  u32 c = a;
  if (bytes.empty()) return c;
  std::size_t at = 0;
  const auto add = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      const u32 value = static_cast<u32>(bytes[at + i]) << (8 * (i % 4));
      (i < 4 ? a : i < 8 ? b : c) += value;
    }
    at += count;
  };
  while (bytes.size() - at > 12) {
    add(12);
    a = (a - c) ^ std::rotl(c, 4), c += b;
    b = (b - a) ^ std::rotl(a, 6), a += c;
    c = (c - b) ^ std::rotl(b, 8), b += a;
    a = (a - c) ^ std::rotl(c, 16), c += b;
    b = (b - a) ^ std::rotl(a, 19), a += c;
    c = (c - b) ^ std::rotl(b, 4), b += a;
  }
  add(bytes.size() - at);
  c = (c ^ b) - std::rotl(b, 14);
  a = (a ^ c) - std::rotl(c, 11);
  b = (b ^ a) - std::rotl(a, 25);
  c = (c ^ b) - std::rotl(b, 16);
  a = (a ^ c) - std::rotl(c, 4);
  b = (b ^ a) - std::rotl(a, 14);
  return (c ^ b) - std::rotl(b, 24);
}

u32 little_endian(std::span<const std::byte> bytes) {
  u32 value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) value |= static_cast<u32>(bytes[i]) << (8 * i);
  return value;
}

// a type description begins with its version (upper half) and its class
constexpr u32 kEnumeration = 8;
constexpr u32 kOldVersion = 3;  // the last that libhdf5 1.10 knows
constexpr u32 kNewestVersion =
    5;  // 4 (libhdf5 1.12) changed references, 5 (2.0) added complex numbers

void put_little_endian(u64 value, std::span<std::byte> out) {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>(value >> (8 * i));
}

bool lower_version(std::span<std::byte> type) {
  if (type.empty()) return false;
  const u32 version = static_cast<u32>(type[0]) >> 4;
  if (version <= kOldVersion || version > kNewestVersion) return false;
  type[0] = static_cast<std::byte>(kOldVersion << 4 | (static_cast<u32>(type[0]) & 15u));
  return true;
}

}  // namespace

void Hdf5Source::make_superblock_readable() {
  // version 3, 8-byte offsets and lengths: signature 8, version, sizes 2, flags, then addresses:
  // base, extension, end of file, root; checksum
  constexpr std::size_t kSize = 48, kFlags = 11, kEnd = 28, kChecksum = 44;
  constexpr std::array<unsigned char, 11> kBegin = {0x89, 'H',  'D', 'F', '\r', '\n',
                                                    0x1a, '\n', 3,   8,   8};
  if (bytes_.size() < kSize || std::memcmp(bytes_.data(), kBegin.data(), kBegin.size()) != 0)
    return;
  std::vector<std::byte> block(bytes_.begin(), bytes_.begin() + kSize);
  const std::span<std::byte> checksum = std::span(block).subspan(kChecksum);
  if (block[kFlags] == std::byte{0} ||
      little_endian(checksum) != header_checksum(std::span(block).first(kChecksum))) {
    return;
  }
  unfinished_ = true;
  block[kFlags] = std::byte{0};
  // the end is noted when the file is closed; until then more lies behind it
  put_little_endian(bytes_.size(), std::span(block).subspan(kEnd, 8));
  put_little_endian(header_checksum(std::span(block).first(kChecksum)), checksum);
  patches_.push_back({0, std::move(block)});
}

bool Hdf5Source::make_type_readable(u64 address) {
  // "OHDR", version 2, flags, times and limits as the flags say, size of the messages, messages,
  // checksum
  constexpr u64 kMaxPrefix = 4 + 1 + 1 + 16 + 4 + 8;
  std::array<std::byte, kMaxPrefix> prefix;
  if (address >= bytes_.size()) return false;
  read(address, prefix);
  if (std::memcmp(prefix.data(), "OHDR", 4) != 0 || prefix[4] != std::byte{2}) return false;
  const auto flags = static_cast<u32>(prefix[5]);
  std::size_t at = 6 + ((flags & 0x20u) != 0 ? 16 : 0) + ((flags & 0x10u) != 0 ? 4 : 0);
  const std::size_t width = std::size_t{1} << (flags & 3u);
  if (width == 8) return false;  // messages of 4 GiB and more
  const u32 messages = little_endian(std::span(prefix).subspan(at, width));
  at += width;
  if (messages > (1u << 20)) return false;
  std::vector<std::byte> header(at + messages + 4);
  read(address, header);
  const std::span<std::byte> body = std::span(header).first(header.size() - 4);
  const std::span<std::byte> checksum = std::span(header).last(4);
  if (little_endian(checksum) != header_checksum(body))
    return false;  // damaged: libhdf5 shall say so

  // a message: type, size, flags, order of creation as the flags say, contents
  const std::size_t fields = 4 + ((flags & 0x04u) != 0 ? 2 : 0);
  constexpr u32 kDatatype = 3;
  bool changed = false;
  while (body.size() - at >= fields) {
    const u32 kind = static_cast<u32>(body[at]);
    const u32 size = little_endian(body.subspan(at + 1, 2));
    at += fields;
    if (size > body.size() - at) break;
    const std::span<std::byte> contents = body.subspan(at, size);
    // 8 bytes, then the type that the enumeration is made of
    if (kind == kDatatype && size > 8 && (static_cast<u32>(contents[0]) & 15u) == kEnumeration) {
      changed = lower_version(contents) || changed;
      changed = lower_version(contents.subspan(8)) || changed;
    }
    at += size;
  }
  if (!changed) return false;
  put_little_endian(header_checksum(body), checksum);
  patches_.push_back({address, std::move(header)});
  return true;
}

}  // namespace orrery
