#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/text.h"
#include "bench/figure.h"
#include "bench/inputs.h"
#include "data/loader.h"
#include "data/recorder.h"
#include "env/batch.h"

namespace orrery::bench {

namespace {

namespace fs = std::filesystem;

// One environment on one thread under random actions, begun anew whenever it is done: how the
// official one is timed. Times are per step.
Figure step_figure(const std::string& name, bool draws) {
  const auto prepare = [=](Context&) {
    struct Memory {
      std::unique_ptr<Environment> environment;
      Tensor actions, frame;
      u64 resets = 0;
    };
    auto m = std::make_shared<Memory>(Memory{make_environment(name), normal_values({1000, 2}, 1),
                                             Tensor(DType::uint8, {224, 224, 3})});
    m->environment->reset(0);
    // random actions would take PushT's agent out of the picture
    const bool stays_near = name == "pusht";
    Prepared ready;
    ready.units = m->actions.size(0);
    if (draws) ready.work.bytes = static_cast<double>(m->frame.byte_count());
    ready.run = [m, draws, stays_near] {
      const float* draws_of_step = m->actions.data<float>();
      for (i64 step = 0; step < m->actions.size(0); ++step, draws_of_step += 2) {
        std::array<float, 2> action = {draws_of_step[0], draws_of_step[1]};
        if (stays_near) m->environment->weak_action(action);
        const Step told = m->environment->step(action);
        if (draws) m->environment->render(m->frame.view<u8, 3>());
        // episodes of recordings are as long; without an end the block is soon out of the picture
        if (told.terminated || step % 100 == 99) m->environment->reset(++m->resets);
      }
    };
    ready.check = [m] {
      std::vector<double> state(static_cast<std::size_t>(m->environment->state_dim()));
      m->environment->state(state);
      for (const double number : state) {
        check(std::isfinite(number), "bench: ", m->environment->name(), " is at ", number);
      }
    };
    return ready;
  };
  return {name + (draws ? "/step+frame" : "/step"), prepare};
}

// Many environments on the thread team, each step drawn. Times are per step of one of them.
Figure batch_figure(const std::string& name, i64 count) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      EnvironmentBatch environments;
      Tensor actions, frames;
      std::vector<Step> steps;
    };
    auto m =
        std::make_shared<Memory>(Memory{EnvironmentBatch(name, count), normal_values({count, 2}, 1),
                                        Tensor(DType::uint8, {count, 224, 224, 3}),
                                        std::vector<Step>(static_cast<std::size_t>(count))});
    for (i64 e = 0; e < count; ++e) m->environments[e].reset(static_cast<u64>(e));
    const bool stays_near = name == "pusht";
    Prepared ready;
    ready.units = count;
    ready.work.bytes = static_cast<double>(m->frames.byte_count() / count);
    ready.run = [m, &ctx, stays_near] {
      for (i64 e = 0; e < m->environments.size() && stays_near; ++e) {
        m->environments[e].weak_action({m->actions.data<float>() + 2 * e, 2});
      }
      m->environments.step(ctx, m->actions.view<float, 2>(), m->steps);
      m->environments.render(ctx, m->frames.view<u8, 4>());
    };
    ready.check = [m] {
      // background, wall and border at least
      const auto bytes = m->frames.span<u8>();
      check(*std::min_element(bytes.begin(), bytes.end()) <
                *std::max_element(bytes.begin(), bytes.end()),
            "bench: pictures are of one colour");
    };
    return ready;
  };
  return {text(name, "/step+frame/", count), prepare};
}

// A folder of our own that goes with its last user.
class Scratch {
 public:
  Scratch() : path_(fs::temp_directory_path() / text("orrery-bench-", ::getpid())) {
    fs::create_directories(path_);
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  fs::path file(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

RecordOptions recording() {
  RecordOptions options;
  options.policy = "random";  // episodes of full length
  options.episodes = 8;
  return options;
}

RecordSummary record_to(Context& ctx, const fs::path& path) {
  return record(ctx, recording(), path, [](i64, i64) { return true; });
}

// Played, drawn, compressed and written. Times are per row.
Figure record_figure() {
  const auto prepare = [](Context& ctx) {
    auto scratch = std::make_shared<Scratch>();
    const i64 rows = record_to(ctx, scratch->file("rows.h5")).rows;
    Prepared ready;
    ready.units = rows;
    ready.run = [scratch, &ctx] { record_to(ctx, scratch->file("rows.h5")); };
    ready.check = [scratch, rows] {
      const i64 there = open_episodes(scratch->file("rows.h5"))->rows();
      check(there == rows, "bench: a recording has ", there, " rows, ", rows, " were written");
    };
    return ready;
  };
  return {"record/rows", prepare};
}

// Batches of 64 windows of 4 frames, made by one thread of the loader. Times are per window.
Figure loader_figure(const char* name, bool pictures, const OpenOptions& opening,
                     const LoaderOptions& loading) {
  const auto prepare = [=](Context& ctx) {
    struct Memory {
      Scratch scratch;
      std::unique_ptr<Episodes> episodes;
      std::unique_ptr<Windows> windows;
      std::unique_ptr<WindowLoader> loader;
      i64 step = 0;
      double sum = 0;
    };
    auto m = std::make_shared<Memory>();
    RecordOptions options = recording();
    if (!pictures) {
      options.environment = "pusht";
      options.policy = "weak";
      options.columns = RecordedColumns::all_but_pixels;
      options.layout = RecordingLayout::packed;
    }
    record(ctx, options, m->scratch.file("windows.h5"), [](i64, i64) { return true; });
    m->episodes = open_episodes(m->scratch.file("windows.h5"), opening);
    m->windows = std::make_unique<Windows>(*m->episodes, WindowShape{});
    const i64 action = m->episodes->column_index("action");
    m->loader = std::make_unique<WindowLoader>(
        *m->windows, ZScore(column_statistics(*m->episodes, action)), loading);
    Prepared ready;
    ready.units = loading.batch;
    ready.work.bytes = 2.0 * 4 * 224 * 224 * 3;  // each frame read and written
    ready.run = [m] { m->sum += m->loader->batch(m->step++).action.data()[0]; };
    ready.check = [m] {
      check(std::isfinite(m->sum), "bench: the loader gives the action ", m->sum);
    };
    return ready;
  };
  return {name, prepare};
}

// shuffled, of decoded chunks; in the order of chunks, of which memory holds a third; drawn from
// states
std::vector<Figure> loader_figures() {
  const OpenOptions narrow{.cache_bytes = i64{48} << 20};
  const LoaderOptions by_chunk{.order = WindowOrder::by_chunk, .group_bytes = i64{32} << 20};
  return {loader_figure("load/windows", true, {}, {}),
          loader_figure("load/windows/by_chunk", true, narrow, by_chunk),
          loader_figure("load/windows/drawn", false, {.image_size = 224}, {})};
}

}  // namespace

std::vector<Figure> world_figures() {
  std::vector<Figure> figures = {step_figure("tworoom", false),
                                 step_figure("tworoom", true),
                                 batch_figure("tworoom", 64),
                                 step_figure("pusht", false),
                                 step_figure("pusht", true),
                                 batch_figure("pusht", 64),
                                 record_figure()};
  for (Figure& figure : loader_figures()) figures.push_back(std::move(figure));
  return figures;
}

}  // namespace orrery::bench
