#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/types.h"
#include "tensor/view.h"

namespace orrery {

// Films, through FFmpeg's libraries. A build without them has these functions too; they are then
// errors.
bool has_video();

// Reads the first film of a file, frame by frame in the order of showing. Frames are found by the
// time stamps of the whole file, which are read when it is opened.
//
// Errors, one sentence: no film, a codec that the libraries lack, sides above kMaxImageSide,
// damaged.
class VideoReader {
 public:
  explicit VideoReader(const std::filesystem::path& path);
  ~VideoReader();
  VideoReader(const VideoReader&) = delete;
  VideoReader& operator=(const VideoReader&) = delete;

  i64 frames() const;
  i64 height() const;
  i64 width() const;

  // Decodes frames [begin, end) and hands each over as RGB. What lies between the key frame before
  // `begin` and `begin` is decoded too; frames in order cost nothing extra. One thread at a time.
  void read(i64 begin, i64 end, FunctionRef<void(i64 frame, View<const u8, 3> rgb)> take);

 private:
  struct Film;
  std::unique_ptr<Film> film_;
};

struct VideoOptions {
  int frames_per_second = 25;
  int quality = 23;         // x264's constant rate factor: 0 is lossless, 51 the worst
  int keyframe_every = 12;  // frames: what a single frame costs to decode at most
};

// Writes H.264 in MP4, what browsers and the official readers play: 4:2:0, so chroma has half the
// resolution. Sides must be even. The file is complete after finish(). steady
class VideoWriter {
 public:
  VideoWriter(const std::filesystem::path& path, i64 height, i64 width,
              const VideoOptions& options = {});
  ~VideoWriter();
  VideoWriter(const VideoWriter&) = delete;
  VideoWriter& operator=(const VideoWriter&) = delete;

  void add(View<const u8, 3> rgb);
  void finish();

 private:
  struct Film;
  std::unique_ptr<Film> film_;
};

}  // namespace orrery
