#include "data/film_cache.h"

#include <algorithm>

namespace orrery {

namespace {

// a decoder holds a few frames and a file
constexpr std::size_t kMostIdle = 8;

}  // namespace

void FilmCache::with(const std::filesystem::path& path,
                     const std::function<void(VideoReader&)>& body) {
  std::unique_ptr<VideoReader> film;
  {
    const std::lock_guard guard(mutex_);
    const auto found = std::find_if(idle_.begin(), idle_.end(),
                                    [&](const Entry& entry) { return entry.path == path; });
    if (found != idle_.end()) {
      film = std::move(found->film);
      idle_.erase(found);
    }
  }
  if (!film) film = std::make_unique<VideoReader>(path);
  // on an error the film is closed: its decoder may be anywhere
  body(*film);
  const std::lock_guard guard(mutex_);
  idle_.push_front({path, std::move(film)});
  if (idle_.size() > kMostIdle) idle_.pop_back();
}

}  // namespace orrery
