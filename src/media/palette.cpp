#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "media/gif.h"

namespace orrery {

namespace {

constexpr std::size_t kMostColours = 256;
constexpr int kBits = 5;
constexpr std::size_t kBins = std::size_t{1} << (3 * kBits);

u32 packed(const Palette::Colour& c) { return c[0] | (u32{c[1]} << 8) | (u32{c[2]} << 16); }

std::size_t bin_of(const Palette::Colour& c) {
  std::size_t bin = 0;
  for (const u8 channel : c) bin = bin << kBits | channel >> (8 - kBits);
  return bin;
}

// a channel of a bin's number
int level_of(std::size_t bin, std::size_t channel) {
  return static_cast<int>(bin >> (kBits * (2 - channel))) & ((1 << kBits) - 1);
}

// bins [begin, end) of a list
struct Box {
  std::size_t begin = 0;
  std::size_t end = 0;
  u64 pixels = 0;
  std::size_t channel = 0;  // along which it is longest
  int extent = 0;           // in levels, there

  u64 weight() const { return pixels * static_cast<u64>(extent); }
};

}  // namespace

Palette::Palette() : bins_(kBins) {}

void Palette::count(View<const u8, 3> rgb) {
  ORRERY_ASSERT(colours_.empty());
  u32 last = ~u32{0};
  for (i64 y = 0; y < rgb.size(0); ++y) {
    for (i64 x = 0; x < rgb.size(1); ++x) {
      const Colour colour = {rgb(y, x, 0), rgb(y, x, 1), rgb(y, x, 2)};
      Bin& bin = bins_[bin_of(colour)];
      ++bin.pixels;
      for (std::size_t c = 0; c < 3; ++c) bin.sums[c] += colour[c];
      // neighbours are mostly equal
      if (!few_ || packed(colour) == last) continue;
      last = packed(colour);
      const auto place = std::lower_bound(distinct_.begin(), distinct_.end(), last);
      if (place != distinct_.end() && *place == last) continue;
      distinct_.insert(place, last);
      few_ = distinct_.size() <= kMostColours;
    }
  }
}

void Palette::choose() {
  if (few_) {
    for (const u32 colour : distinct_) {
      colours_.push_back(
          {static_cast<u8>(colour), static_cast<u8>(colour >> 8), static_cast<u8>(colour >> 16)});
    }
    return;
  }
  std::vector<std::size_t> list;
  for (std::size_t bin = 0; bin < kBins; ++bin) {
    if (bins_[bin].pixels > 0) list.push_back(bin);
  }
  const auto box_of = [&](std::size_t begin, std::size_t end) {
    Box box = {.begin = begin, .end = end};
    for (std::size_t i = begin; i < end; ++i) box.pixels += bins_[list[i]].pixels;
    for (std::size_t c = 0; c < 3; ++c) {
      const auto by_level = [&](std::size_t a, std::size_t b) {
        return level_of(a, c) < level_of(b, c);
      };
      const auto ends =
          std::minmax_element(list.begin() + static_cast<std::ptrdiff_t>(begin),
                              list.begin() + static_cast<std::ptrdiff_t>(end), by_level);
      const int extent = level_of(*ends.second, c) - level_of(*ends.first, c);
      if (extent > box.extent) {
        box.extent = extent;
        box.channel = c;
      }
    }
    return box;
  };

  std::vector<Box> boxes = {box_of(0, list.size())};
  while (boxes.size() < kMostColours) {
    const auto largest =
        std::max_element(boxes.begin(), boxes.end(),
                         [](const Box& a, const Box& b) { return a.weight() < b.weight(); });
    const Box box = *largest;
    if (box.extent == 0) break;
    const auto begin = list.begin() + static_cast<std::ptrdiff_t>(box.begin);
    const auto end = list.begin() + static_cast<std::ptrdiff_t>(box.end);
    // by level, and by number so that the order is the same everywhere
    std::sort(begin, end, [&](std::size_t a, std::size_t b) {
      return std::pair(level_of(a, box.channel), a) < std::pair(level_of(b, box.channel), b);
    });
    // between two levels, so that boxes do not reach into one another; neither half is empty
    std::size_t cut = box.begin;
    for (u64 pixels = 0; 2 * pixels < box.pixels; ++cut) pixels += bins_[list[cut]].pixels;
    const auto level = [&](std::size_t i) { return level_of(list[i], box.channel); };
    while (cut < box.end && level(cut) == level(cut - 1)) ++cut;
    if (cut == box.end) {
      --cut;
      while (level(cut) == level(cut - 1)) --cut;
    }
    *largest = box_of(box.begin, cut);
    boxes.push_back(box_of(cut, box.end));
  }

  index_of_bin_.assign(kBins, 0);
  for (const Box& box : boxes) {
    std::array<u64, 3> sums = {};
    for (std::size_t i = box.begin; i < box.end; ++i) {
      for (std::size_t c = 0; c < 3; ++c) sums[c] += bins_[list[i]].sums[c];
      index_of_bin_[list[i]] = static_cast<u8>(colours_.size());
    }
    Colour mean;
    for (std::size_t c = 0; c < 3; ++c) {
      mean[c] = static_cast<u8>((sums[c] + box.pixels / 2) / box.pixels);
    }
    colours_.push_back(mean);
  }
}

u8 Palette::index_of(const Colour& colour) const {
  if (!few_) return index_of_bin_[bin_of(colour)];
  const auto place = std::lower_bound(distinct_.begin(), distinct_.end(), packed(colour));
  ORRERY_ASSERT(place != distinct_.end() && *place == packed(colour));
  return static_cast<u8>(place - distinct_.begin());
}

}  // namespace orrery
