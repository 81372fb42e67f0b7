#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/recorder.h"
#include "env/policy.h"
#include "media/resize.h"

namespace orrery {

// One episode, as EpisodesWriter takes it.
struct PlayedEpisode {
  std::vector<std::vector<std::byte>> values;  // by column
  i64 rows = 0;
  bool reached = false;  // its goal
};

// Plays one episode after the other; everything it needs is made once. What it plays depends on the
// options and the episode's number alone.
class EpisodePlayer {
 public:
  // Errors: options that record() refuses. They must outlive the player.
  explicit EpisodePlayer(const RecordOptions& options);

  // what a recording consists of, in order
  const std::vector<Column>& columns() const { return columns_; }
  // how they are written
  WriteOptions write_options() const;
  // how its pictures are drawn (Drawing), as text; empty when it has them
  std::string drawing() const;
  // by the episode's number; out's memory is used again
  void play(i64 episode, PlayedEpisode& out);

 private:
  std::vector<Column> all_columns() const;
  float kept(float value) const;
  DType recorded_type(const InfoColumn& column) const;
  // an Error where a state does not tell all that is in the picture
  void check_drawable();
  // where the episode began (empty: where the reset put it) and where it stands now
  void add_ends(std::span<const double> start, PlayedEpisode& out) const;
  void keep_chosen(PlayedEpisode& out) const;
  void add_frame(std::vector<std::byte>& pixels);
  void add_row(i64 episode, double reward, bool terminated, bool truncated, PlayedEpisode& out);

  const RecordOptions& options_;
  std::unique_ptr<Environment> environment_;
  std::unique_ptr<Policy> policy_;
  i64 height_;
  i64 width_;
  ResizePlan plan_;
  std::vector<u8> frame_;
  std::vector<std::byte> scratch_;
  std::vector<double> info_;
  std::vector<float> action_;
  std::vector<bool> chosen_;     // of all columns
  std::vector<Column> columns_;  // those
};

}  // namespace orrery
