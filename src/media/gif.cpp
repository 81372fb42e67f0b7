#include "media/gif.h"

#include "base/error.h"
#include "media/image.h"

#if ORRERY_VIDEO

#include "media/ffmpeg.h"

namespace orrery {

struct GifWriter::Film {
  std::string name;
  const Palette* palette = nullptr;
  ffmpeg::Output output;
  ffmpeg::Codec codec;
  ffmpeg::Packet packet;
  ffmpeg::Frame frame;
  AVStream* stream = nullptr;
  i64 count = 0;

  void must(int code) const {
    if (code < 0) fail("cannot write ", name, ": ", ffmpeg::words_of(code));
  }

  void drain() {
    for (;;) {
      const int code = avcodec_receive_packet(codec.get(), packet.get());
      if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return;
      must(code);
      av_packet_rescale_ts(packet.get(), codec->time_base, stream->time_base);
      packet->stream_index = stream->index;
      must(av_write_frame(output.get(), packet.get()));
      av_packet_unref(packet.get());
    }
  }
};

GifWriter::GifWriter(const std::filesystem::path& path, i64 height, i64 width,
                     const Palette& palette, int frames_per_second)
    : film_(std::make_unique<Film>()) {
  ffmpeg::quiet();
  Film& film = *film_;
  film.name = path.string();
  film.palette = &palette;
  check(height > 0 && width > 0 && height <= kMaxImageSide && width <= kMaxImageSide,
        "cannot write ", film.name, ": frames of ", width, " x ", height, ", from 1 to ",
        kMaxImageSide, " a side are possible");
  check(frames_per_second > 0 && frames_per_second <= 50, "cannot write ", film.name, ": ",
        frames_per_second, " frames a second, a GIF shows 1 to 50");
  const AVCodec* encoder = avcodec_find_encoder(AV_CODEC_ID_GIF);
  check(encoder != nullptr, "cannot write ", film.name, ": FFmpeg has no GIF encoder here");

  AVFormatContext* made = nullptr;
  film.must(avformat_alloc_output_context2(&made, nullptr, "gif", film.name.c_str()));
  film.output.reset(made);
  film.codec.reset(avcodec_alloc_context3(encoder));
  film.packet.reset(av_packet_alloc());
  film.frame.reset(av_frame_alloc());
  film.stream = avformat_new_stream(film.output.get(), nullptr);
  check(film.codec && film.packet && film.frame && film.stream != nullptr, "cannot write ",
        film.name, ": there is no memory for it");
  AVCodecContext& codec = *film.codec;
  codec.width = static_cast<int>(width);
  codec.height = static_cast<int>(height);
  codec.pix_fmt = AV_PIX_FMT_PAL8;
  codec.time_base = {1, frames_per_second};
  codec.flags |= AV_CODEC_FLAG_BITEXACT;
  film.output->flags |= AVFMT_FLAG_BITEXACT;
  film.must(avcodec_open2(&codec, encoder, nullptr));
  film.must(avcodec_parameters_from_context(film.stream->codecpar, &codec));
  film.stream->time_base = codec.time_base;
  film.must(avio_open(&film.output->pb, film.name.c_str(), AVIO_FLAG_WRITE));
  film.must(avformat_write_header(film.output.get(), nullptr));
}

GifWriter::~GifWriter() = default;

void GifWriter::add(View<const u8, 3> rgb) {
  Film& film = *film_;
  check(rgb.size(0) == film.codec->height && rgb.size(1) == film.codec->width && rgb.size(2) == 3,
        "cannot write ", film.name, ": a frame of another shape than the first");
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
  film.frame->pts = film.count++;
  film.must(avcodec_send_frame(film.codec.get(), film.frame.get()));
  film.drain();
}

void GifWriter::finish() {
  Film& film = *film_;
  check(film.count > 0, "cannot write ", film.name, ": it has no frames");
  film.must(avcodec_send_frame(film.codec.get(), nullptr));
  film.drain();
  film.must(av_write_trailer(film.output.get()));
  film.must(avio_closep(&film.output->pb));
}

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
