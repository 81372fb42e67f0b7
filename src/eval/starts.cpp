#include "eval/starts.h"

#include <algorithm>

#include "base/error.h"
#include "base/numpy_random.h"
#include "base/random.h"
#include "media/resize.h"

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

// The valid rows of a recording and which of them a protocol chooses. Rows are named by their place
// among the valid ones.
class Choice {
 public:
  Choice(const Episodes& episodes, const Protocol& protocol)
      : episodes_(episodes), protocol_(protocol) {
    check(protocol.episodes >= 1, "evaluation of ", protocol.episodes,
          " episodes, at least one is needed");
    check(protocol.goal_offset >= 1, "goal offset is ", protocol.goal_offset,
          " rows, at least one is needed");
    valid_ = valid_start_rows(episodes, protocol.goal_offset);
    count_ = static_cast<i64>(valid_.size()) - (protocol.original_start_rule ? 1 : 0);
    check(count_ >= protocol.episodes, episodes.name(), " has ", std::max<i64>(count_, 0),
          " rows with a goal ", protocol.goal_offset, " rows later, ", protocol.episodes,
          " starts were asked for");
  }

  std::vector<i64> published() const {
    std::vector<i64> chosen = NumpyRandom(protocol_.seed).choice(count_, protocol_.episodes);
    std::sort(chosen.begin(), chosen.end());
    return chosen;
  }

  // the same, with replacements for those that are solved
  template <typename Solved>
  std::vector<i64> without(const std::vector<i64>& chosen, Solved solved) const {
    std::vector<i64> kept;
    for (const i64 index : chosen) {
      if (!solved(index)) kept.push_back(index);
    }
    const u64 order = mix(protocol_.seed, kReplacements);
    for (i64 i = 0; i < count_ && static_cast<i64>(kept.size()) < protocol_.episodes; ++i) {
      const auto index =
          static_cast<i64>(permuted_index(order, static_cast<u64>(count_), static_cast<u64>(i)));
      if (!std::binary_search(chosen.begin(), chosen.end(), index) && !solved(index)) {
        kept.push_back(index);
      }
    }
    check(static_cast<i64>(kept.size()) == protocol_.episodes, episodes_.name(), " has only ",
          kept.size(), " rows at which the goal is not reached already, ", protocol_.episodes,
          " starts were asked for");
    std::sort(kept.begin(), kept.end());
    return kept;
  }

  Start start_of(i64 index) const {
    const i64 row = valid_[static_cast<std::size_t>(index)];
    // the last episode that begins at the row or before it; empty ones begin where the next does
    i64 low = 0;
    i64 high = episodes_.count();
    while (high - low > 1) {
      const i64 middle = low + (high - low) / 2;
      (episodes_.offset(middle) <= row ? low : high) = middle;
    }
    return {row, low, row - episodes_.offset(low)};
  }

 private:
  static constexpr u64 kReplacements = 0xD409;  // keeps this use of the seed apart

  const Episodes& episodes_;
  const Protocol& protocol_;
  std::vector<i64> valid_;
  i64 count_ = 0;  // that may be chosen
};

// bytes of a picture of this state that are the recorded ones, drawn by `environment` and reduced
i64 equal_bytes(Environment& environment, std::span<const double> state, const Image& recorded) {
  Image drawn{environment.frame_height(), environment.frame_width(), {}};
  drawn.rgb.resize(static_cast<std::size_t>(drawn.height * drawn.width * 3));
  environment.render_state(state, View<u8, 3>(drawn.rgb.data(), {drawn.height, drawn.width, 3}));
  if (drawn.height != recorded.height || drawn.width != recorded.width) {
    drawn.rgb = resize_bilinear_u8(drawn.view(), recorded.height, recorded.width);
  }
  i64 equal = 0;
  for (std::size_t i = 0; i < drawn.rgb.size(); ++i) equal += drawn.rgb[i] == recorded.rgb[i];
  return equal;
}

}  // namespace

std::string environment_drawn_as(const std::string& name, const Episodes& recording) {
  const i64 pixels = recording.find_column("pixels");
  if (pixels < 0 || recording.rows() == 0 || name.find("size=") != std::string::npos) return name;
  const Column& picture = recording.column(pixels);
  if (picture.dtype != DType::uint8 || picture.row.rank() != 3) return name;
  const std::string sized = environment_of_size(name, picture.row[0]);
  if (sized == name || picture.row[0] != picture.row[1] || picture.row[2] != 3) return name;
  // where nothing moves both are the same: what tells them apart are edges, and what the
  // recording's own goal or colours make different counts for neither
  constexpr i64 kLookedAt = 8;
  const auto own = make_environment(name), other = make_environment(sized);
  own->reset(0);
  other->reset(0);
  const i64 states = state_column(recording, *own);
  std::vector<double> state(static_cast<std::size_t>(own->state_dim()));
  i64 as_own = 0, as_other = 0;
  const i64 looked_at = std::min(kLookedAt, recording.rows());
  for (i64 i = 0; i < looked_at; ++i) {
    const i64 row = i * recording.rows() / looked_at;
    recording.read_f64(states, row, row + 1, 1, state.data());
    const Image recorded = read_frame(recording, pixels, row);
    as_own += equal_bytes(*own, state, recorded);
    as_other += equal_bytes(*other, state, recorded);
  }
  return as_own > as_other ? name : sized;
}

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
  const Choice choice(episodes, protocol);
  std::vector<Start> starts;
  for (const i64 index : choice.published()) starts.push_back(choice.start_of(index));
  return starts;
}

std::vector<EvalCase> load_cases(const Episodes& episodes, Environment& environment,
                                 const Protocol& protocol) {
  const i64 states = state_column(episodes, environment);
  const i64 pixels = episodes.column_index("pixels");
  const Column& picture = episodes.column(pixels);
  check(picture.dtype == DType::uint8 && picture.row.rank() == 3 && picture.row[2] == 3,
        episodes.name(), ": column pixels holds ", picture.dtype, " ", picture.row,
        ", pictures (h, w, 3) of uint8 were needed");

  const auto case_of = [&](const Start& start) {
    EvalCase one;
    one.start = start;
    const i64 goal = start.row + protocol.goal_offset;
    one.state.resize(static_cast<std::size_t>(environment.state_dim()));
    one.goal_state = one.state;
    episodes.read_f64(states, start.row, start.row + 1, 1, one.state.data());
    episodes.read_f64(states, goal, goal + 1, 1, one.goal_state.data());
    return one;
  };

  const Choice choice(episodes, protocol);
  std::vector<i64> chosen = choice.published();
  if (protocol.drop_solved) {
    chosen = choice.without(chosen, [&](i64 index) {
      const EvalCase one = case_of(choice.start_of(index));
      environment.reset(protocol.seed);
      environment.start_at(one.state, one.goal_state);
      return environment.measure().terminated;
    });
  }
  std::vector<EvalCase> cases;
  for (const i64 index : chosen) {
    EvalCase one = case_of(choice.start_of(index));
    one.index = static_cast<i64>(cases.size());
    one.frame = read_frame(episodes, pixels, one.start.row);
    one.goal = read_frame(episodes, pixels, one.start.row + protocol.goal_offset);
    cases.push_back(std::move(one));
  }
  return cases;
}

}  // namespace orrery
