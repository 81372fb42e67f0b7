#include "eval/evaluate.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "eval/closed_loop.h"
#include "eval/encoded.h"
#include "tensor/placed.h"

namespace orrery {

namespace {

void check_fit(const Player& player, const Protocol& protocol, const EvaluateOptions& options) {
  const lewm::Config& config = player.model.config();
  const auto environment = make_environment(options.environment);
  const i64 block = protocol.plan.action_block;
  check(environment->action_dim() <= 64, options.environment, " takes ", environment->action_dim(),
        " action numbers, at most 64 are supported");
  check(block * environment->action_dim() == config.action.input, "the model takes ",
        config.action.input, " action numbers a block, ", options.environment, " has ",
        environment->action_dim(), " a step and a block is ", block, " steps");
  check(player.statistics.action_dim() == environment->action_dim(), "the statistics are of ",
        player.statistics.action_dim(), " action numbers, ", options.environment, " has ",
        environment->action_dim());
  check(protocol.plan.horizon * block <= protocol.budget, "a plan of ",
        protocol.plan.horizon * block, " steps is longer than the budget, ", protocol.budget);
  check(protocol.plan.history_len >= 1 && protocol.plan.history_len <= config.predictor.window,
        "evaluation: a history of ", protocol.plan.history_len,
        " frames, the model's predictor sees 1 to ", config.predictor.window);
  check(options.side_by_side >= 0, "evaluation: ", options.side_by_side,
        " cases side by side, from 0 (all) up was needed");
}

}  // namespace

std::string official_environment(const std::string& name) {
  return name == "pusht" ? name + ":control=float32,polygons=real" : name;
}

Gallery make_gallery(Context& ctx, const lewm::Model& model, const Episodes& episodes, i64 size) {
  const i64 pixels = episodes.column_index("pixels");
  const Shape& shape = episodes.column(pixels).row;
  const i64 dim = model.config().latent();
  size = std::min(size, episodes.rows());
  check(size >= 1, episodes.name(), ": no frame to show imagined latents as");
  Gallery gallery;
  Placed<float> there(ctx, size * dim);
  RowReader reader(ctx, model, episodes, 1);
  Image frame{shape[0], shape[1], std::vector<u8>(static_cast<std::size_t>(shape.numel()))};
  for (i64 i = 0; i < size; ++i) {
    const i64 at = i * episodes.rows() / size;
    episodes.read(pixels, at, at + 1, 1, reinterpret_cast<std::byte*>(frame.rgb.data()));
    reader.read(ctx, at, 1, 1, there.view<2>({size, dim}).slice(0, i, i + 1));
    gallery.frames.push_back(frame);
  }
  gallery.latents = Tensor::of<float>({size, dim}, there.values());
  return gallery;
}

std::vector<EpisodeRecord> evaluate_cases(Context& ctx, const Player& player,
                                          const Protocol& protocol, std::span<const EvalCase> cases,
                                          const EvaluateOptions& options) {
  check_fit(player, protocol, options);
  const i64 count = static_cast<i64>(cases.size());
  if (count == 0) return {};
  const i64 group = options.side_by_side == 0 ? count : std::min(options.side_by_side, count);
  check(options.noise == nullptr || group == count,
        "evaluation: recorded draws are in the order of one lock-step run, ", count,
        " cases were asked for in groups of ", group);

  std::vector<EpisodeRecord> records;
  i64 solved_before = 0;
  for (i64 first = 0; first < count; first += group) {
    const i64 last = std::min(count, first + group);
    const auto told = [&](i64 step, i64 solved) {
      const i64 before = first / group * protocol.budget;
      const i64 all = (count + group - 1) / group * protocol.budget;
      if (options.progress) options.progress(before + step, all, solved_before + solved);
    };
    const auto group_cases =
        cases.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first));
    auto some = play_in_lock_step(ctx, {player, protocol, options}, group_cases, told);
    if (options.finished) options.finished(some);
    for (EpisodeRecord& record : some) {
      solved_before += record.success ? 1 : 0;
      records.push_back(std::move(record));
    }
  }
  return records;
}

Evaluation evaluate(Context& ctx, const lewm::Model& model, const lewm::Statistics& statistics,
                    const Protocol& protocol, const Episodes& episodes,
                    const EvaluateOptions& options) {
  const double begin = now_s();
  const Player player = {model, statistics};
  check_fit(player, protocol, options);
  const auto environment = make_environment(options.environment);
  auto cases = load_cases(episodes, *environment, protocol);

  Evaluation result;
  std::vector<EvalCase> left;
  for (EvalCase& one : cases) {
    const EpisodeRecord* known =
        options.kept == nullptr ? nullptr : options.kept->find(protocol.seed, one);
    if (known != nullptr) {
      result.episodes.push_back(*known);
    } else {
      left.push_back(std::move(one));
    }
  }
  EvaluateOptions how = options;
  Gallery gallery;
  if (options.films && !left.empty()) {
    gallery = make_gallery(ctx, model, episodes, options.gallery);
    how.shown_as = &gallery;
  }
  how.finished = [&](std::span<EpisodeRecord> records) {
    if (options.finished) options.finished(records);
    if (options.kept != nullptr) options.kept->add(protocol.seed, records);
  };
  for (EpisodeRecord& record : evaluate_cases(ctx, player, protocol, left, how)) {
    result.episodes.push_back(std::move(record));
  }
  std::sort(result.episodes.begin(), result.episodes.end(),
            [](const EpisodeRecord& a, const EpisodeRecord& b) { return a.index < b.index; });
  result.environment = options.environment;
  result.data = episodes.name();
  result.parameters = model.weights().parameters.numel();
  result.protocol = protocol;
  result.gallery = std::move(gallery.frames);
  result.seconds = now_s() - begin;
  return result;
}

}  // namespace orrery
