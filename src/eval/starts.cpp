#include "eval/starts.h"

#include <algorithm>

#include "base/error.h"
#include "base/numpy_random.h"

namespace orrery {

namespace {

i64 state_column(const Episodes& episodes, const Environment& environment) {
  for (const char* name : {"pos_agent", "state", "proprio", "observation"}) {
    const i64 index = episodes.find_column(name);
    if (index >= 0 && episodes.column(index).width() == environment.state_dim()) return index;
  }
  fail(episodes.name(), " does not fit ", environment.name(),
       ": no column pos_agent, state, proprio or observation of ", environment.state_dim(),
       " numbers to start from");
}

Image read_frame(const Episodes& episodes, i64 column, i64 row) {
  const Shape& shape = episodes.column(column).row;
  Image image{shape[0], shape[1], std::vector<u8>(static_cast<std::size_t>(shape.numel()))};
  episodes.read(column, row, row + 1, 1, reinterpret_cast<std::byte*>(image.rgb.data()));
  return image;
}

}  // namespace

std::vector<i64> valid_start_rows(const Episodes& episodes, i64 goal_offset) {
  std::vector<i64> rows;
  for (i64 episode = 0; episode < episodes.count(); ++episode) {
    for (i64 step = 0; step <= episodes.length(episode) - goal_offset - 1; ++step) {
      rows.push_back(episodes.offset(episode) + step);
    }
  }
  return rows;
}

std::vector<Start> choose_starts(const Episodes& episodes, const Protocol& protocol) {
  check(protocol.episodes >= 1, "evaluation of ", protocol.episodes,
        " episodes, at least one is needed");
  check(protocol.goal_offset >= 1, "goal offset is ", protocol.goal_offset,
        " rows, at least one is needed");
  const std::vector<i64> valid = valid_start_rows(episodes, protocol.goal_offset);
  const i64 count = static_cast<i64>(valid.size()) - (protocol.original_start_rule ? 1 : 0);
  check(count >= protocol.episodes, episodes.name(), " has ", std::max<i64>(count, 0),
        " rows with a goal ", protocol.goal_offset, " rows later, ", protocol.episodes,
        " starts were asked for");

  std::vector<i64> chosen = NumpyRandom(protocol.seed).choice(count, protocol.episodes);
  std::sort(chosen.begin(), chosen.end());
  std::vector<Start> starts;
  i64 episode = 0;
  for (const i64 index : chosen) {
    const i64 row = valid[static_cast<std::size_t>(index)];
    while (row >= episodes.offset(episode) + episodes.length(episode)) ++episode;
    starts.push_back({row, episode, row - episodes.offset(episode)});
  }
  return starts;
}

std::vector<EvalCase> load_cases(const Episodes& episodes, const Environment& environment,
                                 const Protocol& protocol) {
  const i64 states = state_column(episodes, environment);
  const i64 pixels = episodes.column_index("pixels");
  const Column& picture = episodes.column(pixels);
  check(picture.dtype == DType::uint8 && picture.row.rank() == 3 && picture.row[2] == 3,
        episodes.name(), ": column pixels holds ", picture.dtype, " ", picture.row,
        ", pictures (h, w, 3) of uint8 were needed");

  std::vector<EvalCase> cases;
  for (const Start& start : choose_starts(episodes, protocol)) {
    EvalCase one;
    one.start = start;
    const i64 goal = start.row + protocol.goal_offset;
    one.state.resize(static_cast<std::size_t>(environment.state_dim()));
    one.goal_state = one.state;
    episodes.read_f64(states, start.row, start.row + 1, 1, one.state.data());
    episodes.read_f64(states, goal, goal + 1, 1, one.goal_state.data());
    one.frame = read_frame(episodes, pixels, start.row);
    one.goal = read_frame(episodes, pixels, goal);
    cases.push_back(std::move(one));
  }
  return cases;
}

}  // namespace orrery
