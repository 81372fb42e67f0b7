#include "data/preview.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/markup.h"
#include "base/function_ref.h"
#include "data/summary.h"
#include "media/gif.h"
#include "media/resize.h"
#include "media/video.h"

namespace orrery {

namespace {

constexpr i64 kFewEpisodes = 8;
constexpr i64 kGap = 2;  // pixels between frames
constexpr u8 kPaper = 255;
constexpr int kPageQuality = 80;
constexpr i64 kMostPageFrames = 400;  // of an episode: a sprite is one JPEG

std::vector<i64> chosen(const Episodes& episodes, const PreviewOptions& options) {
  std::vector<i64> list = options.episodes;
  for (const i64 episode : list) {
    check(episode >= 0 && episode < episodes.count(), "episode ", episode, " was asked for, ",
          episodes.name(), " has ", episodes.count());
  }
  const i64 count = std::min(kFewEpisodes, episodes.count());
  for (i64 i = 0; list.size() < static_cast<std::size_t>(count) && options.episodes.empty(); ++i) {
    list.push_back(i * episodes.count() / count);
  }
  return list;
}

// the size of a frame in a preview
struct Tile {
  i64 height = 0;
  i64 width = 0;
};

Tile tile_of(const Episodes& episodes, const PreviewOptions& options) {
  check(options.frames > 0 && options.side > 0 && options.side <= 1024, "a preview of ",
        options.frames, " frames of ", options.side, " pixels was asked for");
  const Column& column = episodes.column(episodes.column_index(options.column));
  check(column.row.rank() == 3, "column ", column.name, " of ", episodes.name(), " has rows of ",
        column.row, ", pictures are needed");
  const i64 longer = std::max(column.row[0], column.row[1]);
  const auto reduced = [&](i64 size) {
    // even, for films
    const i64 here = longer <= options.side ? size : size * options.side / longer;
    return std::max<i64>(2, here / 2 * 2);
  };
  return {reduced(column.row[0]), reduced(column.row[1])};
}

void paste(const Image& picture, const Tile& tile, i64 top, i64 left, Image& onto) {
  std::vector<u8> rgb = picture.rgb;
  if (picture.height != tile.height || picture.width != tile.width) {
    rgb = resize_bilinear_u8(picture.view(), tile.height, tile.width);
  }
  const auto bytes = static_cast<std::size_t>(tile.width * 3);
  for (i64 y = 0; y < tile.height; ++y) {
    std::memcpy(onto.rgb.data() + ((top + y) * onto.width + left) * 3,
                rgb.data() + static_cast<std::size_t>(y) * bytes, bytes);
  }
}

Image paper(i64 height, i64 width) {
  check(height <= kMaxImageSide && width <= kMaxImageSide, "a preview of ", width, " x ", height,
        " pixels, at most ", kMaxImageSide,
        " a side are possible: ask for fewer or smaller frames");
  Image image;
  image.height = height;
  image.width = width;
  image.rgb.assign(static_cast<std::size_t>(height * width * 3), kPaper);
  return image;
}

std::string base64(std::span<const u8> bytes) {
  constexpr const char* kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = std::min<std::size_t>(3, bytes.size() - i);
    u32 group = 0;
    for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (k < left ? bytes[i + k] : 0u);
    for (std::size_t k = 0; k < 4; ++k) {
      result += k <= left ? kDigits[group >> (18 - 6 * k) & 63] : '=';
    }
  }
  return result;
}

// a grid whose sides differ little
i64 columns_for(std::size_t count) {
  return std::max<i64>(1, std::llround(std::ceil(std::sqrt(static_cast<double>(count)))));
}

}  // namespace

Image picture_of(const Episodes& episodes, i64 index, i64 row) {
  const Column& column = episodes.column(index);
  const bool shaped = column.row.rank() == 3 && (column.row[2] == 1 || column.row[2] == 3);
  const bool typed = column.dtype == DType::uint8 || column.dtype == DType::f32;
  check(shaped && typed, "column ", column.name, " of ", episodes.name(), " holds ", column.dtype,
        " of shape ", column.row, ", pictures are needed");
  const auto count = static_cast<std::size_t>(column.width());
  std::vector<u8> values(count);
  if (column.dtype == DType::uint8) {
    episodes.read(index, row, row + 1, 1, reinterpret_cast<std::byte*>(values.data()));
  } else {
    std::vector<float> floats(count);
    episodes.read_f32(index, row, row + 1, 1, floats.data());
    for (std::size_t i = 0; i < count; ++i) {
      values[i] = static_cast<u8>(std::clamp(std::nearbyint(floats[i]), 0.0f, 255.0f));
    }
  }
  Image image;
  image.height = column.row[0];
  image.width = column.row[1];
  if (column.row[2] == 3) {
    image.rgb = std::move(values);
  } else {
    for (const u8 grey : values) image.rgb.insert(image.rgb.end(), 3, grey);
  }
  return image;
}

Image contact_sheet(const Episodes& episodes, const PreviewOptions& options) {
  const std::vector<i64> list = chosen(episodes, options);
  const Tile tile = tile_of(episodes, options);
  const i64 column = episodes.column_index(options.column);
  Image sheet = paper(static_cast<i64>(list.size()) * (tile.height + kGap) + kGap,
                      options.frames * (tile.width + kGap) + kGap);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const i64 length = episodes.length(list[i]);
    const i64 count = std::min(options.frames, length);
    for (i64 k = 0; k < count; ++k) {
      // the first and the last are always there
      const i64 step = count == 1 ? 0 : k * (length - 1) / (count - 1);
      paste(picture_of(episodes, column, episodes.offset(list[i]) + step), tile,
            kGap + static_cast<i64>(i) * (tile.height + kGap), kGap + k * (tile.width + kGap),
            sheet);
    }
  }
  return sheet;
}

namespace {

// The frames of a film, with all episodes side by side, one after the other.
class Frames {
 public:
  Frames(const Episodes& episodes, const PreviewOptions& options)
      : episodes_(&episodes),
        list_(chosen(episodes, options)),
        tile_(tile_of(episodes, options)),
        column_(episodes.column_index(options.column)),
        across_(columns_for(list_.size())) {
    const i64 down = (static_cast<i64>(list_.size()) + across_ - 1) / across_;
    height_ = down * (tile_.height + kGap) + kGap;
    width_ = across_ * (tile_.width + kGap) + kGap;
    for (const i64 episode : list_) longest_ = std::max(longest_, episodes.length(episode));
    check(longest_ > 0, "the episodes asked for are empty");
  }

  i64 height() const { return height_; }
  i64 width() const { return width_; }

  void each(FunctionRef<void(View<const u8, 3>)> take) const {
    Image frame = paper(height_, width_);
    for (i64 t = 0; t < longest_; ++t) {
      for (std::size_t i = 0; i < list_.size(); ++i) {
        if (t >= episodes_->length(list_[i])) continue;  // stands still
        const auto at = static_cast<i64>(i);
        paste(picture_of(*episodes_, column_, episodes_->offset(list_[i]) + t), tile_,
              kGap + at / across_ * (tile_.height + kGap),
              kGap + at % across_ * (tile_.width + kGap), frame);
      }
      take(std::as_const(frame).view());
    }
  }

 private:
  const Episodes* episodes_;
  std::vector<i64> list_;
  Tile tile_;
  i64 column_;
  i64 across_;
  i64 height_ = 0, width_ = 0, longest_ = 0;
};

}  // namespace

void write_preview_film(const Episodes& episodes, const std::filesystem::path& path,
                        const PreviewOptions& options) {
  const Frames frames(episodes, options);
  AtomicFile file(path);
  if (path.extension() == ".gif") {
    // colours are chosen from all frames, so these are drawn twice and never held
    Palette palette;
    frames.each([&](View<const u8, 3> frame) { palette.count(frame); });
    palette.choose();
    GifWriter film(file.temporary(), frames.height(), frames.width(), palette,
                   options.frames_per_second);
    frames.each([&](View<const u8, 3> frame) { film.add(frame); });
    film.finish();
  } else {
    VideoWriter film(file.temporary(), frames.height(), frames.width(),
                     {.frames_per_second = options.frames_per_second});
    frames.each([&](View<const u8, 3> frame) { film.add(frame); });
    film.finish();
  }
  file.commit();
}

void write_preview_page(const Episodes& episodes, const std::filesystem::path& path,
                        const PreviewOptions& options) {
  const std::vector<i64> list = chosen(episodes, options);
  const Tile tile = tile_of(episodes, options);
  const i64 column = episodes.column_index(options.column);
  std::string page = text(
      "<!doctype html><meta charset=utf-8><title>", escaped(episodes.name()),
      "</title><style>body{font:14px sans-serif;margin:2em}td,th{padding:.2em 1em;text-align:left}"
      "figure{display:inline-block;margin:.5em}.film{background-repeat:no-repeat}</style><h1>",
      escaped(episodes.name()), "</h1><p>", episodes.count(), " episodes, ", episodes.rows(),
      " rows</p><table><tr><th>column<th>type<th>a row");
  for (const Column& about : episodes.columns()) {
    page += text("<tr><td>", escaped(about.name), "<td>", about.dtype, "<td>", about.row);
  }
  page += "</table>";
  for (const i64 episode : list) {
    // an episode is one tall JPEG, moved by a frame at a time
    const i64 most = std::min(kMostPageFrames, kMaxImageSide / tile.height);
    const i64 count = std::min(episodes.length(episode), most);
    if (count == 0) continue;
    Image sprite = paper(count * tile.height, tile.width);
    for (i64 t = 0; t < count; ++t) {
      paste(picture_of(episodes, column, episodes.offset(episode) + t), tile, t * tile.height, 0,
            sprite);
    }
    page += text("<figure><div class=film data-frames=", count, " data-height=", tile.height,
                 " style=\"width:", tile.width, "px;height:", tile.height,
                 "px;background-image:url(data:image/jpeg;base64,",
                 base64(encode_jpeg(sprite.view(), kPageQuality)), ")\"></div><figcaption>episode ",
                 episode, ", ", episodes.length(episode), " rows</figcaption></figure>");
  }
  page += text(
      "<script>let t=0;setInterval(()=>{++t;document.querySelectorAll('.film').forEach(f=>"
      "{f.style.backgroundPositionY=-(t%f.dataset.frames)*f.dataset.height+'px'})},",
      1000 / std::max(1, options.frames_per_second), ")</script>\n");
  write_file(path, page);
}

}  // namespace orrery
