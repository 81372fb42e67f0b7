#include <algorithm>

#include "base/error.h"
#include "data/formats.h"
#include "data/temporary_folder.h"
#include "io/zarr.h"

namespace orrery {

namespace {

// a chunk of frames: the published buffers have 4 to 18 MB
constexpr i64 kChunkBytes = i64{4} << 20;
constexpr i64 kLongestChunk = 1000;
constexpr i64 kEndsChunk = 4096;
constexpr i64 kFlushRows = 1000;

class ZarrEpisodesWriter final : public EpisodesWriter {
 public:
  ZarrEpisodesWriter(const std::filesystem::path& path, const std::vector<Column>& columns,
                     const WriteOptions& options, bool zip)
      : path_(path), folder_(path), writer_(folder_.temporary()), zip_(zip) {
    const BloscSettings blosc = options.blosc.value_or(
        BloscSettings{.codec = BloscCodec::zstd, .level = 5, .shuffle = BloscShuffle::bit});
    for (const Column& column : columns) {
      const i64 chunk =
          std::clamp<i64>(kChunkBytes / std::max<i64>(1, column.row_bytes()), 1, kLongestChunk);
      indices_.push_back(
          writer_.add_array("data/" + column.name, column.dtype, column.row, chunk, blosc));
    }
    ends_ = writer_.add_array("meta/episode_ends", DType::int64, Shape({}), kEndsChunk, blosc);
  }

  void append(i64 rows, std::span<const std::byte* const> values) override {
    for (std::size_t c = 0; c < indices_.size(); ++c) {
      writer_.append(indices_[c], rows, values[c]);
    }
    rows_ += rows;
    pending_.push_back(rows_);
    if (rows_ - flushed_ >= kFlushRows) flush();
  }

  void finish() override {
    flush();
    if (!zip_) return folder_.commit();
    zip_folder(folder_.temporary(), path_);
  }

 private:
  // the rows first, then the episodes that they belong to
  void flush() {
    writer_.flush();
    writer_.append(ends_, static_cast<i64>(pending_.size()), pending_.data());
    writer_.flush();
    pending_.clear();
    flushed_ = rows_;
  }

  std::filesystem::path path_;
  TemporaryFolder folder_;
  ZarrWriter writer_;
  bool zip_;
  std::vector<i64> indices_;
  i64 ends_ = 0;
  std::vector<i64> pending_;
  i64 rows_ = 0;
  i64 flushed_ = 0;
};

}  // namespace

std::unique_ptr<EpisodesWriter> write_zarr(const std::filesystem::path& path,
                                           const std::vector<Column>& columns,
                                           const WriteOptions& options, bool zip) {
  return std::make_unique<ZarrEpisodesWriter>(path, columns, options, zip);
}

}  // namespace orrery
