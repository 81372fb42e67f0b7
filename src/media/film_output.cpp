#if ORRERY_VIDEO

#include "media/film_output.h"

#include "base/error.h"

namespace orrery::ffmpeg {

void FilmOutput::must(int code) const {
  if (code < 0) fail("cannot write ", name, ": ", words_of(code));
}

void FilmOutput::begin(const std::filesystem::path& path, const char* container,
                       const AVCodec* encoder, i64 height, i64 width, int frames_per_second) {
  quiet();
  name = path.string();
  AVFormatContext* made = nullptr;
  must(avformat_alloc_output_context2(&made, nullptr, container, name.c_str()));
  output.reset(made);
  codec.reset(avcodec_alloc_context3(encoder));
  packet.reset(av_packet_alloc());
  frame.reset(av_frame_alloc());
  stream = avformat_new_stream(output.get(), nullptr);
  check(codec && packet && frame && stream != nullptr, "cannot write ", name,
        ": there is no memory for it");
  codec->width = static_cast<int>(width);
  codec->height = static_cast<int>(height);
  codec->time_base = {1, frames_per_second};
  codec->flags |= AV_CODEC_FLAG_BITEXACT;
  output->flags |= AVFMT_FLAG_BITEXACT;
}

void FilmOutput::open() {
  must(avcodec_open2(codec.get(), nullptr, nullptr));
  must(avcodec_parameters_from_context(stream->codecpar, codec.get()));
  stream->time_base = codec->time_base;
  must(avio_open(&output->pb, name.c_str(), AVIO_FLAG_WRITE));
  must(avformat_write_header(output.get(), nullptr));
}

void FilmOutput::check_shape(View<const u8, 3> rgb) const {
  check(rgb.size(0) == codec->height && rgb.size(1) == codec->width && rgb.size(2) == 3,
        "cannot write ", name, ": a frame of another shape than the first");
}

void FilmOutput::put() {
  frame->pts = count++;
  must(avcodec_send_frame(codec.get(), frame.get()));
  drain();
}

void FilmOutput::finish() {
  check(count > 0, "cannot write ", name, ": it has no frames");
  must(avcodec_send_frame(codec.get(), nullptr));
  drain();
  must(av_write_trailer(output.get()));
  must(avio_closep(&output->pb));
}

void FilmOutput::drain() {
  for (;;) {
    const int code = avcodec_receive_packet(codec.get(), packet.get());
    if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return;
    must(code);
    // without it the last frame of a film lasts no time, and players leave it out
    packet->duration = 1;
    av_packet_rescale_ts(packet.get(), codec->time_base, stream->time_base);
    packet->stream_index = stream->index;
    must(av_interleaved_write_frame(output.get(), packet.get()));
  }
}

}  // namespace orrery::ffmpeg

#endif
