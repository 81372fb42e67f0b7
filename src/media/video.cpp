#include "media/video.h"

#if ORRERY_VIDEO

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "media/film_output.h"
#include "media/image.h"

namespace orrery {

using ffmpeg::words_of;

bool has_video() { return true; }

struct VideoReader::Film {
  std::string name;
  ffmpeg::Input input;
  ffmpeg::Codec codec;
  ffmpeg::Scaler scaler;
  ffmpeg::Packet packet;
  ffmpeg::Frame frame;
  int stream = -1;
  i64 height = 0;
  i64 width = 0;
  std::vector<i64> stamps;  // of the frames, in the order of showing
  std::vector<i64> keys;    // of those that can be decoded alone, likewise
  i64 next = -1;            // the frame that the decoder gives next; -1: it must seek
  std::vector<u8> rgb;

  [[noreturn]] void give_up(int code) const { fail("cannot read ", name, ": ", words_of(code)); }

  void open() {
    AVFormatContext* opened = nullptr;
    int code = avformat_open_input(&opened, name.c_str(), nullptr, nullptr);
    if (code < 0) give_up(code);
    input.reset(opened);
    code = avformat_find_stream_info(input.get(), nullptr);
    if (code < 0) give_up(code);
    const AVCodec* decoder = nullptr;
    stream = av_find_best_stream(input.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &decoder, 0);
    check(stream >= 0 && decoder != nullptr, "cannot read ", name,
          ": there is no film in it that FFmpeg can decode");
    const AVStream* film = input->streams[stream];
    width = film->codecpar->width;
    height = film->codecpar->height;
    check(width >= 1 && height >= 1 && width <= kMaxImageSide && height <= kMaxImageSide,
          "cannot read ", name, ": its frames are ", width, " x ", height, ", from 1 to ",
          kMaxImageSide, " a side are read");
    codec.reset(avcodec_alloc_context3(decoder));
    code = codec ? avcodec_parameters_to_context(codec.get(), film->codecpar) : AVERROR(ENOMEM);
    if (code < 0) give_up(code);
    codec->thread_count = 1;  // readers have threads of their own
    code = avcodec_open2(codec.get(), decoder, nullptr);
    if (code < 0) give_up(code);
    packet.reset(av_packet_alloc());
    frame.reset(av_frame_alloc());

    while ((code = av_read_frame(input.get(), packet.get())) >= 0) {
      const bool shown =
          packet->stream_index == stream && (packet->flags & AV_PKT_FLAG_DISCARD) == 0;
      if (shown) {
        const i64 stamp = packet->pts != AV_NOPTS_VALUE ? packet->pts : packet->dts;
        stamps.push_back(stamp);
        if ((packet->flags & AV_PKT_FLAG_KEY) != 0) keys.push_back(stamp);
      }
      av_packet_unref(packet.get());
    }
    if (code != AVERROR_EOF) give_up(code);
    std::sort(stamps.begin(), stamps.end());
    std::sort(keys.begin(), keys.end());
    check(!stamps.empty() && std::adjacent_find(stamps.begin(), stamps.end()) == stamps.end(),
          "cannot read ", name, ": its frames have no times of their own");
    rgb.resize(static_cast<std::size_t>(width * height * 3));
  }

  // the next decoded frame, in the order of showing; false at the end
  bool decode() {
    for (;;) {
      int code = avcodec_receive_frame(codec.get(), frame.get());
      if (code == 0) return true;
      if (code == AVERROR_EOF) return false;
      if (code != AVERROR(EAGAIN)) give_up(code);
      code = av_read_frame(input.get(), packet.get());
      if (code == AVERROR_EOF) {
        code = avcodec_send_packet(codec.get(), nullptr);
      } else if (code >= 0) {
        code = packet->stream_index == stream ? avcodec_send_packet(codec.get(), packet.get()) : 0;
        av_packet_unref(packet.get());
      }
      if (code < 0) give_up(code);
    }
  }

  void seek(i64 to) {
    // the key frame at or before it; none before: from the beginning
    const i64 stamp = stamps[static_cast<std::size_t>(to)];
    const auto after = std::upper_bound(keys.begin(), keys.end(), stamp);
    const i64 key = after == keys.begin() ? stamps.front() : *(after - 1);
    const int code = av_seek_frame(input.get(), stream, key, AVSEEK_FLAG_BACKWARD);
    if (code < 0) give_up(code);
    avcodec_flush_buffers(codec.get());
  }

  void convert() {
    check(frame->width == width && frame->height == height, "cannot read ", name,
          ": its frames change their size");
    // without further flags: the fast conversion, byte for byte what the official reader's library
    // (decord) gives
    scaler.reset(sws_getCachedContext(
        scaler.release(), static_cast<int>(width), static_cast<int>(height),
        static_cast<AVPixelFormat>(frame->format), static_cast<int>(width),
        static_cast<int>(height), AV_PIX_FMT_RGB24, SWS_BICUBIC, nullptr, nullptr, nullptr));
    check(scaler != nullptr, "cannot read ", name, ": its pixels are of a kind that is not known");
    std::array<u8*, 1> planes = {rgb.data()};
    const std::array<int, 1> strides = {static_cast<int>(width * 3)};
    sws_scale(scaler.get(), frame->data, frame->linesize, 0, static_cast<int>(height),
              planes.data(), strides.data());
  }
};

VideoReader::VideoReader(const std::filesystem::path& path) : film_(std::make_unique<Film>()) {
  ffmpeg::quiet();
  film_->name = path.string();
  film_->open();
}

VideoReader::~VideoReader() = default;
i64 VideoReader::frames() const { return static_cast<i64>(film_->stamps.size()); }
i64 VideoReader::height() const { return film_->height; }
i64 VideoReader::width() const { return film_->width; }

void VideoReader::read(i64 begin, i64 end, FunctionRef<void(i64, View<const u8, 3>)> take) {
  Film& film = *film_;
  check(begin >= 0 && begin <= end && end <= frames(), "frames ", begin, " to ", end,
        " were asked for, ", film.name, " has ", frames());
  if (begin == end) return;
  if (film.next != begin) film.seek(begin);
  film.next = -1;
  for (i64 wanted = begin; wanted < end;) {
    check(film.decode(), "cannot read ", film.name, ": frame ", wanted, " of ", frames(),
          " is missing");
    const auto& stamps = film.stamps;
    const auto at =
        std::lower_bound(stamps.begin(), stamps.end(), film.frame->best_effort_timestamp);
    const i64 index = at - stamps.begin();
    if (index < wanted) continue;
    check(index == wanted, "cannot read ", film.name, ": frame ", wanted, " is missing");
    film.convert();
    take(wanted, View<const u8, 3>(film.rgb.data(), {film.height, film.width, 3}));
    ++wanted;
  }
  film.next = end;
}

struct VideoWriter::Film : ffmpeg::FilmOutput {
  ffmpeg::Scaler scaler;
};

VideoWriter::VideoWriter(const std::filesystem::path& path, i64 height, i64 width,
                         const VideoOptions& options)
    : film_(std::make_unique<Film>()) {
  check(height > 0 && width > 0 && height % 2 == 0 && width % 2 == 0 && height <= kMaxImageSide &&
            width <= kMaxImageSide,
        "cannot write ", path.string(), ": frames of ", width, " x ", height,
        ", even sides are needed");
  const AVCodec* encoder = avcodec_find_encoder_by_name("libx264");
  if (encoder == nullptr) encoder = avcodec_find_encoder(AV_CODEC_ID_H264);
  check(encoder != nullptr, "cannot write ", path.string(), ": FFmpeg has no H.264 encoder here");
  Film& film = *film_;
  film.begin(path, "mp4", encoder, height, width, options.frames_per_second);
  AVCodecContext& codec = *film.codec;
  codec.pix_fmt = AV_PIX_FMT_YUV420P;
  codec.framerate = {options.frames_per_second, 1};
  codec.gop_size = options.keyframe_every;
  codec.thread_count = 1;  // the same bytes on every machine with this library
  if ((film.output->oformat->flags & AVFMT_GLOBALHEADER) != 0) {
    codec.flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  }
  av_opt_set(codec.priv_data, "crf", std::to_string(options.quality).c_str(), 0);

  film.frame->format = codec.pix_fmt;
  film.frame->width = codec.width;
  film.frame->height = codec.height;
  film.must(av_frame_get_buffer(film.frame.get(), 0));
  film.scaler.reset(sws_getContext(
      codec.width, codec.height, AV_PIX_FMT_RGB24, codec.width, codec.height, codec.pix_fmt,
      SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP, nullptr, nullptr, nullptr));
  check(film.scaler != nullptr, "cannot write ", film.name, ": FFmpeg cannot convert its frames");
  film.open();
}

VideoWriter::~VideoWriter() = default;

void VideoWriter::add(View<const u8, 3> rgb) {
  Film& film = *film_;
  film.check_shape(rgb);
  check(rgb.contiguous(), "cannot write ", film.name, ": a frame that is a part of another");
  film.must(av_frame_make_writable(film.frame.get()));
  const std::array<const u8*, 1> planes = {rgb.data()};
  const std::array<int, 1> strides = {film.codec->width * 3};
  sws_scale(film.scaler.get(), planes.data(), strides.data(), 0, film.codec->height,
            film.frame->data, film.frame->linesize);
  film.put();
}

void VideoWriter::finish() { film_->finish(); }

}  // namespace orrery

#else

#include "base/error.h"

namespace orrery {

namespace {

[[noreturn]] void refuse(const std::filesystem::path& path) {
  fail(path.string(),
       " is a film, and this build has no FFmpeg: install libavformat-dev, "
       "libavcodec-dev and libswscale-dev, and configure again");
}

}  // namespace

struct VideoReader::Film {};
struct VideoWriter::Film {};

bool has_video() { return false; }
VideoReader::VideoReader(const std::filesystem::path& path) { refuse(path); }
VideoReader::~VideoReader() = default;
i64 VideoReader::frames() const { return 0; }
i64 VideoReader::height() const { return 0; }
i64 VideoReader::width() const { return 0; }
void VideoReader::read(i64, i64, FunctionRef<void(i64, View<const u8, 3>)>) {}
VideoWriter::VideoWriter(const std::filesystem::path& path, i64, i64, const VideoOptions&) {
  refuse(path);
}
VideoWriter::~VideoWriter() = default;
void VideoWriter::add(View<const u8, 3>) {}
void VideoWriter::finish() {}

}  // namespace orrery

#endif
