#include "media/gif.h"

#include "base/error.h"
#include "media/image.h"

#if ORRERY_VIDEO

#include "media/film_output.h"

namespace orrery {

struct GifWriter::Film : ffmpeg::FilmOutput {
  const Palette* palette = nullptr;
};

GifWriter::GifWriter(const std::filesystem::path& path, i64 height, i64 width,
                     const Palette& palette, int frames_per_second)
    : film_(std::make_unique<Film>()) {
  check(height > 0 && width > 0 && height <= kMaxImageSide && width <= kMaxImageSide,
        "cannot write ", path.string(), ": frames of ", width, " x ", height, ", from 1 to ",
        kMaxImageSide, " a side are possible");
  check(frames_per_second > 0 && frames_per_second <= 50, "cannot write ", path.string(), ": ",
        frames_per_second, " frames a second, a GIF shows 1 to 50");
  const AVCodec* encoder = avcodec_find_encoder(AV_CODEC_ID_GIF);
  check(encoder != nullptr, "cannot write ", path.string(), ": FFmpeg has no GIF encoder here");
  Film& film = *film_;
  film.palette = &palette;
  film.begin(path, "gif", encoder, height, width, frames_per_second);
  film.codec->pix_fmt = AV_PIX_FMT_PAL8;
  film.open();
}

GifWriter::~GifWriter() = default;

void GifWriter::add(View<const u8, 3> rgb) {
  Film& film = *film_;
  film.check_shape(rgb);
  // the encoder keeps the frame before, to write only what changed
  av_frame_unref(film.frame.get());
  film.frame->format = film.codec->pix_fmt;
  film.frame->width = film.codec->width;
  film.frame->height = film.codec->height;
  film.must(av_frame_get_buffer(film.frame.get(), 0));
  auto* entries = reinterpret_cast<u32*>(film.frame->data[1]);
  const std::vector<Palette::Colour>& colours = film.palette->colours();
  for (std::size_t i = 0; i < 256; ++i) {
    const Palette::Colour c = i < colours.size() ? colours[i] : Palette::Colour{};
    entries[i] = u32{0xff} << 24 | u32{c[0]} << 16 | u32{c[1]} << 8 | c[2];
  }
  for (i64 y = 0; y < rgb.size(0); ++y) {
    u8* row = film.frame->data[0] + y * film.frame->linesize[0];
    Palette::Colour last = {};
    u8 index = 0;
    for (i64 x = 0; x < rgb.size(1); ++x) {
      const Palette::Colour colour = {rgb(y, x, 0), rgb(y, x, 1), rgb(y, x, 2)};
      if (x == 0 || colour != last) index = film.palette->index_of(colour);
      last = colour;
      row[x] = index;
    }
  }
  film.put();
}

void GifWriter::finish() { film_->finish(); }

}  // namespace orrery

#else

namespace orrery {

struct GifWriter::Film {};

GifWriter::GifWriter(const std::filesystem::path& path, i64, i64, const Palette&, int) {
  fail(path.string(),
       " is a film, and this build has no FFmpeg: install libavformat-dev, "
       "libavcodec-dev and libswscale-dev, and configure again");
}
GifWriter::~GifWriter() = default;
void GifWriter::add(View<const u8, 3>) {}
void GifWriter::finish() {}

}  // namespace orrery

#endif
