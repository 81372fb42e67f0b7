#include "data/shared_recorder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <charconv>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <string_view>
#include <thread>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/random.h"
#include "data/episode_player.h"
#include "data/recording_part.h"
#include "dist/share.h"
#include "env/pusht_replay.h"
#include "io/json.h"

namespace orrery {

namespace {

// Bytes of a block. Packed it is one message and one file: large enough that neither
// counts beside playing it, small enough for many of them in memory.
constexpr i64 kBlockBytes = i64{256} << 20;
// blocks a rank gets at least, where there are enough episodes: a slow one then holds up the end by
// an eighth of its share
constexpr i64 kBlocksARank = 8;
constexpr i64 kMostEpisodesABlock = 256;

// A block of episodes: the first and how many. As a unit of work it is one number.
struct BlockOfEpisodes {
  i64 first = 0;
  i64 count = 0;

  i64 unit() const { return first * kMostEpisodesABlock + (count - 1); }
  static BlockOfEpisodes of(i64 unit) {
    return {unit / kMostEpisodesABlock, unit % kMostEpisodesABlock + 1};
  }
  std::string words() const {
    if (count == 1) return text("episode ", first);
    return text("episodes ", first, " to ", first + count - 1);
  }
};

// What one rank has for playing blocks.
class BlockPlayer {
 public:
  explicit BlockPlayer(const SharedRecordOptions& options)
      : options_(options.recording), ctx_({.threads = options.threads}) {
    for (int i = 0; i < ctx_.threads(); ++i) {
      players_.push_back(std::make_unique<EpisodePlayer>(options_));
      episodes_.emplace_back();
    }
    columns_ = players_[0]->columns();
  }

  // the block as a part: every thread plays and packs episodes
  std::string play(BlockOfEpisodes block, const dist::GoesOn& goes_on) {
    std::vector<std::string> packed(static_cast<std::size_t>(block.count));
    std::vector<std::exception_ptr> failures(packed.size());
    ctx_.parallel(block.count, [&](i64 i, int worker) {
      if (!goes_on()) return;
      const auto w = static_cast<std::size_t>(worker), at = static_cast<std::size_t>(i);
      try {
        players_[w]->play(block.first + i, episodes_[w]);
        packed[at] = packed_episode(episodes_[w], columns_);
      } catch (...) {
        failures[at] = std::current_exception();
      }
    });
    for (const auto& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
    std::string part(kPartMagic);
    for (const std::string& episode : packed) part += episode;
    return part;
  }

 private:
  RecordOptions options_;
  Context ctx_;
  std::vector<std::unique_ptr<EpisodePlayer>> players_;  // one a thread, as are these
  std::vector<PlayedEpisode> episodes_;
  std::vector<Column> columns_;
};

u64 digest_of(const std::vector<Demonstration>& demonstrations) {
  u64 digest = demonstrations.size();
  const auto take = [&digest](double value) { digest = mix(digest, std::bit_cast<u64>(value)); };
  for (const Demonstration& one : demonstrations) {
    digest = mix(digest, one.targets.size());
    for (const auto& state : one.states) std::for_each(state.begin(), state.end(), take);
    for (const auto& target : one.targets) {
      take(target.x);
      take(target.y);
    }
  }
  return digest;
}

// everything that the bytes of a recording depend on
nlohmann::json identity_of(const RecordOptions& options) {
  nlohmann::json identity = {{"environment", options.environment},
                             {"policy", options.policy},
                             {"episodes", options.episodes},
                             {"first", options.first},
                             {"seed", options.seed},
                             {"max_steps", options.max_steps},
                             {"image_size", options.image_size},
                             {"columns", static_cast<int>(options.columns)},
                             {"bits", options.bits},
                             {"expert_noise", options.expert_noise},
                             {"replay_noise", options.replay_noise},
                             {"replay_moves", options.replay_moves},
                             {"variation", options.reset.variation},
                             {"values", options.reset.values}};
  if (options.demonstrations) identity["demonstrations"] = digest_of(*options.demonstrations);
  return identity;
}

// The parts of a recording that is not whole, on disk, in one process's hands.
class Parts {
 public:
  Parts(const std::filesystem::path& recording, const RecordOptions& options)
      : folder_(parts_of_recording(recording)),
        first_(options.first),
        end_(options.first + options.episodes),
        max_rows_(options.max_steps + 1),
        columns_(EpisodePlayer(options).columns()),
        write_(EpisodePlayer(options).write_options()) {
    std::error_code error;
    std::filesystem::create_directory(folder_, error);
    check(!error, "cannot make ", folder_.string(), ": ", error.message());
    lock_ = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(lock_ >= 0 && ::flock(lock_, LOCK_EX | LOCK_NB) == 0, folder_.string(),
          " is in use: another process is making this recording");
    const nlohmann::json identity = identity_of(options);
    const auto file = folder_ / "recording.json";
    if (std::filesystem::exists(file)) {
      check(read_json(file) == identity, folder_.string(),
            " holds parts of a recording with other options: give those, or remove it");
    } else {
      write_json(file, identity);
    }
  }
  ~Parts() {
    if (lock_ >= 0) ::close(lock_);
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  const std::vector<Column>& columns() const { return columns_; }
  const WriteOptions& write_options() const { return write_; }

  std::filesystem::path file_of(BlockOfEpisodes block) const {
    return folder_ / text(block.first, "-", block.count, ".part");
  }

  // What is there already. A file that does not hold what its name says is told of, and made again.
  std::vector<BlockOfEpisodes> found(const std::function<void(const std::string&)>& tell) const {
    std::vector<BlockOfEpisodes> blocks;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      const auto block = block_named(entry.path().filename().string());
      if (!block) continue;
      try {
        open(*block);
        blocks.push_back(*block);
      } catch (const Error& error) {
        tell(text(block->words(), " will be recorded again: ", error.what()));
      }
    }
    std::sort(blocks.begin(), blocks.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    return blocks;
  }

  // What was kept of a block. The bytes are mapped while it is used.
  struct Part {
    Part(const std::filesystem::path& path, const std::vector<Column>& columns, i64 count,
         i64 max_rows)
        : file(path), reader(file.bytes(), path.string(), columns, count, max_rows) {}
    MappedFile file;
    PartReader reader;
  };
  Part open(BlockOfEpisodes block) const {
    return {file_of(block), columns_, block.count, max_rows_};
  }

  void keep(BlockOfEpisodes block, const std::string& bytes) const {
    write_file(file_of(block), bytes);
  }

  void remove() const {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

 private:
  // "128-16.part" is episodes 128 to 143
  std::optional<BlockOfEpisodes> block_named(std::string_view name) const {
    BlockOfEpisodes block;
    const char* end = name.data() + name.size();
    const auto first = std::from_chars(name.data(), end, block.first);
    if (first.ec != std::errc() || first.ptr == end || *first.ptr != '-') return std::nullopt;
    const auto count = std::from_chars(first.ptr + 1, end, block.count);
    if (count.ec != std::errc() || std::string_view(count.ptr, end) != ".part") return std::nullopt;
    if (block.count < 1 || block.count > kMostEpisodesABlock || block.first < first_ ||
        block.first > end_ - block.count) {
      return std::nullopt;
    }
    return block;
  }

  std::filesystem::path folder_;
  i64 first_, end_, max_rows_;
  std::vector<Column> columns_;
  WriteOptions write_;
  int lock_ = -1;
};

// Writes the recording from parts, in the order of episodes, in a thread of its own: a part is
// taken as soon as all before it are.
class Joiner {
 public:
  Joiner(const Parts& parts, const RecordOptions& options, const std::filesystem::path& path)
      : parts_(parts),
        writer_(write_episodes(path, parts.columns(), parts.write_options())),
        next_(options.first),
        end_(options.first + options.episodes),
        thread_([this] { run(); }) {}
  ~Joiner() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
  }
  Joiner(const Joiner&) = delete;
  Joiner& operator=(const Joiner&) = delete;

  // the part is there
  void add(BlockOfEpisodes block) {
    {
      const std::lock_guard lock(mutex_);
      ready_[block.first] = block;
    }
    changed_.notify_one();
  }

  // throws what went wrong so far
  void must_be_well() {
    const std::lock_guard lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
  }

  // after all parts were added: the recording is there
  RecordSummary finish() {
    thread_.join();
    must_be_well();
    writer_->finish();
    return summary_;
  }

 private:
  void run() {
    try {
      while (next_ < end_) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || ready_.count(next_) > 0; });
        if (stopping_) return;
        const BlockOfEpisodes block = ready_.at(next_);
        lock.unlock();
        join(block);
        next_ += block.count;
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
    }
  }

  void join(BlockOfEpisodes block) {
    const Parts::Part part = parts_.open(block);
    for (i64 e = 0; e < part.reader.count() && !stopping_; ++e) {
      part.reader.unpack(e, episode_);
      pointers_.clear();
      for (const auto& column : episode_.values) pointers_.push_back(column.data());
      writer_->append(episode_.rows, pointers_);
      ++summary_.episodes;
      summary_.rows += episode_.rows;
      summary_.reached += episode_.reached;
    }
  }

  const Parts& parts_;
  std::unique_ptr<EpisodesWriter> writer_;
  i64 next_, end_;
  RecordSummary summary_;
  PlayedEpisode episode_;  // the one that is being joined
  std::vector<const std::byte*> pointers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<i64, BlockOfEpisodes> ready_;  // by first episode
  std::exception_ptr failure_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;  // last: it uses the rest
};

// What rank 0 does beside playing.
class Collector {
 public:
  Collector(dist::World& world, const SharedRecordOptions& options,
            const std::filesystem::path& path, RecordProgress progress)
      : world_(world), options_(options), path_(path), progress_(progress) {}

  dist::SharedWork work() {
    dist::SharedWork work;
    work.units = [this] { return units(); };
    work.keep = [this](i64 unit, const std::string& bytes) {
      const auto block = BlockOfEpisodes::of(unit);
      parts_->keep(block, bytes);
      take(block);
    };
    work.goes_on = [this] {
      if (joiner_) joiner_->must_be_well();
      if (progress_(episodes_, rows_)) return true;
      // mpirun gives who is asked to end one second: what is half-made goes first
      joiner_.reset();
      return false;
    };
    work.tell = [this](const dist::RankFailure& failure) {
      const std::string what = failure.unit < 0 ? "" : BlockOfEpisodes::of(failure.unit).words();
      options_.tell(dist::sentence_of(failure, what));
    };
    return work;
  }

  RecordSummary finish() {
    progress_(episodes_, rows_);
    RecordSummary summary = joiner_->finish();
    parts_->remove();
    summary.bytes = stored_bytes(path_);
    return summary;
  }

  // after what went wrong: what is kept and how to go on
  std::string rest() {
    joiner_.reset();
    if (parts_ && episodes_ == 0) parts_->remove();
    if (episodes_ == 0) return "; nothing was kept";
    return text("; ", episodes_, " of ", options_.recording.episodes, " episodes are kept in ",
                parts_->folder().string(), ", and the same command goes on from there");
  }

 private:
  std::vector<i64> units() {
    const RecordOptions& recording = options_.recording;
    parts_.emplace(path_, recording);
    joiner_.emplace(*parts_, recording, path_);
    std::vector<i64> units;
    i64 next = recording.first;
    const auto add_missing = [&](i64 end) {
      const i64 size = block_size();
      for (; next < end; next += std::min(size, end - next)) {
        units.push_back(BlockOfEpisodes{next, std::min(size, end - next)}.unit());
      }
    };
    for (const BlockOfEpisodes& block : parts_->found(options_.tell)) {
      if (block.first < next) continue;  // no two of one run overlap; of two runs, the first counts
      add_missing(block.first);
      take(block);
      next += block.count;
    }
    add_missing(recording.first + recording.episodes);
    if (episodes_ > 0) {
      options_.tell(text(episodes_, " of ", recording.episodes, " episodes are there already, in ",
                         parts_->folder().string()));
    }
    return units;
  }

  i64 block_size() const {
    const RecordOptions& recording = options_.recording;
    i64 row_bytes = 0;
    for (const Column& column : parts_->columns()) row_bytes += column.row_bytes();
    const i64 by_bytes = kBlockBytes / (row_bytes * (recording.max_steps + 1));
    const i64 by_ranks = recording.episodes / (world_.size() * kBlocksARank);
    return std::clamp<i64>(std::min(by_bytes, by_ranks), 1, kMostEpisodesABlock);
  }

  void take(BlockOfEpisodes block) {
    rows_ += parts_->open(block).reader.rows();
    episodes_ += block.count;
    joiner_->add(block);
  }

  dist::World& world_;
  const SharedRecordOptions& options_;
  const std::filesystem::path& path_;
  RecordProgress progress_;
  i64 episodes_ = 0, rows_ = 0;
  std::optional<Parts> parts_;
  std::optional<Joiner> joiner_;  // after parts_, which it reads
};

}  // namespace

std::filesystem::path parts_of_recording(const std::filesystem::path& path) {
  // data/ and data are the same folder
  std::filesystem::path parts = path.has_filename() ? path : path.parent_path();
  parts += ".parts";
  return parts;
}

std::optional<RecordSummary> record_shared(dist::World& world, const SharedRecordOptions& options,
                                           const std::filesystem::path& path,
                                           RecordProgress progress) {
  const auto play = [&options]() -> dist::UnitWork {
    const auto player = std::make_shared<BlockPlayer>(options);
    return [player](i64 unit, const dist::GoesOn& goes_on) {
      return player->play(BlockOfEpisodes::of(unit), goes_on);
    };
  };
  if (world.rank() != 0) {
    dist::SharedWork work;
    work.start = play;
    work.silence_s = options.silence_s;
    dist::share_out(world, work);
    return std::nullopt;
  }
  Collector collector(world, options, path, progress);
  dist::SharedWork work = collector.work();
  work.start = play;
  work.silence_s = options.silence_s;
  try {
    check(dist::share_out(world, work), "recording stopped");
    return collector.finish();
  } catch (const Error& error) {
    fail(error.what(), collector.rest());
  }
}

}  // namespace orrery
