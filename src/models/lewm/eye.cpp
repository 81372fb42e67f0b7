#include "models/lewm/eye.h"

#include <algorithm>

#include "base/error.h"
#include "ops/image.h"

namespace orrery::lewm {

namespace {

// the shorter edge becomes `side`, the longer keeps the proportion, rounded down
std::array<i64, 2> resized_to(i64 height, i64 width, i64 side) {
  check(height >= 1 && width >= 1 && height <= kMaxImageSide && width <= kMaxImageSide,
        "pictures of ", height, " x ", width, " pixels, 1 to ", kMaxImageSide,
        " a side was needed");
  if (height <= width) return {side, side * width / height};
  return {side * height / width, side};
}

}  // namespace

Eye::Eye(Context& ctx, const Model& model, i64 height, i64 width, i64 frames)
    : model_(&model), height_(height), width_(width), group_(std::clamp<i64>(frames, 1, 64)) {
  const auto [target_h, target_w] = resized_to(height, width, model.config().encoder.image_size);
  resizes_ = target_h != height || target_w != width;
  encoder_ = make_encoder_state(ctx, model, target_h, target_w, group_);
  const bool uploads = ctx.device() != Device::cpu;
  if (!resizes_ && !uploads) return;
  const auto lay_out = [&, h = target_h, w = target_w](Arena& arena) {
    if (uploads) bytes_ = arena.take<u8, 4>({group_, height, width, 3});
    if (!resizes_) return;
    normalized_ = arena.take<float, 4>({group_, 3, height, width});
    resized_ = arena.take<float, 4>({group_, 3, h, w});
  };
  Arena measure;
  lay_out(measure);
  memory_ = Block(ctx, measure.used());
  Arena arena(memory_);
  lay_out(arena);
}

void Eye::look(Context& ctx, View<const u8, 4> frames, View<float, 2> latents) {
  check(frames.size(1) == height_ && frames.size(2) == width_ && frames.size(3) == 3,
        "pictures are ", frames.shape(), ", needed (n, ", height_, ", ", width_, ", 3)");
  check(frames.contiguous(), "pictures to look at must be contiguous");
  for (i64 first = 0; first < frames.size(0); first += group_) {
    const i64 last = std::min(frames.size(0), first + group_);
    auto some = frames.slice(0, first, last);
    if (bytes_) {
      ctx.upload(bytes_.data(), some.data(), static_cast<std::size_t>(some.numel()));
      some = bytes_.slice(0, 0, last - first);
    }
    const auto into = latents.slice(0, first, last);
    if (!resizes_) {
      encode(ctx, *model_, encoder_, some, into);
      continue;
    }
    const auto normalized = normalized_.slice(0, 0, last - first);
    const auto resized = resized_.slice(0, 0, last - first);
    normalize_images(ctx, some, normalized);
    resize_antialias(ctx, normalized, resized);
    encode(ctx, *model_, encoder_, View<const float, 4>(resized), into);
  }
}

void Eye::look(Context& ctx, const Image& image, View<float, 1> latent) {
  check(latent.stride(0) == 1, "a latent must be contiguous");
  look(ctx, View<const u8, 4>(image.rgb.data(), {1, image.height, image.width, 3}),
       View<float, 2>(latent.data(), {1, latent.size(0)}));
}

}  // namespace orrery::lewm
