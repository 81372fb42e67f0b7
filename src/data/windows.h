#pragma once

#include <string>
#include <vector>

#include "data/episodes.h"

namespace orrery {

// A window is `frameskip * num_steps` rows of one episode: num_steps observations, frameskip
// actions between each and the next.
struct WindowShape {
  i64 frameskip = 5;
  i64 num_steps = 4;

  i64 span() const { return frameskip * num_steps; }
};

// All windows of a recording, as the official readers count them: episode by episode, start by
// start, every start with start + span <= length. The episodes may be given, which leaves the
// others out.
class Windows {
 public:
  struct Place {
    i64 episode = 0;
    i64 start = 0;  // within the episode
    i64 row = 0;    // of the recording
  };

  // The recording must outlive the windows.
  Windows(const Episodes& episodes, WindowShape shape);
  Windows(const Episodes& episodes, WindowShape shape, const std::vector<i64>& chosen);

  const Episodes& episodes() const { return *episodes_; }
  const WindowShape& shape() const { return shape_; }
  i64 size() const { return before_.empty() ? 0 : before_.back(); }
  // the episodes that windows come from
  const std::vector<i64>& chosen() const { return chosen_; }
  Place operator[](i64 window) const;

  // The observations of a column: rows start, start + frameskip, ...: [num_steps, row].
  void read_observations(i64 window, i64 column, std::byte* out) const;
  // the same of a column of numbers, as float32
  void read_observations_f32(i64 window, i64 column, float* out) const;
  // The actions, or any column without skipping, as float32: [num_steps, frameskip * width]. Block
  // k holds the rows from observation k to before observation k + 1.
  void read_actions_f32(i64 window, i64 column, float* out) const;

 private:
  const Episodes* episodes_;
  WindowShape shape_;
  std::vector<i64> chosen_;
  std::vector<i64> before_;  // windows in the chosen episodes up to and with each
};

// Which episodes train and which are kept for validation. The cut is by episode: windows of one
// episode overlap, so a cut by window (the published training script's) shows the model most of
// every validation window.
struct EpisodeSplit {
  std::vector<i64> train;
  std::vector<i64> validation;
};

// `fraction` of the episodes, drawn by the seed, train; with two or more episodes neither list is
// empty. Both lists are sorted. exact
EpisodeSplit split_episodes(i64 episodes, double fraction, u64 seed);

}  // namespace orrery
