#include "eval/encoded.h"

#include <algorithm>

#include "base/error.h"
#include "base/random.h"
#include "tensor/placed.h"

namespace orrery {

namespace {

constexpr u64 kOrder = 0xE9C0;  // keeps this use of a seed apart
constexpr i64 kTogether = 32;   // frames decoded and looked at together: 5 MB of 224 x 224

}  // namespace

RowReader::RowReader(Context& ctx, const lewm::Model& model, const Episodes& episodes, i64 together)
    : episodes_(episodes) {
  const lewm::EncoderConfig& encoder = model.config().encoder;
  if (encoder.of_vectors()) {
    column_ = episodes.column_index(encoder.vector.column);
    const i64 width = episodes.column(column_).width();
    check(width == encoder.vector.inputs, episodes.name(), ": column ", encoder.vector.column,
          " has ", width, " numbers, the model sees ", encoder.vector.inputs);
    vectors_.emplace(model, together);
    seen_ = Tensor::zeros<float>({together, width});
    wide_.resize(static_cast<std::size_t>(together * width));
    return;
  }
  column_ = episodes.column_index("pixels");
  const Column& picture = episodes.column(column_);
  check(picture.dtype == DType::uint8 && picture.row.rank() == 3 && picture.row[2] == 3,
        episodes.name(), ": column pixels holds ", picture.dtype, " ", picture.row,
        ", pictures (h, w, 3) of uint8 were needed");
  eye_.emplace(ctx, model, picture.row[0], picture.row[1], together);
  seen_ = Tensor(DType::uint8, {together, picture.row[0], picture.row[1], 3});
}

void RowReader::read(Context& ctx, i64 begin, i64 stride, i64 count, View<float, 2> latents) {
  const i64 end = begin + (count - 1) * stride + 1;
  if (eye_) {
    episodes_.read(column_, begin, end, stride, seen_.bytes());
    eye_->look(ctx, seen_.view<u8, 4>().slice(0, 0, count), latents);
    return;
  }
  episodes_.read_f64(column_, begin, end, stride, wide_.data());
  const i64 numbers = count * seen_.size(1);
  std::transform(wide_.begin(), wide_.begin() + numbers, seen_.data<float>(),
                 [](double value) { return static_cast<float>(value); });
  vectors_->read(ctx, seen_.view<float, 2>().slice(0, 0, count), latents);
}

EncodedFrames encode_frames(Context& ctx, const lewm::Model& model, const Episodes& episodes,
                            const std::vector<i64>& among, const EncodeChoice& choice) {
  check(choice.stride >= 1 && choice.frames >= 1, "encoding ", choice.frames, " frames ",
        choice.stride, " rows apart, both must be at least 1");
  EncodedFrames result;
  result.stride = choice.stride;
  const u64 key = mix(choice.seed, kOrder);
  const auto count = static_cast<u64>(among.size());
  for (u64 i = 0; i < count && result.count() < choice.frames; ++i) {
    const i64 episode = among[permuted_index(key, count, i)];
    const i64 there = (episodes.length(episode) + choice.stride - 1) / choice.stride;
    const i64 frames = std::min(there, choice.frames - result.count());
    if (frames == 0) continue;
    result.pieces.push_back({episode, result.count(), frames});
    for (i64 k = 0; k < frames; ++k) {
      result.rows.push_back(episodes.offset(episode) + k * choice.stride);
    }
  }
  check(result.count() >= 1, episodes.name(), ": no frame to encode in ", among.size(),
        " episodes");

  const i64 dim = model.config().latent();
  RowReader reader(ctx, model, episodes, kTogether);
  Placed<float> there(ctx, kTogether * dim);
  result.latents = Tensor::zeros<float>({result.count(), dim});
  for (const EncodedFrames::Piece& piece : result.pieces) {
    for (i64 first = 0; first < piece.frames; first += kTogether) {
      const i64 some = std::min(kTogether, piece.frames - first);
      const i64 begin = episodes.offset(piece.episode) + first * choice.stride;
      reader.read(ctx, begin, choice.stride, some, there.view<2>({some, dim}));
      there.get({result.latents.data<float>() + (piece.first + first) * dim,
                 static_cast<std::size_t>(some * dim)});
    }
  }
  return result;
}

double squared_distance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += d * d;
  }
  return sum;
}

}  // namespace orrery
