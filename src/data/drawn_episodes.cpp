#include "data/drawn_episodes.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <span>

#include "base/error.h"
#include "base/random.h"
#include "env/environment.h"
#include "media/resize.h"

namespace orrery {

namespace {

// idle environments that are kept: as many as threads draw at the same time on most machines
constexpr std::size_t kMostIdle = 64;

std::vector<i64> lengths_of(const Episodes& episodes) {
  std::vector<i64> lengths;
  for (i64 e = 0; e < episodes.count(); ++e) lengths.push_back(episodes.length(e));
  return lengths;
}

// Draws states of one episode after the other, for one thread at a time.
class Artist {
 public:
  // image_size 0: that of the drawing
  Artist(const Drawing& drawing, i64 image_size)
      : drawing_(drawing),
        side_(image_size > 0 ? image_size : drawing.image_size),
        environment_(make_environment(side_ == drawing.image_size
                                          ? drawing.environment
                                          : environment_of_size(drawing.environment, side_))),
        height_(environment_->frame_height()),
        width_(environment_->frame_width()),
        plan_(make_resize_plan(height_, width_, side_, side_)),
        frame_(static_cast<std::size_t>(height_ * width_ * 3)),
        scratch_(plan_.scratch_bytes()) {
    begin(0);  // factors that it does not have are told here
  }

  i64 side() const { return side_; }
  const Environment& environment() const { return *environment_; }

  // the pictures that follow are of the episode with this number
  void begin(i64 number) {
    if (number == number_) return;
    environment_->reset(mix(drawing_.seed, static_cast<u64>(number)), drawing_.reset);
    number_ = number;
  }

  void draw(std::span<const double> state, u8* out) {
    const View<u8, 3> target(out, {side_, side_, 3});
    if (side_ == height_ && side_ == width_) return environment_->render_state(state, target);
    const View<u8, 3> frame(frame_.data(), {height_, width_, 3});
    environment_->render_state(state, frame);
    resize_bilinear_u8(plan_, frame, target, scratch_);
  }

 private:
  Drawing drawing_;
  i64 side_;
  std::unique_ptr<Environment> environment_;
  i64 height_, width_;
  ResizePlan plan_;
  std::vector<u8> frame_;
  std::vector<std::byte> scratch_;
  i64 number_ = -1;
};

class DrawnEpisodes final : public Episodes {
 public:
  DrawnEpisodes(std::unique_ptr<Episodes> source, i64 image_size)
      : Episodes(source->name(), lengths_of(*source)),
        source_(std::move(source)),
        image_size_(image_size) {
    columns_ = source_->columns();
    refused_ = source_->refused();
    drawing_ = source_->drawing();
    try {
      learn_to_draw();
    } catch (const Error& error) {
      refused_.push_back({"pixels", error.what()});
    }
  }

  i64 chunk_rows(i64 index) const override {
    return is_pixels(index) ? 1 : source_->chunk_rows(index);
  }

 protected:
  void do_read(i64 index, i64 begin, i64 end, i64 stride, std::byte* out) const override {
    if (!is_pixels(index)) return source_->read(index, begin, end, stride, out);
    std::call_once(read_once_, [this] { read_states(); });
    std::unique_ptr<Artist> artist = take_artist();
    i64 episode = episode_of(begin);
    std::vector<double> state(static_cast<std::size_t>(state_dim_));
    for (i64 row = begin; row < end; row += stride, out += column(index).row_bytes()) {
      while (row >= offset(episode) + length(episode)) ++episode;
      artist->begin(numbers_[static_cast<std::size_t>(episode)]);
      read_state(row, state);
      try {
        artist->draw(state, reinterpret_cast<u8*>(out));
      } catch (const Error& error) {
        fail("cannot draw row ", row, " of ", name(), ": ", error.what());
      }
    }
    // on an error it is dropped: its environment may be anywhere
    const std::lock_guard guard(mutex_);
    if (idle_.size() < kMostIdle) idle_.push_back(std::move(artist));
  }

 private:
  bool is_pixels(i64 index) const { return index == static_cast<i64>(source_->columns().size()); }

  void learn_to_draw() {
    description_ = drawing_from_text(drawing_, "how pictures of " + name() + " are drawn");
    auto artist = std::make_unique<Artist>(*description_, image_size_);
    state_dim_ = artist->environment().state_dim();
    state_ = column_index(description_->state);
    const Column& states = column(state_);
    check(
        (states.dtype == DType::f32 || states.dtype == DType::f64) && states.width() == state_dim_,
        "its column ", states.name, " holds ", states.dtype, " ", states.row, ", states of ",
        artist->environment().name(), " are ", state_dim_, " numbers");
    number_ = column_index("ep_idx");
    check(column(number_).dtype == DType::int32 && column(number_).width() == 1,
          "its column ep_idx holds ", column(number_).dtype, " ", column(number_).row,
          ", an int32 is needed");
    columns_.push_back({"pixels", DType::uint8, {artist->side(), artist->side(), 3}});
    idle_.push_back(std::move(artist));
  }

  void read_state(i64 row, std::span<double> out) const {
    if (states_) return states_->read_f64(0, row, row + 1, 1, out.data());
    source_->read_f64(state_, row, row + 1, 1, out.data());
  }

  // The states as they are stored, decoded once, unless their rows cost the same in any order; rows
  // of one episode have the same number.
  void read_states() const {
    if (source_->chunk_rows(state_) > 1) {
      Tensor states(column(state_).dtype, {rows(), state_dim_});
      source_->read(state_, 0, rows(), 1, states.bytes());
      TensorMap columns;
      columns.emplace("state", std::move(states));
      states_ = episodes_in_memory(name(), lengths_of(*this), std::move(columns));
    }
    std::vector<i32> numbers(static_cast<std::size_t>(rows()));
    source_->read(number_, 0, rows(), 1, reinterpret_cast<std::byte*>(numbers.data()));
    for (i64 e = 0; e < count(); ++e) {
      const i64 row = std::min(offset(e), rows() - 1);  // an empty last episode has none
      const i32 number = numbers[static_cast<std::size_t>(row)];
      check(number >= 0, name(), ": ep_idx of row ", row, " is ", number);
      numbers_.push_back(number);
    }
  }

  std::unique_ptr<Artist> take_artist() const {
    {
      const std::lock_guard guard(mutex_);
      if (!idle_.empty()) {
        auto artist = std::move(idle_.back());
        idle_.pop_back();
        return artist;
      }
    }
    return std::make_unique<Artist>(*description_, image_size_);
  }

  std::unique_ptr<Episodes> source_;
  i64 image_size_;
  std::optional<Drawing> description_;
  i64 state_dim_ = 0;
  i64 state_ = -1, number_ = -1;  // columns of the source

  mutable std::once_flag read_once_;
  mutable std::unique_ptr<Episodes> states_;
  mutable std::vector<i64> numbers_;  // of the episodes, as they were recorded
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Artist>> idle_;
};

}  // namespace

std::unique_ptr<Episodes> drawn(std::unique_ptr<Episodes> source, i64 image_size) {
  return std::make_unique<DrawnEpisodes>(std::move(source), image_size);
}

}  // namespace orrery
