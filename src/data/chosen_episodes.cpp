#include "data/chosen_episodes.h"

#include <algorithm>

#include "base/error.h"

namespace orrery {

namespace {

std::vector<i64> lengths_in(const Episodes& source, const std::vector<i64>& chosen) {
  check(!chosen.empty(), source.name(), ": no episode was chosen");
  std::vector<i64> lengths;
  for (const i64 episode : chosen) {
    check(episode >= 0 && episode < source.count(), "episode ", episode, " was chosen, ",
          source.name(), " has ", source.count());
    lengths.push_back(source.length(episode));
  }
  return lengths;
}

class Chosen final : public Episodes {
 public:
  Chosen(std::unique_ptr<Episodes> source, const std::vector<i64>& chosen)
      : Episodes(source->name(), lengths_in(*source, chosen)),
        source_(std::move(source)),
        chosen_(chosen) {
    columns_ = source_->columns();
    for (i64 e = 0; e < count(); ++e) ends_.push_back(offset(e) + length(e));
  }

  i64 chunk_rows(i64 index) const override { return source_->chunk_rows(index); }

 protected:
  void do_read(i64 index, i64 begin, i64 end, i64 stride, std::byte* out) const override {
    const i64 bytes = column(index).row_bytes();
    while (begin < end) {
      // the episode that holds the row, and its rows that are asked for
      const auto at = std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin();
      const i64 moved = source_->offset(chosen_[static_cast<std::size_t>(at)]) - offset(at);
      const i64 last = std::min(end, ends_[static_cast<std::size_t>(at)]);
      source_->read(index, begin + moved, last + moved, stride, out);
      const i64 rows = (last - begin + stride - 1) / stride;
      begin += rows * stride;
      out += rows * bytes;
    }
  }

 private:
  std::unique_ptr<Episodes> source_;
  std::vector<i64> chosen_;
  std::vector<i64> ends_;  // row after each episode
};

}  // namespace

std::unique_ptr<Episodes> chosen_episodes(std::unique_ptr<Episodes> source,
                                          const std::vector<i64>& chosen) {
  return std::make_unique<Chosen>(std::move(source), chosen);
}

}  // namespace orrery
