#include "base/error.h"
#include "data/formats.h"

namespace orrery {

std::unique_ptr<Episodes> open_lerobot(const std::filesystem::path& path, const OpenOptions&) {
  fail("cannot read ", path.string(), ": LeRobot");
}

}  // namespace orrery
