#include <png.h>

#include <cstring>
#include <vector>

#include "base/error.h"
#include "media/codecs.h"

namespace orrery {
namespace {

// deflate reaches 1032 to 1, and a byte may be 8 pixels
constexpr u64 kMaxPixelsPerByte = 1032 * 8;

// libpng reports errors through callbacks that may not return. Throwing through C frames is not
// defined everywhere, so the callback keeps the message and jumps to the setjmp of the caller, in
// whose frame nothing has a destructor.
struct Report {
  char message[128] = {};
};

void on_error(png_structp png, png_const_charp message) {
  auto* report = static_cast<Report*>(png_get_error_ptr(png));
  std::strncpy(report->message, message, sizeof(report->message) - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

struct Input {
  std::span<const std::byte> rest;
};

void on_read(png_structp png, png_bytep out, std::size_t count) {
  auto* input = static_cast<Input*>(png_get_io_ptr(png));
  if (count > input->rest.size()) png_error(png, "it is cut short");
  std::memcpy(out, input->rest.data(), count);
  input->rest = input->rest.subspan(count);
}

void on_write(png_structp png, png_bytep bytes, std::size_t count) {
  auto* out = static_cast<std::vector<u8>*>(png_get_io_ptr(png));
  out->insert(out->end(), bytes, bytes + count);
}

void on_flush(png_structp) {}

// Owns what libpng allocates for reading.
struct Reader {
  explicit Reader(Report& report)
      : png(png_create_read_struct(PNG_LIBPNG_VER_STRING, &report, on_error, on_warning)),
        info(png != nullptr ? png_create_info_struct(png) : nullptr) {
    check(info != nullptr, "out of memory for a PNG reader");
  }
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  png_structp png;
  png_infop info;
};

struct Writer {
  explicit Writer(Report& report)
      : png(png_create_write_struct(PNG_LIBPNG_VER_STRING, &report, on_error, on_warning)),
        info(png != nullptr ? png_create_info_struct(png) : nullptr) {
    check(info != nullptr, "out of memory for a PNG writer");
  }
  ~Writer() { png_destroy_write_struct(&png, &info); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  png_structp png;
  png_infop info;
};

// everything before the pixels; false: see the report
bool read_head(Reader& reader, Input& input) {
  if (setjmp(png_jmpbuf(reader.png))) return false;
  png_set_read_fn(reader.png, &input, on_read);
  png_set_user_limits(reader.png, kMaxImageSide, kMaxImageSide);
  png_read_info(reader.png, reader.info);

  // any PNG as RGB of 8 bits
  png_set_expand(reader.png);
  png_set_strip_16(reader.png);
  png_set_strip_alpha(reader.png);
  png_set_gray_to_rgb(reader.png);
  png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  return true;
}

bool read_pixels(Reader& reader, png_bytepp rows) {
  if (setjmp(png_jmpbuf(reader.png))) return false;
  png_read_image(reader.png, rows);
  png_read_end(reader.png, nullptr);
  return true;
}

bool write_all(Writer& writer, std::vector<u8>& out, u32 width, u32 height, png_bytepp rows) {
  if (setjmp(png_jmpbuf(writer.png))) return false;
  png_set_write_fn(writer.png, &out, on_write, on_flush);
  png_set_IHDR(writer.png, writer.info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_set_rows(writer.png, writer.info, rows);
  png_write_png(writer.png, writer.info, PNG_TRANSFORM_IDENTITY, nullptr);
  return true;
}

}  // namespace

Image parse_png(std::span<const std::byte> file, const std::string& name) {
  Report report;
  Input input = {file};
  Reader reader(report);
  check(read_head(reader, input), name, " is a damaged PNG picture: ", report.message);

  Image image = image_of_size(png_get_image_width(reader.png, reader.info),
                              png_get_image_height(reader.png, reader.info),
                              file.size() * kMaxPixelsPerByte, name);
  const std::size_t row_bytes = static_cast<std::size_t>(image.width) * 3;
  check(png_get_rowbytes(reader.png, reader.info) == row_bytes, name,
        " is a PNG picture that cannot be turned into RGB");
  std::vector<png_bytep> rows(static_cast<std::size_t>(image.height));
  for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = image.rgb.data() + y * row_bytes;
  check(read_pixels(reader, rows.data()), name, " is a damaged PNG picture: ", report.message);
  return image;
}

std::vector<u8> encode_png(View<const u8, 3> rgb) {
  check(rgb.size(2) == 3 && rgb.size(0) > 0 && rgb.size(1) > 0 && rgb.stride(2) == 1 &&
            rgb.stride(1) == 3,
        "encode_png: a view of rows of RGB pixels is needed, got ", rgb.shape());
  Report report;
  Writer writer(report);
  std::vector<u8> out;
  std::vector<png_bytep> rows;
  for (i64 y = 0; y < rgb.size(0); ++y) {
    // the library takes rows it could write to, and only reads them
    rows.push_back(const_cast<png_bytep>(rgb.data() + y * rgb.stride(0)));
  }
  check(write_all(writer, out, static_cast<u32>(rgb.size(1)), static_cast<u32>(rgb.size(0)),
                  rows.data()),
        "encode_png: ", report.message);
  return out;
}

}  // namespace orrery
