#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "data/episodes_writer.h"
#include "device/context.h"
#include "env/environment.h"
#include "env/pusht_replay.h"

namespace orrery {

// Which columns a recording has.
enum class RecordedColumns {
  all,
  all_but_pixels,  // pictures are drawn when they are read (data/drawn_episodes.h)
  // action, the state and step_idx, ep_idx: the least that training and evaluation need; states as
  // float32, so a few pictures of PushT in ten thousand differ at an edge
  least,
  // action, step_idx, ep_idx, and where each episode began and ended: states are simulated again
  // when they are read (data/played_episodes.h)
  actions,
};

struct RecordOptions {
  std::string environment = "tworoom";
  std::string policy = "expert";
  i64 episodes = 100;
  // number of the first one: episode 7 of a seed is the same, whichever recording it is part of
  i64 first = 0;
  u64 seed = 0;
  i64 max_steps = 100;   // actions of an episode, unless it reaches its goal before
  i64 image_size = 224;  // a side; frames of another size are reduced by Pillow's bilinear filter
  RecordingLayout layout = RecordingLayout::release;
  RecordedColumns columns = RecordedColumns::all;
  // Of the least columns: significant bits that action and state keep, rounded to nearest; 24 is
  // all of float32. 16 leave PushT's positions within 0.004 pixels and a file a third smaller. Of
  // actions alone: those of the actions that are played.
  int bits = 24;
  float expert_noise = 2.0f;
  // for the policy "replay"; see PolicyOptions
  std::shared_ptr<const std::vector<Demonstration>> demonstrations;
  float replay_noise = 0.05f;
  bool replay_moves = true;
  ResetOptions reset;
};

struct RecordSummary {
  i64 episodes = 0;
  i64 rows = 0;
  i64 reached = 0;  // episodes that ended at their goal
  i64 bytes = 0;    // of the file or folder
};

// Told after every round of episodes; false stops the recording.
using RecordProgress = FunctionRef<bool(i64 episodes, i64 rows)>;

// Plays episodes and writes them, in the format that the path's end names (episode_format_of):
// stable-worldmodel HDF5 for `.h5`. An episode of L actions has L + 1 rows;
// row t holds what was seen at t, the reward and flags of the step that led there (NaN and false in
// row 0), and the action that leaves it (NaN in the last row).
//
// Columns, unless others are asked for: pixels u8 [size, size, 3], action f32, the environment's
// info columns, reward f64, terminated, truncated, step_idx i64, ep_idx i32, id i64 (one number an
// episode), and ep_len i32, ep_offset i64 by episode.
//
// Episodes are played on the thread team while those before are compressed and written; memory
// holds two rounds of them. The contents depend on the options alone, not on the number of threads.
// The file appears at `path` when all is written; on any failure, or when progress says stop (an
// Error), nothing is left. When the process is killed, what EpisodesWriter promises is left under
// the temporary name.
RecordSummary record(Context& ctx, const RecordOptions& options, const std::filesystem::path& path,
                     RecordProgress progress);

}  // namespace orrery
