#pragma once

// For the files of this folder that use FFmpeg's libraries, in builds that have them.

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}

#include <array>
#include <memory>
#include <string>

namespace orrery::ffmpeg {

inline std::string words_of(int code) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> words = {};
  av_strerror(code, words.data(), words.size());
  return words.data();
}

// what belongs to FFmpeg is freed through a pointer to the pointer
template <auto free_through>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    free_through(&object);
  }
};
struct FreeScaler {
  void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
};
struct CloseOutput {
  void operator()(AVFormatContext* context) const {
    if (context->pb != nullptr) avio_closep(&context->pb);
    avformat_free_context(context);
  }
};

using Packet = std::unique_ptr<AVPacket, Free<av_packet_free>>;
using Frame = std::unique_ptr<AVFrame, Free<av_frame_free>>;
using Codec = std::unique_ptr<AVCodecContext, Free<avcodec_free_context>>;
using Input = std::unique_ptr<AVFormatContext, Free<avformat_close_input>>;
using Output = std::unique_ptr<AVFormatContext, CloseOutput>;
using Scaler = std::unique_ptr<SwsContext, FreeScaler>;

// The library's own messages would go to standard error.
inline void quiet() {
  static const bool once = [] {
    av_log_set_level(AV_LOG_QUIET);
    return true;
  }();
  static_cast<void>(once);
}

}  // namespace orrery::ffmpeg
