#pragma once

#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

#include "media/video.h"

namespace orrery {

// Open films, the least recently used closed first: a recording has thousands, and opening one
// reads all its time stamps. Any number of threads; each takes a film for itself.
class FilmCache {
 public:
  // Calls body with the film of a path, open.
  void with(const std::filesystem::path& path, const std::function<void(VideoReader&)>& body);

 private:
  struct Entry {
    std::filesystem::path path;
    std::unique_ptr<VideoReader> film;
  };

  std::mutex mutex_;
  std::list<Entry> idle_;  // most recently used first
};

}  // namespace orrery
