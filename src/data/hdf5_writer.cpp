#include <algorithm>
#include <limits>

#include "base/atomic_file.h"
#include "base/error.h"
#include "data/formats.h"
#include "io/hdf5.h"

namespace orrery {

namespace {

constexpr i64 kReleaseFrameChunk = 100;
constexpr i64 kReleaseChunk = 1000;
// enough for zstd to find what repeats, and still some kilobytes to decode for one window
constexpr i64 kPackedChunk = 4096;
constexpr BloscSettings kPacked = {
    .codec = BloscCodec::zstd, .level = 7, .shuffle = BloscShuffle::byte};
constexpr i64 kEpisodeChunk = 1024;
// rows after which what is there is made readable for others: what a killed process can lose
constexpr i64 kFlushRows = 4 * kReleaseFrameChunk;

class Hdf5EpisodesWriter final : public EpisodesWriter {
 public:
  Hdf5EpisodesWriter(const std::filesystem::path& path, const std::vector<Column>& columns,
                     const WriteOptions& options)
      : file_(path),
        writer_(file_.temporary(), path.string(),
                options.earliest ? Hdf5Age::earliest : Hdf5Age::v110),
        flushes_(!options.earliest) {
    const bool packed = options.layout == RecordingLayout::packed;
    const bool release = options.layout == RecordingLayout::release;
    for (const Column& column : columns) {
      check(column.name != "ep_len" && column.name != "ep_offset", "cannot write ", path.string(),
            ": a column may not be called ", column.name);
      const bool frames = column.row.rank() >= 2;
      const i64 chunk = packed    ? (frames ? kReleaseFrameChunk : kPackedChunk)
                        : release ? (frames ? kReleaseFrameChunk : kReleaseChunk)
                                  : 1;
      std::optional<BloscSettings> blosc;
      if (release && frames) blosc = options.blosc.value_or(BloscSettings{});
      if (packed) blosc = options.blosc.value_or(kPacked);
      indices_.push_back(writer_.add_column(column.name, column.dtype, column.row, chunk, blosc));
    }
    lengths_ = writer_.add_column("ep_len", DType::int32, Shape({}), kEpisodeChunk, std::nullopt);
    offsets_ =
        writer_.add_column("ep_offset", DType::int64, Shape({}), kEpisodeChunk, std::nullopt);
    if (!options.drawing.empty()) writer_.set_text(kDrawingText, options.drawing);
  }

  void append(i64 rows, std::span<const std::byte* const> values) override {
    check(rows <= std::numeric_limits<i32>::max(), "an episode has ", rows, " rows");
    for (std::size_t c = 0; c < indices_.size(); ++c) {
      writer_.append(indices_[c], rows, values[c]);
    }
    pending_.push_back(rows);
    appended_ += rows;
    if (flushes_ && appended_ - flushed_ >= kFlushRows) flush();
  }

  void finish() override {
    for (const i64 rows : pending_) write_length(rows);
    writer_.close();
    file_.commit();
  }

 private:
  // The rows first, then the episodes that are whole among them: a reader never finds a length
  // without its rows.
  void flush() {
    flushed_ = appended_;
    writer_.flush();
    i64 whole = appended_;
    for (const i64 column : indices_) whole = std::min(whole, writer_.stored_rows(column));
    std::size_t done = 0;
    while (done < pending_.size() && rows_ + pending_[done] <= whole) {
      write_length(pending_[done++]);
    }
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(done));
    if (done > 0) writer_.flush();
  }

  void write_length(i64 rows) {
    const auto length = static_cast<i32>(rows);
    writer_.append(lengths_, 1, &length);
    writer_.append(offsets_, 1, &rows_);
    rows_ += rows;
  }

  AtomicFile file_;  // outlives the writer, which may still write when it gives up
  Hdf5Writer writer_;
  bool flushes_;
  std::vector<i64> indices_;
  i64 lengths_ = 0;
  i64 offsets_ = 0;
  std::vector<i64> pending_;  // lengths of episodes that are not listed yet
  i64 rows_ = 0;              // of those that are
  i64 appended_ = 0;
  i64 flushed_ = 0;
};

}  // namespace

std::unique_ptr<EpisodesWriter> write_hdf5(const std::filesystem::path& path,
                                           const std::vector<Column>& columns,
                                           const WriteOptions& options) {
  return std::make_unique<Hdf5EpisodesWriter>(path, columns, options);
}

}  // namespace orrery
