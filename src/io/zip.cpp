#include "io/zip.h"

#include <zip.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"

namespace orrery {
namespace {

// deflate's shortest code copies 258 bytes with 2 bits: 258 * 8 / 2
constexpr u64 kMaxDeflateRatio = 1032;
constexpr u64 kMaxInflatedBytes = u64{1} << 40;

struct CloseMember {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

std::string words_of(zip_error_t* error) {
  std::string words = zip_error_strerror(error);
  zip_error_fini(error);
  return words;
}

}  // namespace

void ZipReader::Close::operator()(zip* archive) const { zip_discard(archive); }

ZipReader::ZipReader(std::span<const std::byte> file, std::string name) : name_(std::move(name)) {
  // the library takes no bytes at all for an archive without members
  check(!file.empty(), name_, " is no readable zip file: it is empty");
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(file.data(), file.size(), 0, &error);
  if (source == nullptr) fail(name_, " is no readable zip file: ", words_of(&error));
  archive_.reset(zip_open_from_source(source, ZIP_RDONLY, &error));
  if (!archive_) {
    zip_source_free(source);
    fail(name_, " is no readable zip file: ", words_of(&error));
  }
  zip_error_fini(&error);

  u64 packed_total = 0;
  const zip_int64_t count = zip_get_num_entries(archive_.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t status;
    check(
        zip_stat_index(archive_.get(), static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW, &status) == 0,
        name_, ": member ", i, " of the zip file cannot be read");
    constexpr zip_uint64_t kNeeded =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    check((status.valid & kNeeded) == kNeeded, name_, ": member ", i,
          " of the zip file has no size");
    const std::string member = status.name;
    check(status.comp_method == ZIP_CM_STORE || status.comp_method == ZIP_CM_DEFLATE, name_,
          ": member '", member, "' is neither stored nor deflated");
    check(
        (status.valid & ZIP_STAT_ENCRYPTION_METHOD) == 0 || status.encryption_method == ZIP_EM_NONE,
        name_, ": member '", member, "' is encrypted");

    // members may not share bytes: together they are no larger than the file
    check(status.comp_size <= file.size() - packed_total, name_, ": member '", member,
          "' is larger than the file");
    packed_total += status.comp_size;
    const u64 most =
        status.comp_method == ZIP_CM_STORE ? status.comp_size : status.comp_size * kMaxDeflateRatio;
    check(status.size <= most && status.size <= kMaxInflatedBytes, name_, ": member '", member,
          "' of ", status.comp_size, " bytes cannot hold ", status.size);
    check(places_.emplace(member, members_.size()).second, name_, " has the member '", member,
          "' twice");
    members_.push_back({member, status.size});
  }
}

ZipReader::~ZipReader() = default;

i64 ZipReader::find(const std::string& member) const {
  const auto found = places_.find(member);
  return found == places_.end() ? -1 : static_cast<i64>(found->second);
}

std::vector<std::byte> ZipReader::read(std::size_t member) const {
  const Member& wanted = members_[member];
  const std::unique_ptr<zip_file_t, CloseMember> file(zip_fopen_index(archive_.get(), member, 0));
  check(file != nullptr, name_, ": member '", wanted.name,
        "' cannot be read: ", zip_strerror(archive_.get()));
  std::vector<std::byte> bytes(static_cast<std::size_t>(wanted.bytes));
  std::size_t filled = 0;
  while (filled < bytes.size()) {
    const zip_int64_t got = zip_fread(file.get(), bytes.data() + filled, bytes.size() - filled);
    check(got > 0, name_, ": member '", wanted.name, "' is damaged after ", filled, " bytes");
    filled += static_cast<std::size_t>(got);
  }
  // one read more: the CRC is compared at the end of the member
  std::byte extra;
  check(zip_fread(file.get(), &extra, 1) == 0, name_, ": member '", wanted.name, "' is damaged");
  return bytes;
}

void write_zip(const std::filesystem::path& path, std::span<const ZipParts> members, bool deflate) {
  AtomicFile file(path);
  if (members.empty()) {
    // the library would remove a file without members: this is the directory's end alone
    std::string end = "PK\5\6";
    end.resize(22, '\0');
    file.write(end);
    return file.commit();
  }
  int code = 0;
  std::unique_ptr<zip_t, void (*)(zip_t*)> archive(
      zip_open(file.temporary().c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code), zip_discard);
  const auto must = [&](bool done) {
    if (!done) fail("cannot write ", path.string(), ": ", zip_strerror(archive.get()));
  };
  check(archive != nullptr, "cannot write ", path.string(), ": zip error ", code);
  for (const ZipParts& member : members) {
    std::vector<zip_buffer_fragment_t> parts;
    for (const auto& part : member.parts) {
      if (part.empty()) continue;
      auto* bytes = reinterpret_cast<zip_uint8_t*>(const_cast<std::byte*>(part.data()));
      parts.push_back({bytes, part.size()});
    }
    zip_source_t* source = zip_source_buffer_fragment(archive.get(), parts.data(), parts.size(), 0);
    must(source != nullptr);
    const zip_int64_t index =
        zip_file_add(archive.get(), member.name.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) zip_source_free(source);
    must(index >= 0);
    const auto place = static_cast<zip_uint64_t>(index);
    must(zip_set_file_compression(archive.get(), place, deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE,
                                  0) == 0);
    // 1 January 1980, the first day a zip file knows
    must(zip_file_set_dostime(archive.get(), place, 0, (1 << 5) | 1, 0) == 0);
  }
  // the library reads the members only now
  must(zip_close(archive.get()) == 0);
  static_cast<void>(archive.release());
  file.commit();
}

bool looks_like_zip(std::span<const std::byte> file) {
  constexpr std::array<std::byte, 4> kMagic = {std::byte{'P'}, std::byte{'K'}, std::byte{3},
                                               std::byte{4}};
  return file.size() >= kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), file.begin());
}

}  // namespace orrery
