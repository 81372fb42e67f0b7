#include "data/robomimic_episodes.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "base/error.h"
#include "data/chunked_episodes.h"

namespace orrery {

namespace {

const std::string kDemonstrations = "data/demo_";

// the number in data/demo_<number>/..., and what follows
struct Place {
  i64 demonstration = 0;
  std::string rest;
};

std::optional<Place> place_of(const std::string& path) {
  if (path.rfind(kDemonstrations, 0) != 0) return std::nullopt;
  const char* begin = path.data() + kDemonstrations.size();
  const char* end = path.data() + path.size();
  Place place;
  const auto [stop, error] = std::from_chars(begin, end, place.demonstration);
  if (error != std::errc() || stop == end || *stop != '/') return std::nullopt;
  place.rest.assign(stop + 1, end);
  return place;
}

// What a data set is called as a column; empty: it is none. Of next_obs every row but the last is
// obs anew.
std::string column_of(const std::string& rest) {
  const std::string observed = "obs/";
  if (rest == "actions") return "action";
  if (rest.rfind(observed, 0) == 0) return rest.substr(observed.size());
  if (rest.find('/') != std::string::npos) return {};
  return rest;
}

struct Demonstrations {
  std::vector<i64> lengths;
  // of a column, the reader's index in each demonstration, or -1
  std::map<std::string, std::vector<i64>> columns;
};

Demonstrations demonstrations_in(const Hdf5Reader& reader) {
  // by number: demo_10 comes after demo_9
  std::map<i64, std::map<std::string, i64>> found;
  for (i64 i = 0; i < static_cast<i64>(reader.columns().size()); ++i) {
    const auto place = place_of(reader.columns()[static_cast<std::size_t>(i)].name);
    if (!place) continue;
    const std::string name = column_of(place->rest);
    if (!name.empty()) found[place->demonstration].emplace(name, i);
  }
  Demonstrations all;
  for (const auto& [number, columns] : found) {
    const auto action = columns.find("action");
    check(action != columns.end(), reader.name(), ": data/demo_", number, " has no actions");
    const Hdf5Column& about = reader.columns()[static_cast<std::size_t>(action->second)];
    check(about.refusal.empty(), "cannot read column ", about.name, " of ", reader.name(), ": ",
          about.refusal);
    check(about.rows > 0, reader.name(), ": data/demo_", number, " has no rows");
    for (const auto& [name, index] : columns) {
      auto& places = all.columns[name];
      places.resize(all.lengths.size(), -1);
      places.push_back(index);
    }
    all.lengths.push_back(about.rows);
  }
  for (auto& [name, places] : all.columns) places.resize(all.lengths.size(), -1);
  return all;
}

class RobomimicEpisodes final : public ChunkedEpisodes {
 public:
  RobomimicEpisodes(std::unique_ptr<Hdf5Reader> reader, Demonstrations demonstrations,
                    const OpenOptions& options)
      : ChunkedEpisodes(reader->name(), demonstrations.lengths, options.cache_bytes),
        reader_(std::move(reader)) {
    std::vector<std::string> cameras;
    for (auto& [name, places] : demonstrations.columns) {
      if (std::string why = refusal_of(places); !why.empty()) {
        refused_.push_back({name, std::move(why)});
        continue;
      }
      const Hdf5Column& first = stored(places[0]);
      if (first.dtype == DType::uint8 && first.row.rank() == 3 && first.row[2] == 3) {
        cameras.push_back(name);
      }
      columns_.push_back({name, first.dtype, first.row});
      stored_.push_back(std::move(places));
    }
    check(find_column("action") >= 0, name(), " has no actions that can be read");
    name_pixels(cameras);
  }

  i64 chunk_rows(i64 index) const override {
    return std::max<i64>(1, stored(stored_[static_cast<std::size_t>(index)][0]).chunk_rows);
  }

 protected:
  Keep keep(i64 index) const override {
    const auto& places = stored_[static_cast<std::size_t>(index)];
    const bool plain =
        std::all_of(places.begin(), places.end(), [&](i64 place) { return stored(place).plain(); });
    return plain ? Keep::never : Keep::always;
  }

  Chunk chunk_at(i64 index, i64 row) const override {
    const i64 episode = episode_of(row);
    const i64 rows = stored(place(index, episode)).chunk_rows;
    const i64 length = rows > 0 ? rows : this->length(episode);
    const i64 begin = offset(episode) + (row - offset(episode)) / length * length;
    // its first row tells chunks apart
    return {begin, begin, std::min(begin + length, offset(episode) + this->length(episode))};
  }

  void decode(i64 index, const Chunk& chunk, std::byte* out) const override {
    decode_rows(index, chunk, chunk.begin, chunk.end, 1, out);
  }

  void decode_rows(i64 index, const Chunk& chunk, i64 begin, i64 end, i64 stride,
                   std::byte* out) const override {
    const i64 episode = episode_of(chunk.begin);
    reader_->read(place(index, episode), begin - offset(episode), end - offset(episode), stride,
                  out);
  }

 private:
  const Hdf5Column& stored(i64 place) const {
    return reader_->columns()[static_cast<std::size_t>(place)];
  }
  i64 place(i64 index, i64 episode) const {
    return stored_[static_cast<std::size_t>(index)][static_cast<std::size_t>(episode)];
  }

  // why the data sets of all demonstrations are not one column; empty: they are
  std::string refusal_of(const std::vector<i64>& places) const {
    for (std::size_t e = 0; e < places.size(); ++e) {
      if (places[e] < 0) return text("demonstration ", e, " of them has none");
      const Hdf5Column& about = stored(places[e]);
      if (!about.refusal.empty()) return about.refusal;
      const Hdf5Column& first = stored(places[0]);
      if (about.rows != length(static_cast<i64>(e))) {
        return text(about.name, " has ", about.rows, " rows, the actions have ",
                    length(static_cast<i64>(e)));
      }
      if (about.dtype != first.dtype || !(about.row == first.row)) {
        return text(about.name, " is ", about.dtype, " ", about.row, ", ", first.name, " is ",
                    first.dtype, " ", first.row);
      }
    }
    return {};
  }

  // the only camera, or robomimic's usual one, is what is seen
  void name_pixels(const std::vector<std::string>& cameras) {
    const std::string usual = "agentview_image";
    const bool has_usual = std::find(cameras.begin(), cameras.end(), usual) != cameras.end();
    if (find_column("pixels") >= 0 || (cameras.size() != 1 && !has_usual)) return;
    const std::string& seen = has_usual ? usual : cameras[0];
    columns_[static_cast<std::size_t>(find_column(seen))].name = "pixels";
  }

  std::unique_ptr<Hdf5Reader> reader_;
  std::vector<std::vector<i64>> stored_;  // of each column, the reader's index by episode
};

}  // namespace

bool is_robomimic(const Hdf5Reader& reader) {
  return reader.find("ep_len") < 0 &&
         std::any_of(reader.columns().begin(), reader.columns().end(),
                     [](const Hdf5Column& column) { return place_of(column.name).has_value(); });
}

std::unique_ptr<Episodes> robomimic_episodes(std::unique_ptr<Hdf5Reader> reader,
                                             const OpenOptions& options) {
  Demonstrations demonstrations = demonstrations_in(*reader);
  return std::make_unique<RobomimicEpisodes>(std::move(reader), std::move(demonstrations), options);
}

}  // namespace orrery
