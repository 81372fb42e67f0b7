#pragma once

#include <filesystem>

#include "eval/evaluation.h"

namespace orrery {

// Writes what an agent saw and its goal, side by side, as MP4 with `frames_per_second`; the file is
// there whole or not at all. The record holds a film of pictures of one size, with even sides.
//
// Errors: no film was kept, other sizes, a build without FFmpeg's libraries, a file that cannot be
// written.
void write_film(const std::filesystem::path& path, const EpisodeRecord& record,
                int frames_per_second = 10);

}  // namespace orrery
