#include "eval/shared_evaluate.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "eval/records.h"

namespace orrery {

namespace {

using nlohmann::json;

constexpr const char* kFrom = "records from another rank";

// A group of cases of one seed. As a unit of work it is one number.
struct Group {
  i64 seed = 0;  // index into the seeds
  i64 first = 0;
  i64 count = 0;

  // cases are far fewer than 2^20: each takes a plan, at least
  static constexpr i64 kMostCases = i64{1} << 20;

  i64 unit() const { return (seed * kMostCases + first) * kMostCases + count; }
  static Group of(i64 unit) {
    return {unit / kMostCases / kMostCases, unit / kMostCases % kMostCases, unit % kMostCases};
  }
  std::string words(const std::vector<u64>& seeds) const {
    const std::string which =
        count == 1 ? text("episode ", first) : text("episodes ", first, " to ", first + count - 1);
    return text(which, " of seed ", seeds[static_cast<std::size_t>(seed)]);
  }
};

std::vector<i64> units_of(const SharedEvaluation& evaluation) {
  check(evaluation.episodes < Group::kMostCases, evaluation.episodes, " episodes a seed, at most ",
        Group::kMostCases - 1, " are possible");
  const i64 size = evaluation.group();
  check(size >= 1, "evaluation: groups of ", size, " cases");
  std::vector<i64> units;
  for (std::size_t s = 0; s < evaluation.seeds.size(); ++s) {
    Group group = {static_cast<i64>(s), 0, 0};
    const auto close = [&] {
      if (group.count > 0) units.push_back(group.unit());
      group.count = 0;
    };
    for (i64 index = 0; index < evaluation.episodes; ++index) {
      // groups begin at multiples of their size, as on one process
      if (index % size == 0) close();
      if (evaluation.known(evaluation.seeds[s], index)) {
        close();
      } else {
        if (group.count == 0) group.first = index;
        ++group.count;
      }
    }
    close();
  }
  return units;
}

json json_from_image(const Image& image) {
  return {{"height", image.height}, {"width", image.width}, {"rgb", json::binary(image.rgb)}};
}

Image image_from_json(const json& value) {
  check(value.is_object() && value.contains("height") && value.contains("width") &&
            value.contains("rgb") && value.at("height").is_number_integer() &&
            value.at("width").is_number_integer() && value.at("rgb").is_binary(),
        kFrom, " hold something else than a picture");
  Image image{value.at("height").get<i64>(), value.at("width").get<i64>(),
              value.at("rgb").get_binary()};
  constexpr i64 most = 1 << 14;
  check(image.height >= 0 && image.height <= most && image.width >= 0 && image.width <= most &&
            static_cast<i64>(image.rgb.size()) == image.height * image.width * 3,
        kFrom, ": a picture of ", image.height, " x ", image.width, " has ", image.rgb.size(),
        " bytes");
  return image;
}

}  // namespace

std::string packed_records(const std::vector<EpisodeRecord>& records) {
  json all = json::array();
  for (const EpisodeRecord& record : records) {
    json one = json_from_record(record);
    json film = json::array();
    for (const Image& frame : record.film) film.push_back(json_from_image(frame));
    one["film"] = std::move(film);
    one["goal"] = json_from_image(record.goal);
    for (std::size_t p = 0; p < record.plans.size(); ++p) {
      one["plans"][p]["nearest"] = record.plans[p].nearest;
    }
    all.push_back(std::move(one));
  }
  std::string bytes;
  json::to_cbor(all, bytes);
  return bytes;
}

std::vector<EpisodeRecord> records_from_packed(const std::string& bytes) {
  const json all = json::from_cbor(bytes, /*strict=*/true, /*allow_exceptions=*/false);
  check(all.is_array(), bytes.size(), " bytes from another rank are no records");
  std::vector<EpisodeRecord> records;
  for (const json& one : all) {
    EpisodeRecord record = record_from_json(one, kFrom);
    check(one.contains("film") && one.at("film").is_array() && one.contains("goal"), kFrom,
          " lack their pictures");
    for (const json& frame : one.at("film")) record.film.push_back(image_from_json(frame));
    record.goal = image_from_json(one.at("goal"));
    for (std::size_t p = 0; p < record.plans.size(); ++p) {
      const json& plan = one.at("plans")[p];
      check(plan.contains("nearest") && plan.at("nearest").is_array(), kFrom,
            " lack what plans imagined");
      for (const json& index : plan.at("nearest")) {
        check(index.is_number_integer(), kFrom, " imagined something else than frames");
        record.plans[p].nearest.push_back(index.get<i64>());
      }
    }
    records.push_back(std::move(record));
  }
  return records;
}

i64 group_for_ranks(i64 cases, int ranks, i64 most) {
  const i64 even = std::max<i64>(1, cases / (4 * ranks));
  return most == 0 ? even : std::min(even, most);
}

bool evaluate_shared(dist::World& world, const SharedEvaluation& evaluation) {
  dist::SharedWork work;
  work.silence_s = evaluation.silence_s;
  work.goes_on = evaluation.goes_on;
  work.start = [&evaluation]() -> dist::UnitWork {
    return [&evaluation, play = evaluation.start()](i64 unit, const dist::GoesOn& goes_on) {
      const Group group = Group::of(unit);
      return packed_records(play(evaluation.seeds[static_cast<std::size_t>(group.seed)],
                                 group.first, group.count, goes_on));
    };
  };
  work.units = [&evaluation] { return units_of(evaluation); };
  work.keep = [&evaluation](i64 unit, const std::string& bytes) {
    const Group group = Group::of(unit);
    std::vector<EpisodeRecord> records = records_from_packed(bytes);
    bool right = static_cast<i64>(records.size()) == group.count;
    for (std::size_t i = 0; right && i < records.size(); ++i) {
      right = records[i].index == group.first + static_cast<i64>(i);
    }
    check(right, kFrom, " are not of ", group.words(evaluation.seeds));
    evaluation.keep(evaluation.seeds[static_cast<std::size_t>(group.seed)], std::move(records));
  };
  work.tell = [&evaluation](const dist::RankFailure& failure) {
    evaluation.tell(dist::sentence_of(
        failure, failure.unit < 0 ? "" : Group::of(failure.unit).words(evaluation.seeds)));
  };
  return dist::share_out(world, work);
}

}  // namespace orrery
