#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <jpeglib.h>

#include "base/error.h"
#include "media/codecs.h"

namespace orrery {
namespace {

// a block of 64 pixels takes at least one bit
constexpr u64 kMaxPixelsPerByte = 64 * 8;
// Every scan of a progressive file goes through the whole picture, and takes few bytes when it is
// empty. Real files have about ten.
constexpr int kMaxScans = 100;

// libjpeg ends the process on an error unless its callback jumps away. What it jumps over has no
// destructors. Warnings mean damaged data, which libjpeg would fill with grey: they are errors too.
struct Errors {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = {};
};

[[noreturn]] void on_error(j_common_ptr codec) {
  auto* errors = reinterpret_cast<Errors*>(codec->err);
  codec->err->format_message(codec, errors->message);
  std::longjmp(errors->jump, 1);
}

void on_message(j_common_ptr codec, int level) {
  if (level < 0) on_error(codec);
}

void set_up(Errors& errors) {
  jpeg_std_error(&errors.base);
  errors.base.error_exit = on_error;
  errors.base.emit_message = on_message;
}

// called between parts of the work
void on_progress(j_common_ptr codec) {
  const auto* decoder = reinterpret_cast<j_decompress_ptr>(codec);
  if (decoder->input_scan_number > kMaxScans) {
    auto* errors = reinterpret_cast<Errors*>(codec->err);
    std::snprintf(errors->message, sizeof(errors->message), "it has more than %d scans", kMaxScans);
    std::longjmp(errors->jump, 1);
  }
}

struct Decoder {
  Decoder() {
    set_up(errors);
    codec.err = &errors.base;
    jpeg_create_decompress(&codec);
    progress.progress_monitor = on_progress;
    codec.progress = &progress;
  }
  ~Decoder() { jpeg_destroy_decompress(&codec); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  Errors errors;
  jpeg_progress_mgr progress = {};
  jpeg_decompress_struct codec = {};
};

struct Encoder {
  Encoder() {
    set_up(errors);
    codec.err = &errors.base;
    jpeg_create_compress(&codec);
  }
  ~Encoder() {
    jpeg_destroy_compress(&codec);
    std::free(bytes);
  }
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;
  Errors errors;
  jpeg_compress_struct codec = {};
  unsigned char* bytes = nullptr;  // the library's, from malloc
  unsigned long count = 0;
};

bool read_head(Decoder& decoder, std::span<const std::byte> file) {
  if (setjmp(decoder.errors.jump)) return false;
  jpeg_mem_src(&decoder.codec, reinterpret_cast<const unsigned char*>(file.data()),
               static_cast<unsigned long>(file.size()));
  jpeg_read_header(&decoder.codec, TRUE);
  decoder.codec.out_color_space = JCS_RGB;
  return true;
}

bool read_pixels(Decoder& decoder, u8* rgb) {
  if (setjmp(decoder.errors.jump)) return false;
  jpeg_start_decompress(&decoder.codec);
  while (decoder.codec.output_scanline < decoder.codec.output_height) {
    JSAMPROW row =
        rgb + std::size_t{decoder.codec.output_scanline} * decoder.codec.output_width * 3;
    jpeg_read_scanlines(&decoder.codec, &row, 1);
  }
  jpeg_finish_decompress(&decoder.codec);
  return true;
}

bool write_all(Encoder& encoder, View<const u8, 3> rgb, int quality) {
  if (setjmp(encoder.errors.jump)) return false;
  jpeg_mem_dest(&encoder.codec, &encoder.bytes, &encoder.count);
  encoder.codec.image_width = static_cast<JDIMENSION>(rgb.size(1));
  encoder.codec.image_height = static_cast<JDIMENSION>(rgb.size(0));
  encoder.codec.input_components = 3;
  encoder.codec.in_color_space = JCS_RGB;
  jpeg_set_defaults(&encoder.codec);
  jpeg_set_quality(&encoder.codec, quality, TRUE);
  jpeg_start_compress(&encoder.codec, TRUE);
  while (encoder.codec.next_scanline < encoder.codec.image_height) {
    // the library takes a row it could write to, and only reads it
    JSAMPROW row = const_cast<JSAMPROW>(rgb.data() + encoder.codec.next_scanline * rgb.stride(0));
    jpeg_write_scanlines(&encoder.codec, &row, 1);
  }
  jpeg_finish_compress(&encoder.codec);
  return true;
}

}  // namespace

Image parse_jpeg(std::span<const std::byte> file, const std::string& name) {
  Decoder decoder;
  check(read_head(decoder, file), name, " is a damaged JPEG picture: ", decoder.errors.message);
  Image image = image_of_size(decoder.codec.image_width, decoder.codec.image_height,
                              file.size() * kMaxPixelsPerByte, name);
  check(read_pixels(decoder, image.rgb.data()), name,
        " is a damaged or unsupported JPEG picture: ", decoder.errors.message);
  return image;
}

std::vector<u8> encode_jpeg(View<const u8, 3> rgb, int quality) {
  check(rgb.size(2) == 3 && rgb.size(0) > 0 && rgb.size(1) > 0 && rgb.stride(2) == 1 &&
            rgb.stride(1) == 3,
        "encode_jpeg: a view of rows of RGB pixels is needed, got ", rgb.shape());
  check(quality >= 1 && quality <= 100, "encode_jpeg: quality is ", quality, ", not 1 to 100");
  Encoder encoder;
  check(write_all(encoder, rgb, quality), "encode_jpeg: ", encoder.errors.message);
  return {encoder.bytes, encoder.bytes + encoder.count};
}

}  // namespace orrery
