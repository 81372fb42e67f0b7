#include "train/device_step.h"

#include <algorithm>
#include <cmath>

#include "ops/gradient_clip.h"
#include "ops/latent_terms.h"
#include "ops/sigreg.h"
#include "ops/strided.h"
#include "train/validation.h"

namespace orrery::train {

namespace {

// what the block of parameters has of the encoder: one stretch
std::pair<i64, i64> encoder_range(const lewm::Config& config) {
  i64 begin = -1, end = 0;
  for (const lewm::TensorSpec& spec : lewm::layout_of(config).specs) {
    if (!spec.trained || spec.name.rfind("encoder.", 0) != 0) continue;
    ORRERY_ASSERT(begin < 0 || spec.offset == end);
    if (begin < 0) begin = spec.offset;
    end = spec.offset + spec.shape.numel();
  }
  return {std::max<i64>(0, begin), end};
}

}  // namespace

DeviceStep::DeviceStep(Context& ctx, const Parts& parts)
    : ctx_(ctx),
      parts_(parts),
      gradient_(lewm::bind(parts.weights.config(), parts.moments.gradient.data(), nullptr)),
      encoder_(encoder_range(parts.weights.config())) {
  const TrainingSettings& settings = parts.settings;
  masks_ = static_cast<i64>(
      lewm::dropout_streams(parts.weights.config().predictor, settings.unroll, 0).size());
  Arena measure;
  lay_out(measure);
  there_ = Block(ctx, measure.used());
  here_ = Block::staging(ctx, measure.used());
  Arena here(here_);
  lay_out(here);
  host_streams_ = streams_;
  host_stretches_ = stretches_;
  host_results_ = results_;
  Arena there(there_);
  lay_out(there);
}

void DeviceStep::lay_out(Arena& arena) {
  streams_ = arena.take<u64, 2>({parts_.settings.accumulate, 1 + masks_});
  const i64 stretches = std::max<i64>(1, static_cast<i64>(parts_.groups.size()));
  stretches_ = arena.take<AdamWStretch, 1>({stretches});
  results_ = arena.take<double, 1>({parts_.losses.values().numel() + 2});
}

// the numbers of this step, into page-locked memory
void DeviceStep::prepare(i64 steps, double lr) {
  const TrainingSettings& settings = parts_.settings;
  const lewm::PredictorConfig& predictor = parts_.weights.config().predictor;
  for (i64 i = 0; i < settings.accumulate; ++i) {
    const i64 batch = steps * settings.accumulate + i;
    host_streams_(i, 0) = directions_stream(batch + 1);
    const auto masks = lewm::dropout_streams(predictor, settings.unroll, static_cast<u64>(batch));
    std::copy(masks.begin(), masks.end(), host_streams_[i].data() + 1);
  }
  const auto stretches = adamw_stretches(adamw_of(settings, lr), parts_.groups, steps + 1,
                                         parts_.moments.gradient.numel());
  std::copy(stretches.begin(), stretches.end(), host_stretches_.data());
}

// The last batch's gradient is also added up over ranks: what is there before the encoder's begins
// to travel while that is computed.
void DeviceStep::backward(bool last) {
  const lewm::Config& config = parts_.weights.config();
  const lewm::Tensors& tensors = parts_.weights.tensors();
  const View<float, 1> all = parts_.moments.gradient;
  lewm::backward_to_encoder(ctx_, config, tensors, parts_.state, parts_.losses.gradient(),
                            gradient_);
  const bool shared = last && parts_.share.sums != nullptr;
  if (shared) {
    parts_.ranks.add_up_beside(all.slice(0, 0, encoder_.first));
    parts_.ranks.add_up_beside(all.slice(0, encoder_.second, all.numel()));
  }
  lewm::backward_encoder(ctx_, config, tensors, parts_.state, gradient_);
  if (!shared) return;
  parts_.ranks.join();
  parts_.share.sums->add_up(all.slice(0, encoder_.first, encoder_.second));
}

// Batch `index` of the step, and with the last one what the step learns.
void DeviceStep::add_batch(i64 index, const Batch& batch) {
  const TrainingSettings& settings = parts_.settings;
  WorkingWeights& weights = parts_.weights;
  LossState& losses = parts_.losses;
  const auto bytes = [](auto view) {
    return static_cast<std::size_t>(view.numel()) * sizeof(*view.data());
  };
  if (index == 0) {
    ctx_.upload(streams_.data(), host_streams_.data(), bytes(streams_));
    ctx_.upload(stretches_.data(), host_stretches_.data(), bytes(stretches_));
    fill(ctx_, 0.0f, parts_.moments.gradient);
    for (const AddedLoss& added : settings.losses.added) added.loss->begin_step(ctx_);
  }
  const View<const u64, 1> streams = streams_[index];
  draw_directions(ctx_, settings.seed, streams.slice(0, 0, 1), losses.directions());
  const lewm::PassMode mode{
      .dropout_seed = settings.seed, .streams = streams.data() + 1, .share = parts_.share};
  lewm::TrainingState& state = parts_.state;
  forward(ctx_, weights.config(), weights.tensors(), state, mode, batch);
  measure(ctx_, settings.losses,
          {.emb = state.emb(),
           .pred = state.pred(),
           .rolled = state.rolled(),
           .actions = batch.actions,
           .observations = batch.observations,
           .share = parts_.share},
          losses);
  const i64 count = losses.values().numel();
  const View<double, 1> means = results_.slice(0, 0, count);
  join_mean(ctx_, 1.0 / static_cast<double>(index + 1), losses.values(), means);
  backward(index + 1 == settings.accumulate);
  if (index + 1 < settings.accumulate) return;

  const View<double, 1> clipped = results_.slice(0, count, count + 2);
  gradient_clip(ctx_, parts_.moments.gradient, 1.0 / static_cast<double>(settings.accumulate),
                settings.clip, means.slice(0, LossState::kTotalPlace, LossState::kTotalPlace + 1),
                clipped);
  adamw_step(ctx_, stretches_, clipped, parts_.moments.gradient, weights.parameters(),
             parts_.moments.m, parts_.moments.v);
  // the factor is not a number when the step is not to be taken
  const View<const double, 1> well = clipped.slice(0, 1, 2);
  for (const AddedLoss& added : settings.losses.added) added.loss->learn(ctx_, well);
  ctx_.download(host_results_.data(), results_.data(), bytes(results_));
}

StepReport DeviceStep::report() const {
  const i64 count = parts_.losses.values().numel();
  StepReport report;
  report.losses = named(parts_.settings.losses, host_results_.slice(0, 0, count));
  report.gradient_norm = host_results_[count];
  report.batches = parts_.settings.accumulate;
  report.finite = std::isfinite(host_results_[count + 1]);
  return report;
}

StepReport DeviceStep::run(i64 steps, double lr, i64 batches,
                           FunctionRef<Batch(i64 index)> batch_at) {
  prepare(steps, lr);
  const i64 first = steps * parts_.settings.accumulate;
  for (i64 i = 0; i < parts_.settings.accumulate; ++i) {
    if (sent_ != first + i) {
      parts_.feeder.settle();
      parts_.feeder.send(batch_at(first + i));
    }
    const Batch batch = parts_.feeder.take();
    Work& work = work_[{i, parts_.feeder.place()}];
    if (!captures_ || !work.ran) {
      // plainly once: whatever grows with the work has then grown
      add_batch(i, batch);
      work.ran = true;
    } else {
      if (!work.graph) work.graph = ctx_.capture([&] { add_batch(i, batch); });
      ctx_.replay(work.graph);
    }
    sent_ = first + i + 1;
    if (sent_ < batches) {
      parts_.feeder.send(batch_at(sent_));
    } else {
      sent_ = -1;
    }
    ctx_.synchronize();
    parts_.ranks.check_device();
  }
  parts_.weights.batches_tracked() += parts_.settings.accumulate;
  parts_.weights.touch();
  return report();
}

}  // namespace orrery::train
