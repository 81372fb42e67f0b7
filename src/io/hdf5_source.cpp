#include "io/hdf5_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace orrery {

Hdf5Source::Hdf5Source(const std::filesystem::path& path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check(descriptor_ >= 0, "cannot read ", path.string(), ": ", std::strerror(errno));
  struct stat status = {};
  const bool regular = ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
  if (!regular) ::close(std::exchange(descriptor_, -1));
  check(regular, "cannot read ", path.string(), ": it is not a regular file");
  size_ = status.st_size;
}

Hdf5Source::Hdf5Source(std::span<const std::byte> file)
    : memory_(file.begin(), file.end()), size_(static_cast<i64>(file.size())) {}

Hdf5Source::~Hdf5Source() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool Hdf5Source::read_stored(u64 offset, std::span<std::byte> out) const {
  const u64 size = static_cast<u64>(size_);
  const std::size_t inside =
      offset >= size ? 0 : static_cast<std::size_t>(std::min<u64>(out.size(), size - offset));
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(inside), out.end(), std::byte{0});
  if (descriptor_ < 0) {
    if (inside > 0) std::memcpy(out.data(), memory_.data() + offset, inside);
    return true;
  }
  std::size_t done = 0;
  while (done < inside) {
    const ssize_t count =
        ::pread(descriptor_, out.data() + done, inside - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    done += static_cast<std::size_t>(count);
  }
  return true;
}

bool Hdf5Source::read(u64 offset, std::span<std::byte> out) const {
  if (!read_stored(offset, out)) return false;
  for (const Patch& patch : patches_) {
    const u64 begin = std::max(offset, patch.offset);
    const u64 end = std::min(offset + out.size(), patch.offset + patch.bytes.size());
    if (begin < end) {
      std::memcpy(out.data() + (begin - offset), patch.bytes.data() + (begin - patch.offset),
                  static_cast<std::size_t>(end - begin));
    }
  }
  return true;
}

namespace {

// what libhdf5 keeps of an open file: its own part first
struct DriverFile {
  H5FD_t base;
  const Hdf5Source* source;
  haddr_t end_of_allocated;
};

// what the access properties carry
struct DriverInfo {
  const Hdf5Source* source;
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

herr_t read_bytes(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, std::size_t size, void* out) {
  const auto end = static_cast<haddr_t>(file_of(file)->source->size());
  if (address == HADDR_UNDEF || address > end || size > end - address) return -1;
  return file_of(file)->source->read(address, {static_cast<std::byte*>(out), size}) ? 0 : -1;
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
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  const DriverInfo info = {this};
  H5Pset_driver(access.id(), driver(), &info);
  return Hdf5Handle(H5Fopen(name.c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose);
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

bool lower_version(std::span<std::byte> type) {
  if (type.empty()) return false;
  const u32 version = static_cast<u32>(type[0]) >> 4;
  if (version <= kOldVersion || version > kNewestVersion) return false;
  type[0] = static_cast<std::byte>(kOldVersion << 4 | (static_cast<u32>(type[0]) & 15u));
  return true;
}

}  // namespace

bool Hdf5Source::make_type_readable(u64 address) {
  // "OHDR", version 2, flags, times and limits as the flags say, size of the messages, messages,
  // checksum
  constexpr u64 kMaxPrefix = 4 + 1 + 1 + 16 + 4 + 8;
  std::array<std::byte, kMaxPrefix> prefix;
  if (address >= static_cast<u64>(size_) || !read_stored(address, prefix)) return false;
  if (std::memcmp(prefix.data(), "OHDR", 4) != 0 || prefix[4] != std::byte{2}) return false;
  const auto flags = static_cast<u32>(prefix[5]);
  std::size_t at = 6 + ((flags & 0x20u) != 0 ? 16 : 0) + ((flags & 0x10u) != 0 ? 4 : 0);
  const std::size_t width = std::size_t{1} << (flags & 3u);
  if (width == 8) return false;  // messages of 4 GiB and more
  const u32 messages = little_endian(std::span(prefix).subspan(at, width));
  at += width;
  if (messages > (1u << 20)) return false;
  std::vector<std::byte> header(at + messages + 4);
  if (!read_stored(address, header)) return false;
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
  const u32 sum = header_checksum(body);
  for (std::size_t i = 0; i < 4; ++i) checksum[i] = static_cast<std::byte>(sum >> (8 * i));
  patches_.push_back({address, std::move(header)});
  return true;
}

}  // namespace orrery
