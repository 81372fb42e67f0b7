#include "data/demonstrations.h"

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "data/episodes.h"

namespace orrery {

namespace {

constexpr double kActionScale = 100;

}  // namespace

std::vector<Demonstration> read_demonstrations(const std::filesystem::path& path) {
  const auto source = open_episodes(path);
  const i64 state_column = source->column_index("state");
  const i64 action_column = source->column_index("action");
  const i64 width = source->column(state_column).width();
  check(width == 5 || width == 7, source->name(), ": a state has ", width,
        " numbers, 5 or 7 are needed to replay PushT");
  check(source->column(action_column).width() == 2, source->name(), ": an action has ",
        source->column(action_column).width(), " numbers, 2 are needed to replay PushT");

  std::vector<Demonstration> demonstrations;
  std::vector<double> states;
  std::vector<double> actions;
  for (i64 episode = 0; episode < source->count(); ++episode) {
    const i64 length = source->length(episode);
    const i64 begin = source->offset(episode);
    states.resize(static_cast<std::size_t>(length * width));
    actions.resize(static_cast<std::size_t>(length * 2));
    source->read_f64(state_column, begin, begin + length, 1, states.data());
    source->read_f64(action_column, begin, begin + length, 1, actions.data());
    Demonstration shown;
    for (i64 t = 0; t < length; ++t) {
      const double* state = &states[static_cast<std::size_t>(t * width)];
      const double* action = &actions[static_cast<std::size_t>(2 * t)];
      for (i64 c = 0; c < 5; ++c) {
        check(std::abs(state[c]) <= pusht::kFarthest, source->name(), ": the state of row ",
              begin + t, " has ", state[c], " as number ", c);
      }
      shown.states.push_back({state[0], state[1], state[2], state[3], state[4]});
      pusht::Point target = {action[0], action[1]};
      if (width == 7) {
        const bool none = t + 1 == length && std::isnan(action[0]) && std::isnan(action[1]);
        target = none ? pusht::Point{state[0], state[1]}
                      : pusht::Point{state[0] + kActionScale * action[0],
                                     state[1] + kActionScale * action[1]};
      }
      check(std::abs(target.x) <= pusht::kFarthest && std::abs(target.y) <= pusht::kFarthest,
            source->name(), ": the action of row ", begin + t, " is (", action[0], ", ", action[1],
            ")");
      shown.targets.push_back(target);
    }
    demonstrations.push_back(std::move(shown));
  }
  return demonstrations;
}

Fold fold_from_text(const std::string& text, const std::string& where) {
  const auto number = [](const char* begin, const char* end, i64& value) {
    const auto [stop, error] = std::from_chars(begin, end, value);
    return error == std::errc() && stop == end;
  };
  Fold fold;
  const std::size_t slash = text.find('/');
  const char* const begin = text.data();
  const bool read = slash != std::string::npos && number(begin, begin + slash, fold.remainder) &&
                    number(begin + slash + 1, begin + text.size(), fold.folds);
  check(read && fold.remainder >= 0 && fold.remainder < fold.folds, where, ": ", text,
        " is no fold, K/N with 0 <= K < N is needed, such as 6/7");
  return fold;
}

std::vector<Demonstration> choose(std::vector<Demonstration> all, const Fold& fold, bool others) {
  std::vector<Demonstration> chosen;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (fold.has(static_cast<i64>(i)) != others) chosen.push_back(std::move(all[i]));
  }
  check(!chosen.empty(), "of ", all.size(), " demonstrations fold ", fold.remainder, "/",
        fold.folds, others ? " leaves none" : " has none");
  return chosen;
}

}  // namespace orrery
