#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <vector>

#include "base/types.h"
#include "tensor/view.h"

namespace orrery {

// Up to 256 colours for a film. Frames are counted, then the colours are chosen: those that occur
// when there are no more than 256, else by median cut (Heckbert, "Color image quantization for
// frame buffer display", 1982) over colours of 5 bits a channel: the box with the most pixels times
// extent is cut where half of its pixels lie on either side; a box shows the mean of its pixels.
//
// exact
class Palette {
 public:
  using Colour = std::array<u8, 3>;  // red, green, blue

  Palette();
  // frames [height, width, 3], before choose()
  void count(View<const u8, 3> rgb);
  void choose();

  const std::vector<Colour>& colours() const { return colours_; }
  // after choose(): the colour that stands for one of the counted
  u8 index_of(const Colour& colour) const;

 private:
  struct Bin {
    u64 pixels = 0;
    std::array<u64, 3> sums = {};
  };

  std::vector<Bin> bins_;      // of 5 bits a channel
  std::vector<u32> distinct_;  // colours seen, sorted, while there are few enough
  bool few_ = true;
  std::vector<Colour> colours_;
  std::vector<u8> index_of_bin_;
};

// Writes an animated GIF that repeats for ever, through FFmpeg's encoder; a build without FFmpeg
// has it too, as an error. At most 50 frames a second: browsers slow faster ones down. The file is
// complete after finish(). steady
class GifWriter {
 public:
  // The palette must outlive the writer, and every frame must have been counted in it.
  GifWriter(const std::filesystem::path& path, i64 height, i64 width, const Palette& palette,
            int frames_per_second);
  ~GifWriter();
  GifWriter(const GifWriter&) = delete;
  GifWriter& operator=(const GifWriter&) = delete;

  void add(View<const u8, 3> rgb);
  void finish();

 private:
  struct Film;
  std::unique_ptr<Film> film_;
};

}  // namespace orrery
