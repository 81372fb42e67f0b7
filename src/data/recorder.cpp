#include "data/recorder.h"

#include <algorithm>
#include <exception>
#include <future>
#include <memory>
#include <vector>

#include "base/error.h"
#include "data/episode_player.h"

namespace orrery {

namespace {

// both rounds together hold about this much, but at least one episode for every thread
constexpr i64 kRoundBytes = i64{96} << 20;
constexpr i64 kMostEpisodesARound = 64;

}  // namespace

RecordSummary record(Context& ctx, const RecordOptions& options, const std::filesystem::path& path,
                     RecordProgress progress) {
  // a player for each thread, for they are what costs memory beside the episodes
  std::vector<std::unique_ptr<EpisodePlayer>> players;
  for (int i = 0; i < ctx.threads(); ++i)
    players.push_back(std::make_unique<EpisodePlayer>(options));
  i64 episode_bytes = 0;
  for (const Column& column : players[0]->columns()) {
    episode_bytes += column.row_bytes() * (options.max_steps + 1);
  }
  const i64 round_size = std::min({options.episodes, kMostEpisodesARound,
                                   std::max<i64>(ctx.threads(), kRoundBytes / episode_bytes)});

  const auto writer = write_episodes(path, players[0]->columns(), players[0]->write_options());
  RecordSummary summary;
  std::vector<PlayedEpisode> playing(static_cast<std::size_t>(round_size));
  std::vector<PlayedEpisode> written(static_cast<std::size_t>(round_size));
  std::vector<std::exception_ptr> failures(static_cast<std::size_t>(round_size));
  std::future<void> writing;  // declared last: waits, on any way out, before what it uses goes
  for (i64 first = 0; first < options.episodes; first += round_size) {
    const i64 count = std::min(round_size, options.episodes - first);
    ctx.parallel(count, [&](i64 i, int worker) {
      try {
        players[static_cast<std::size_t>(worker)]->play(options.first + first + i,
                                                        playing[static_cast<std::size_t>(i)]);
      } catch (...) {
        failures[static_cast<std::size_t>(i)] = std::current_exception();
      }
    });
    for (const auto& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
    for (i64 i = 0; i < count; ++i) {
      const PlayedEpisode& episode = playing[static_cast<std::size_t>(i)];
      ++summary.episodes;
      summary.rows += episode.rows;
      summary.reached += episode.reached;
    }
    if (writing.valid()) writing.get();
    std::swap(playing, written);
    writing = std::async(std::launch::async, [&writer, &written, count] {
      std::vector<const std::byte*> values;
      for (i64 i = 0; i < count; ++i) {
        const PlayedEpisode& episode = written[static_cast<std::size_t>(i)];
        values.clear();
        for (const auto& column : episode.values) values.push_back(column.data());
        writer->append(episode.rows, values);
      }
    });
    check(progress(summary.episodes, summary.rows), "recording stopped after ", summary.episodes,
          " of ", options.episodes, " episodes; nothing was kept");
  }
  writing.get();
  writer->finish();
  summary.bytes = stored_bytes(path);
  return summary;
}

}  // namespace orrery
