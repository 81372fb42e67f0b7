#include "train/latents.h"

#include <algorithm>

namespace orrery::train {

namespace {

constexpr i64 kTogether = 64;  // frames encoded at once

i64 pixels_of(const Episodes& episodes, i64 side) {
  const i64 index = episodes.column_index("pixels");
  const Column& pixels = episodes.column(index);
  check(pixels.dtype == DType::uint8 && pixels.row == Shape({side, side, 3}), episodes.name(),
        ": pixels are ", pixels.dtype, " ", pixels.row, ", the model is for frames of ", side, "x",
        side);
  return index;
}

}  // namespace

FrameEncoder::FrameEncoder(Context& ctx, const lewm::Model& model, const Episodes& episodes)
    : episodes_(episodes),
      ctx_(ctx),
      column_(pixels_of(episodes, model.config().encoder.image_size)),
      side_(model.config().encoder.image_size),
      width_(model.config().latent()),
      eye_(ctx, model, side_, side_, kTogether),
      bytes_(static_cast<std::size_t>(kTogether * side_ * side_ * 3)),
      latents_(ctx, kTogether * width_) {}

void FrameEncoder::encode(i64 begin, i64 count, i64 stride, float* out) {
  for (i64 at = 0; at < count; at += kTogether) {
    const i64 some = std::min(kTogether, count - at);
    const i64 row = begin + at * stride;
    episodes_.read(column_, row, row + (some - 1) * stride + 1, stride,
                   reinterpret_cast<std::byte*>(bytes_.data()));
    eye_.look(ctx_, View<const u8, 4>(bytes_.data(), {some, side_, side_, 3}),
              latents_.view<2>({some, width_}));
    latents_.get({out + at * width_, static_cast<std::size_t>(some * width_)});
  }
}

std::unique_ptr<Episodes> with_latents(Context& ctx, const lewm::Model& model,
                                       const Episodes& episodes,
                                       const std::function<void(i64 done)>& told) {
  const i64 width = model.config().latent();
  const i64 action = episodes.column_index("action");
  Tensor latents(DType::f32, {episodes.rows(), width});
  Tensor actions(DType::f32, {episodes.rows(), episodes.column(action).width()});
  episodes.read_f32(action, 0, episodes.rows(), 1, actions.data<float>());
  FrameEncoder encoder(ctx, model, episodes);
  std::vector<i64> lengths;
  for (i64 e = 0; e < episodes.count(); ++e) {
    lengths.push_back(episodes.length(e));
    encoder.encode(episodes.offset(e), episodes.length(e), 1,
                   latents.data<float>() + episodes.offset(e) * width);
    told(episodes.offset(e) + episodes.length(e));
  }
  TensorMap columns;
  columns.emplace("latents", std::move(latents));
  columns.emplace("action", std::move(actions));
  return episodes_in_memory(episodes.name(), std::move(lengths), std::move(columns));
}

}  // namespace orrery::train
