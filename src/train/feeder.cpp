#include "train/feeder.h"

#include <cstring>

#include "tensor/arena.h"

namespace orrery::train {

namespace {

Batch lay_out(Arena& arena, const Batch& like) {
  Batch batch;
  if (like.pixels) batch.pixels = arena.take<u8, 5>(like.pixels.sizes());
  batch.actions = arena.take<float, 3>(like.actions.sizes());
  if (like.observations) batch.observations = arena.take<float, 3>(like.observations.sizes());
  if (like.latents) batch.latents = arena.take<float, 3>(like.latents.sizes());
  return batch;
}

bool fits(const Batch& place, const Batch& batch) {
  return place.pixels.sizes() == batch.pixels.sizes() &&
         place.actions.sizes() == batch.actions.sizes() &&
         place.observations.sizes() == batch.observations.sizes() &&
         place.latents.sizes() == batch.latents.sizes();
}

template <typename T, int Rank>
void copy_out(Context& ctx, View<const T, Rank> from, const std::byte* block, std::byte* staging,
              View<const T, Rank> there) {
  if (!from) return;
  check(from.contiguous(), "training: batches must be contiguous");
  // the same distance into both blocks
  std::byte* to = staging + (reinterpret_cast<const std::byte*>(there.data()) - block);
  const auto* bytes = reinterpret_cast<const std::byte*>(from.data());
  // 1 MiB a task: copies are bound by memory, which a few threads fill
  ctx.parallel_ranges(
      from.numel() * static_cast<i64>(sizeof(T)), i64{1} << 20, [&](i64 begin, i64 end, int) {
        std::memcpy(to + begin, bytes + begin, static_cast<std::size_t>(end - begin));
      });
}

}  // namespace

void Feeder::fill(Place& place, const Batch& batch) {
  if (ctx_.device() == Device::cpu) {
    place.batch = batch;
    return;
  }
  if (!fits(place.batch, batch) || place.block.bytes() == 0) {
    Arena measure;
    lay_out(measure, batch);
    place.block = Block(ctx_, measure.used());
    place.staging = Block::staging(ctx_, measure.used());
    Arena arena(place.block);
    place.batch = lay_out(arena, batch);
  }
  const std::byte* block = place.block.data();
  copy_out(ctx_, batch.pixels, block, place.staging.data(), place.batch.pixels);
  copy_out(ctx_, batch.actions, block, place.staging.data(), place.batch.actions);
  copy_out(ctx_, batch.observations, block, place.staging.data(), place.batch.observations);
  copy_out(ctx_, batch.latents, block, place.staging.data(), place.batch.latents);
  ctx_.upload_beside(place.block.data(), place.staging.data(), place.block.bytes());
}

void Feeder::send(const Batch& batch) { fill(places_[1 - place_], batch); }

Batch Feeder::take() {
  place_ = 1 - place_;
  ctx_.join_uploads();
  return places_[place_].batch;
}

Batch Feeder::show(const Batch& batch) {
  // the work on what was shown before has read it
  ctx_.synchronize();
  fill(places_[2], batch);
  ctx_.join_uploads();
  return places_[2].batch;
}

std::size_t Feeder::bytes() const {
  std::size_t sum = 0;
  for (const Place& place : places_) sum += place.block.bytes();
  return sum;
}

}  // namespace orrery::train
