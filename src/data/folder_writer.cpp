#include <fstream>
#include <limits>
#include <memory>

#include "base/error.h"
#include "data/formats.h"
#include "data/table_episodes.h"
#include "data/temporary_folder.h"
#include "io/npz.h"
#include "media/image.h"
#include "media/video.h"

namespace orrery {

namespace {

bool is_rgb(const Column& column) {
  return column.dtype == DType::uint8 && column.row.rank() == 3 && column.row[2] == 3;
}

void write_table(const std::filesystem::path& path, Tensor values) {
  TensorMap arrays;
  arrays.emplace("arr_0", std::move(values));
  write_npz(path, arrays);
}

class FolderEpisodesWriter final : public EpisodesWriter {
 public:
  FolderEpisodesWriter(const std::filesystem::path& path, const std::vector<Column>& columns,
                       const WriteOptions& options, bool video)
      : folder_(path), columns_(columns), options_(options), video_(video) {
    std::filesystem::create_directory(folder_.temporary());
    std::vector<Column> tables;
    for (const Column& column : columns_) {
      check(column.name != "ep_len" && column.name != "ep_offset", "cannot write ", path.string(),
            ": a column may not be called ", column.name);
      if (is_rgb(column)) {
        std::filesystem::create_directory(folder_.temporary() / column.name);
      } else {
        tables.push_back(column);
      }
    }
    if (!tables.empty()) {
      tables_ = write_zarr(folder_.temporary() / kUnfinishedTables, tables, {}, false);
    }
  }

  void append(i64 rows, std::span<const std::byte* const> values) override {
    check(rows <= std::numeric_limits<i32>::max(), "an episode has ", rows, " rows");
    // the pictures first, then the numbers that say that the episode is there
    std::vector<const std::byte*> numbers;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      if (is_rgb(columns_[c])) {
        write_pictures(columns_[c], rows, values[c]);
      } else {
        numbers.push_back(values[c]);
      }
    }
    if (tables_) tables_->append(rows, numbers);
    lengths_.push_back(static_cast<i32>(rows));
    offsets_.push_back(rows_);
    rows_ += rows;
  }

  void finish() override {
    const auto kept = folder_.temporary() / kUnfinishedTables;
    if (tables_) {
      tables_->finish();
      const auto numbers = open_zarr(kept, {});
      for (i64 c = 0; c < static_cast<i64>(numbers->columns().size()); ++c) {
        const Column& column = numbers->column(c);
        write_table(folder_.temporary() / (column.name + ".npz"), whole_column(*numbers, c));
      }
    }
    const auto episodes = static_cast<i64>(lengths_.size());
    write_table(folder_.temporary() / "ep_len.npz", Tensor::of<i32>({episodes}, lengths_));
    write_table(folder_.temporary() / "ep_offset.npz", Tensor::of<i64>({episodes}, offsets_));
    std::filesystem::remove_all(kept);
    folder_.commit();
  }

 private:
  void write_pictures(const Column& column, i64 rows, const std::byte* values) const {
    const auto episode = lengths_.size();
    const auto folder = folder_.temporary() / column.name;
    const auto picture = [&](i64 row) {
      return View<const u8, 3>(reinterpret_cast<const u8*>(values) + row * column.row_bytes(),
                               {column.row[0], column.row[1], 3});
    };
    if (video_) {
      if (rows == 0) return;
      VideoWriter film(folder / text("ep_", episode, ".mp4"), column.row[0], column.row[1],
                       {.frames_per_second = options_.frames_per_second});
      for (i64 row = 0; row < rows; ++row) film.add(picture(row));
      return film.finish();
    }
    for (i64 row = 0; row < rows; ++row) {
      // the folder appears as a whole, its files need not
      const std::vector<u8> bytes = encode_jpeg(picture(row), options_.jpeg_quality);
      const auto path = folder / text("ep_", episode, "_step_", row, ".jpeg");
      std::ofstream file(path, std::ios::binary);
      file.write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
      file.close();
      check(file.good(), "cannot write ", path.string(), ": is the disk full?");
    }
  }

  TemporaryFolder folder_;
  std::vector<Column> columns_;
  WriteOptions options_;
  bool video_;
  std::unique_ptr<EpisodesWriter> tables_;  // the columns without pictures, until all is there
  std::vector<i32> lengths_;
  std::vector<i64> offsets_;
  i64 rows_ = 0;
};

}  // namespace

std::unique_ptr<EpisodesWriter> write_folder(const std::filesystem::path& path,
                                             const std::vector<Column>& columns,
                                             const WriteOptions& options, bool video) {
  return std::make_unique<FolderEpisodesWriter>(path, columns, options, video);
}

}  // namespace orrery
