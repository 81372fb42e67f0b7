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

// one view of a batch, and its place in the device's block
struct Part {
  const std::byte* from;
  const std::byte* there;
  std::size_t bytes;
};

std::array<Part, 4> parts_of(const Batch& batch, const Batch& place) {
  const auto part = [](auto from, auto there) {
    check(!from || from.contiguous(), "training: batches must be contiguous");
    return Part{reinterpret_cast<const std::byte*>(from.data()),
                reinterpret_cast<const std::byte*>(there.data()),
                from ? static_cast<std::size_t>(from.numel()) * sizeof(*from.data()) : 0};
  };
  return {part(batch.pixels, place.pixels), part(batch.actions, place.actions),
          part(batch.observations, place.observations), part(batch.latents, place.latents)};
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
    Arena arena(place.block);
    place.batch = lay_out(arena, batch);
  }
  if (!batch.locked && place.staging.bytes() != place.block.bytes()) {
    place.staging = Block::staging(ctx_, place.block.bytes());
  }
  for (const Part& part : parts_of(batch, place.batch)) {
    if (part.bytes == 0) continue;
    // the same distance into both blocks
    const auto away = part.there - place.block.data();
    const std::byte* from = part.from;
    if (!batch.locked) {
      std::byte* to = place.staging.data() + away;
      // 1 MiB a task: copies are bound by memory, which a few threads fill
      ctx_.parallel_ranges(
          static_cast<i64>(part.bytes), i64{1} << 20, [&](i64 begin, i64 end, int) {
            std::memcpy(to + begin, part.from + begin, static_cast<std::size_t>(end - begin));
          });
      from = to;
    }
    ctx_.upload_beside(place.block.data() + away, from, part.bytes);
  }
}

void Feeder::settle() {
  ctx_.join_uploads();
  ctx_.synchronize();
}

void Feeder::send(const Batch& batch) { fill(places_[1 - place_], batch); }

Batch Feeder::take() {
  place_ = 1 - place_;
  ctx_.join_uploads();
  return places_[place_].batch;
}

Batch Feeder::show(const Batch& batch) {
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
