#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/episodes.h"
#include "media/image.h"

namespace orrery {

struct PreviewOptions {
  std::string column = "pixels";
  std::vector<i64> episodes;  // empty: eight of them, evenly over the recording
  i64 frames = 10;            // of an episode on a contact sheet, evenly over it
  i64 side = 96;              // pixels that the longer side of a frame is reduced to
  int frames_per_second = 10;
};

// The frame of a row as it is looked at: uint8, or float with values 0 to 255, of shape
// [height, width, 1 or 3]; anything else is an error.
Image picture_of(const Episodes& episodes, i64 column, i64 row);

// A row of frames for each episode.
Image contact_sheet(const Episodes& episodes, const PreviewOptions& options);

// All these episodes side by side in one film, an animated GIF where the path ends in .gif, else
// H.264 in MP4; one that is over stands still. Needs FFmpeg.
void write_preview_film(const Episodes& episodes, const std::filesystem::path& path,
                        const PreviewOptions& options);

// A page with the columns, and the episodes as films that any browser plays, in one file.
void write_preview_page(const Episodes& episodes, const std::filesystem::path& path,
                        const PreviewOptions& options);

}  // namespace orrery
