#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace orrery {

// A named value per time step: an action, a frame, a flag.
struct Column {
  std::string name;
  DType dtype = DType::f32;
  Shape row;  // of one row; rank 0: a single number

  i64 width() const { return row.numel(); }
  i64 row_bytes() const { return width() * element_bytes(dtype); }
};

// The seam every kind of recording stands behind: columns over time, cut into episodes that lie one
// after the other. Reading is safe from any number of threads.
class Episodes {
 public:
  virtual ~Episodes() = default;

  // where it comes from, for messages
  const std::string& name() const { return name_; }
  i64 rows() const { return rows_; }
  i64 count() const { return static_cast<i64>(lengths_.size()); }
  i64 length(i64 episode) const { return lengths_[static_cast<std::size_t>(episode)]; }
  // row that an episode begins with
  i64 offset(i64 episode) const { return offsets_[static_cast<std::size_t>(episode)]; }
  // the episode that a row, at least 0, belongs to: the last that begins there or before
  i64 episode_of(i64 row) const;

  const std::vector<Column>& columns() const { return columns_; }
  const Column& column(i64 index) const { return columns_[static_cast<std::size_t>(index)]; }
  // Columns that cannot be read, and why; the others can be all the same.
  struct Refusal {
    std::string column;
    std::string why;
  };
  const std::vector<Refusal>& refused() const { return refused_; }
  // How pictures that are not stored are drawn (data/drawing.h), as JSON; empty: it does not say.
  const std::string& drawing() const { return drawing_; }
  // index of a column, or -1
  i64 find_column(std::string_view name) const;
  // index of a column that must be there: otherwise an error that lists those that are, or says why
  // it cannot be read
  i64 column_index(std::string_view name) const;

  // Rows that are stored and decoded together: who reads windows in the order of chunks decodes
  // each only once. 1: rows cost the same in any order.
  virtual i64 chunk_rows(i64) const { return 1; }

  // Rows begin, begin + stride, ... before end of a column, one after the other, in the column's
  // type.
  void read(i64 column, i64 begin, i64 end, i64 stride, std::byte* out) const;
  // The same as float32, whatever the column's type.
  void read_f32(i64 column, i64 begin, i64 end, i64 stride, float* out) const;
  // The same as double.
  void read_f64(i64 column, i64 begin, i64 end, i64 stride, double* out) const;

 protected:
  // lengths: of each episode; their sum is the number of rows
  Episodes(std::string name, std::vector<i64> lengths);
  // the request is inside the recording
  virtual void do_read(i64 column, i64 begin, i64 end, i64 stride, std::byte* out) const = 0;

  std::vector<Column> columns_;
  std::vector<Refusal> refused_;
  std::string drawing_;

 private:
  std::string name_;
  std::vector<i64> lengths_;
  std::vector<i64> offsets_;
  i64 rows_ = 0;
};

struct OpenOptions {
  // Memory for decoded chunks. The published recordings have chunks of 15 MB, each touched by many
  // windows.
  i64 cache_bytes = i64{512} << 20;
  // A side of the pictures of recordings without them, which are drawn when they are read; 0: as
  // they were recorded. Stored pictures are what they are.
  i64 image_size = 0;
};

// Opens a recording, by its contents:
// - stable-worldmodel HDF5, with chunks of one row (present writer) or Blosc chunks of 100
//   (published files), also one whose writer was killed; a folder with one such file
// - Diffusion Policy's replay buffer in zarr 2 or 3, a folder or a zip file; or npz of arrays, one
// of
//   them episode_ends
// - stable-worldmodel's `folder` (npz and JPEG) and `video` (npz and MP4)
// - LeRobot 2.0, 2.1 and 3.0 (Parquet and MP4, or pictures in Parquet)
//
// A recording without `pixels` that says how they are drawn has them all the same
// (data/drawn_episodes.h); one without states that has the actions which led to them, these too
// (data/played_episodes.h).
//
// Refused, in one sentence: none of these, episodes that do not follow one another from row 0 to
// the last, columns of different lengths, no rows.
std::unique_ptr<Episodes> open_episodes(const std::filesystem::path& path,
                                        const OpenOptions& options = {});
// The same of a whole HDF5 file in memory.
std::unique_ptr<Episodes> open_episodes(std::span<const std::byte> file, const std::string& name,
                                        const OpenOptions& options = {});

// A recording made of tensors [rows, row]; their first sizes are equal to the sum of the lengths.
std::unique_ptr<Episodes> episodes_in_memory(std::string name, std::vector<i64> lengths,
                                             TensorMap columns);

// The named columns of a recording copied into memory when they have at most max_bytes, else the
// recording itself.
std::unique_ptr<Episodes> held_if_it_fits(std::unique_ptr<Episodes> source,
                                          const std::vector<std::string>& columns,
                                          i64 max_bytes = i64{4} << 30);

}  // namespace orrery
