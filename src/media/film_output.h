#pragma once

#include <filesystem>

#include "media/ffmpeg.h"
#include "tensor/view.h"

namespace orrery::ffmpeg {

// For gif.cpp and video.cpp only: a file of one stream of pictures, as its encoder's packets come.
// In this order: begin(), settings of `codec`, open(), put() for each filled `frame`, finish().
// Errors: one sentence with the path and what FFmpeg said.
struct FilmOutput {
  std::string name;
  Output output;
  Codec codec;
  Packet packet;
  Frame frame;
  AVStream* stream = nullptr;
  i64 count = 0;

  void must(int code) const;
  // height, width and rate of a codec that leaves no time of writing inside
  void begin(const std::filesystem::path& path, const char* container, const AVCodec* encoder,
             i64 height, i64 width, int frames_per_second);
  void open();
  // Error when it has another shape than the film
  void check_shape(View<const u8, 3> rgb) const;
  // the frame, which then belongs to the encoder too
  void put();
  void finish();

 private:
  void drain();
};

}  // namespace orrery::ffmpeg
