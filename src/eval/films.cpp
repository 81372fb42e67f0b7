#include "eval/films.h"

#include <algorithm>

#include "base/atomic_file.h"
#include "base/error.h"
#include "media/video.h"

namespace orrery {

void write_film(const std::filesystem::path& path, const EpisodeRecord& record,
                int frames_per_second) {
  check(!record.film.empty(), path.string(), ": no film of episode ", record.index, " was kept");
  const Image& goal = record.goal;
  Image both{goal.height, 2 * goal.width, {}};
  both.rgb.resize(2 * goal.rgb.size());
  const auto put = [&](const Image& picture, i64 left) {
    check(picture.height == goal.height && picture.width == goal.width, path.string(),
          ": pictures of a film differ in size, ", picture.height, " x ", picture.width, " and ",
          goal.height, " x ", goal.width);
    for (i64 y = 0; y < goal.height; ++y) {
      std::copy_n(&picture.view()(y, 0, 0), 3 * goal.width, &both.view()(y, left, 0));
    }
  };
  put(goal, goal.width);

  AtomicFile file(path);
  {
    VideoWriter writer(file.temporary(), both.height, both.width,
                       {.frames_per_second = frames_per_second});
    for (const Image& picture : record.film) {
      put(picture, 0);
      writer.add(both.view());
    }
    writer.finish();
  }
  file.commit();
}

}  // namespace orrery
