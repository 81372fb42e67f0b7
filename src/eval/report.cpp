#include "eval/report.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/atomic_file.h"
#include "base/markup.h"
#include "eval/report_charts.h"
#include "eval/report_page.h"
#include "eval/seeds.h"
#include "media/resize.h"

namespace orrery {

namespace {

constexpr i64 kSheetColumns = 10;
// sides that films are reduced to, multiples of JPEG's blocks of 16 so that tiles do not run into
// each other; the first at which all films fit in kFilmBytes is taken, else the last
constexpr i64 kFilmSides[] = {112, 96, 80, 64, 48};
constexpr std::size_t kFilmBytes = 11u << 20;  // a page of 12 MB still opens at once
constexpr int kFilmQuality = 78;  // JPEG: dots and walls stay clean at about 30 KB an episode

std::string base64(std::span<const u8> bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result;
  result.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = std::min<std::size_t>(3, bytes.size() - i);
    u32 group = u32{bytes[i]} << 16;
    if (left > 1) group |= u32{bytes[i + 1]} << 8;
    if (left > 2) group |= u32{bytes[i + 2]};
    for (std::size_t digit = 0; digit < 4; ++digit) {
      result += digit <= left ? kDigits[(group >> (18 - 6 * digit)) & 63] : '=';
    }
  }
  return result;
}

bool has_pixels(const Image& image) {
  return image.height > 0 && image.width > 0 &&
         image.rgb.size() == static_cast<std::size_t>(image.height * image.width * 3);
}

struct Size {
  i64 height = 0, width = 0;
};

// the picture's size, reduced in proportion until no side is longer than `side`
Size reduced(const Image& image, i64 side) {
  const i64 longest = std::max({image.height, image.width, side});
  return {std::max<i64>(1, image.height * side / longest),
          std::max<i64>(1, image.width * side / longest)};
}

// pictures beside and below each other, each resized to a tile, as one JPEG in a data URI
nlohmann::json sheet(std::span<const Image* const> pictures, Size tile) {
  const i64 count = static_cast<i64>(pictures.size());
  const i64 columns = std::min(kSheetColumns, count);
  const i64 rows = (count + columns - 1) / columns;
  Image whole{rows * tile.height, columns * tile.width, {}};
  whole.rgb.assign(static_cast<std::size_t>(whole.height * whole.width * 3), 0);
  for (i64 i = 0; i < count; ++i) {
    const i64 top = i / columns * tile.height, left = i % columns * tile.width;
    const Image small{
        tile.height, tile.width,
        resize_bilinear_u8(pictures[static_cast<std::size_t>(i)]->view(), tile.height, tile.width)};
    for (i64 y = 0; y < tile.height; ++y) {
      std::memcpy(&whole.view()(top + y, left, 0), &small.view()(y, 0, 0),
                  static_cast<std::size_t>(tile.width * 3));
    }
  }
  return {
      {"sprite", text("data:image/jpeg;base64,", base64(encode_jpeg(whole.view(), kFilmQuality)))},
      {"columns", columns},
      {"w", tile.width},
      {"h", tile.height}};
}

std::string rounded(double value, int digits) {
  std::ostringstream out;
  out.setf(std::ios::fixed);
  out.precision(digits);
  out << value;
  return out.str();
}

// The recorded frames that some plan of a run is shown by, numbered as they come.
class ShownFrames {
 public:
  explicit ShownFrames(const Evaluation& run) : gallery_(run.gallery) {}

  // where frame `index` of the gallery stands on the sheet; -1 when the gallery has no such frame
  i64 place_of(i64 index) {
    if (index < 0 || index >= static_cast<i64>(gallery_.size())) return -1;
    const Image& frame = gallery_[static_cast<std::size_t>(index)];
    if (!has_pixels(frame)) return -1;
    const auto [at, added] = place_.emplace(index, static_cast<i64>(frames_.size()));
    if (added) frames_.push_back(&frame);
    return at->second;
  }

  nlohmann::json sheet_of(i64 side) const {
    if (frames_.empty()) return {{"sprite", ""}, {"columns", 1}, {"w", 1}, {"h", 1}};
    return sheet(frames_, reduced(*frames_.front(), side));
  }

 private:
  const std::vector<Image>& gallery_;
  std::map<i64, i64> place_;
  std::vector<const Image*> frames_;
};

// film and goal on one sheet, and what the caption says
nlohmann::json film_of(const EpisodeRecord& episode, i64 side) {
  std::vector<const Image*> pictures;
  for (const Image& frame : episode.film) {
    check(has_pixels(frame) && frame.height == episode.film.front().height &&
              frame.width == episode.film.front().width,
          "report: frame ", pictures.size(), " of a film is ", frame.height, " x ", frame.width,
          " with ", frame.rgb.size(), " bytes, the first is ", episode.film.front().height, " x ",
          episode.film.front().width, "; all must be whole and of one size");
    pictures.push_back(&frame);
  }
  const bool goal = has_pixels(episode.goal);
  if (goal) pictures.push_back(&episode.goal);
  nlohmann::json node = sheet(pictures, reduced(episode.film.front(), side));
  node["frames"] = episode.film.size();
  node["goal"] = goal ? static_cast<i64>(episode.film.size()) : -1;
  node["success"] = episode.success;
  node["solved"] = episode.already_solved;
  node["random"] = episode.random_success;
  node["distances"] = nlohmann::json::array();
  for (const double distance : episode.distances) {
    node["distances"].push_back(static_cast<i64>(std::lround(distance)));
  }
  return node;
}

// what the films' script reads: failures first, otherwise in their order
nlohmann::json films_of(std::span<const Evaluation> evaluations, i64 side) {
  nlohmann::json failed = nlohmann::json::array(), reached = nlohmann::json::array(),
                 galleries = nlohmann::json::array();
  for (std::size_t run = 0; run < evaluations.size(); ++run) {
    const Evaluation& evaluation = evaluations[run];
    ShownFrames shown(evaluation);
    for (std::size_t e = 0; e < evaluation.episodes.size(); ++e) {
      const EpisodeRecord& episode = evaluation.episodes[e];
      if (episode.film.empty()) continue;
      nlohmann::json node = film_of(episode, side);
      node["run"] = run;
      node["name"] =
          evaluations.size() > 1 ? text(e + 1, " of seed ", evaluation.protocol.seed) : text(e + 1);
      node["block"] = evaluation.protocol.plan.action_block;
      node["plans"] = nlohmann::json::array();
      for (const PlanRecord& plan : episode.plans) {
        nlohmann::json nearest = nlohmann::json::array();
        for (const i64 frame : plan.nearest) nearest.push_back(shown.place_of(frame));
        node["plans"].push_back(
            {{"step", plan.step}, {"cost", rounded(plan.cost, 2)}, {"nearest", nearest}});
      }
      (episode.success ? reached : failed).push_back(std::move(node));
    }
    galleries.push_back(shown.sheet_of(side));
  }
  for (nlohmann::json& node : reached) failed.push_back(std::move(node));
  return {{"episodes", failed}, {"galleries", galleries}};
}

// The films as JSON that may stand inside a script element; empty without films. There "<" is
// written as a code, for the element would end at the first "</".
std::string films_data(std::span<const Evaluation> evaluations) {
  std::string data;
  for (const i64 side : kFilmSides) {
    const nlohmann::json films = films_of(evaluations, side);
    if (films.at("episodes").empty()) return {};
    data.clear();
    for (const char c : films.dump(-1, ' ', true)) {
      if (c == '<') {
        data += "\\u003c";
      } else {
        data += c;
      }
    }
    if (data.size() <= kFilmBytes) break;
  }
  return data;
}

std::string percent(double part, double whole) {
  return rounded(whole > 0 ? 100 * part / whole : 0, 0) + " %";
}

std::string grouped(i64 value) {
  std::string digits = std::to_string(value);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

std::string headline(const SeedSummary& totals) {
  if (totals.episodes == 0) return "No episode was run.";
  return text("The model reached ", totals.successes, " of ", totals.episodes, " goals (",
              percent(static_cast<double>(totals.successes), static_cast<double>(totals.episodes)),
              ", 95 % interval ", rounded(totals.ci95[0], 0), " to ", rounded(totals.ci95[1], 0),
              "). A random policy reached ", totals.random_successes, "; ", totals.already_solved,
              totals.already_solved == 1 ? " start was at the goal already."
                                         : " starts were at the goal already.");
}

// how far the seeds are apart; nothing to say of one
std::string spread(std::span<const Evaluation> evaluations, const SeedSummary& totals) {
  if (evaluations.size() < 2) return {};
  return text("<p>Over ", evaluations.size(), " seeds the success rate is ",
              rounded(totals.mean, 1), " &plusmn; ", rounded(totals.std, 1),
              " % (mean and standard deviation), from ", rounded(totals.lowest, 0), " to ",
              rounded(totals.highest, 0), " %.</p>");
}

// where the evaluation is stricter than the published one, or looks further back
std::string departures(const Protocol& protocol) {
  std::string said;
  if (protocol.criterion.kind == Criterion::Kind::held) {
    said += text(" A goal counts only when it is held for ", protocol.criterion.hold_steps,
                 " steps in a row, a block within ", rounded(protocol.criterion.degrees, 0),
                 " degrees of the goal's angle.");
  }
  if (protocol.drop_solved) said += " Starts that were at their goal were replaced by others.";
  if (protocol.plan.history_len > 1) {
    said += text(" Plans look back on up to ", protocol.plan.history_len,
                 " pictures and the actions between them.");
  }
  return said;
}

std::string introduction(const Evaluation& evaluation) {
  const Protocol& protocol = evaluation.protocol;
  return text(
      "<p>In each episode of <b>", escaped(evaluation.environment),
      "</b> the model is shown one picture of the present and one picture of the goal, recorded ",
      protocol.goal_offset, " steps later in the same episode. It has ", protocol.budget,
      " steps. It imagines the outcome of ", protocol.planner.samples, " action sequences of ",
      protocol.plan.horizon, " blocks (", protocol.plan.action_block,
      " steps each) at once, keeps the ", protocol.planner.elites,
      " that end nearest to the goal in its latent space, searches around them, ",
      protocol.planner.iterations, " times over, carries out ", protocol.plan.receding_horizon,
      " blocks and plans again. The random policy starts from the same places.",
      departures(protocol), "</p>");
}

std::string table(std::span<const Evaluation> evaluations) {
  std::ostringstream out;
  out << "<div class=wide><table><thead><tr><th>seed<th>goals reached<th>95 % interval<th>random "
         "policy<th>already "
         "there<th>plan, median"
         "<th>plan, p99<th>parameters<th>model<th>starts from</tr></thead><tbody>";
  for (const Evaluation& evaluation : evaluations) {
    const auto times = evaluation.plan_times_ms();
    const auto ci = evaluation.ci95();
    out << "<tr><td>" << evaluation.protocol.seed << "<td>" << evaluation.successes() << " of "
        << evaluation.episodes.size() << " (" << rounded(evaluation.success_rate(), 0) << " %)<td>"
        << rounded(ci[0], 0) << " to " << rounded(ci[1], 0) << " %<td>"
        << rounded(evaluation.random_success_rate(), 0) << " %<td>" << evaluation.already_solved()
        << "<td>" << rounded(quantile(times, 0.5), 1) << " ms<td>"
        << rounded(quantile(times, 0.99), 1) << " ms<td>" << grouped(evaluation.parameters)
        << "<td>" << escaped(evaluation.model) << "<td>" << escaped(evaluation.data) << "</tr>";
  }
  out << "</tbody></table></div>";
  return out.str();
}

// every episode, folded away
std::string episodes_table(std::span<const Evaluation> evaluations) {
  std::ostringstream out;
  out << "<details><summary>Every episode</summary><div class=wide><table><thead><tr><th>seed"
         "<th>episode<th>row<th>success<th>steps<th>first reached<th>already there<th>random policy"
         "<th>distance, first<th>last<th>plan costs</tr></thead><tbody>";
  const auto yes = [](bool is) { return is ? "yes" : "no"; };
  for (const Evaluation& evaluation : evaluations) {
    for (std::size_t e = 0; e < evaluation.episodes.size(); ++e) {
      const EpisodeRecord& episode = evaluation.episodes[e];
      out << "<tr><td>" << evaluation.protocol.seed << "<td>" << e + 1 << "<td>"
          << episode.start.row << "<td>" << yes(episode.success) << "<td>" << episode.steps
          << "<td>" << (episode.reached_at < 0 ? "never" : text("step ", episode.reached_at))
          << "<td>" << yes(episode.already_solved) << "<td>" << yes(episode.random_success);
      for (const double distance : {episode.distances.empty() ? NAN : episode.distances.front(),
                                    episode.distances.empty() ? NAN : episode.distances.back()}) {
        out << "<td>" << (std::isfinite(distance) ? rounded(distance, 1) : "");
      }
      out << "<td>";
      for (const PlanRecord& plan : episode.plans) out << rounded(plan.cost, 2) << " ";
      out << "</tr>";
    }
  }
  out << "</tbody></table></div></details>";
  return out.str();
}

std::string figure(const std::string& drawing, const std::string& caption) {
  return drawing.empty()
             ? std::string()
             : text("<figure>", drawing, "<figcaption>", caption, "</figcaption></figure>");
}

std::string distance_figures(const DistanceCurve* curve) {
  if (curve == nullptr) return {};
  const DistanceCurve::Measure* measure = curve->main();
  const std::string ranks =
      measure == nullptr
          ? std::string()
          : text(" Rank correlation ", rounded(measure->within.rank_correlation, 2),
                 " within episodes, ", rounded(measure->across.rank_correlation, 2), " across.");
  return figure(report::distance_chart(*curve),
                text("What the planner's cost says of how far a goal is, over pairs of ",
                     grouped(curve->frames),
                     " recorded frames: where the curve is flat, the planner sees no slope. Lines "
                     "are means, bands hold the middle 80 %.",
                     ranks)) +
         figure(report::slope_chart(*curve),
                "The slope on the way: how often the next frame of a demonstration, a block of "
                "actions on, has a lower cost than the present one, for a goal two blocks away or "
                "more; and how often it is nearer.");
}

std::string films_section(std::span<const Evaluation> evaluations) {
  const std::string data = films_data(evaluations);
  if (data.empty()) return {};
  return text(
      "<h2>What the model saw and imagined</h2><p class=soft>Left the agent's view, in the middle "
      "the goal. The model imagines latents, not pictures, so on the right stands the recorded "
      "frame whose latent is nearest to what it expects at the end of the block of actions being "
      "carried out: a moment later the left should look like it. Episodes that failed come first. "
      "Click a film, or press space on it, to pause and go on.</p>"
      "<noscript><p>The films need JavaScript; nothing is loaded from elsewhere.</p></noscript>"
      "<div class=controls><label>speed <input id=speed type=range min=2 max=30 value=10></label>"
      "<label><input type=radio name=show value=all checked> all</label>"
      "<label><input type=radio name=show value=yes> reached</label>"
      "<label><input type=radio name=show value=no> not reached</label></div>"
      "<div class=films id=films></div><script type=\"application/json\" id=\"films-data\">",
      data, "</script>");
}

}  // namespace

void write_report(const std::filesystem::path& path, std::span<const Evaluation> evaluations,
                  const DistanceCurve* curve) {
  std::ostringstream page;
  page << "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport "
          "content=\"width=device-width, initial-scale=1\"><title>Orrery: evaluation</title><style>"
       << report::kStyle << "</style></head><body>";
  const SeedSummary totals = summary_of_seeds(evaluations);
  page << "<h1>" << headline(totals) << "</h1>" << spread(evaluations, totals);
  if (!evaluations.empty()) page << introduction(evaluations.front());
  page << table(evaluations) << episodes_table(evaluations) << "<div class=charts>"
       << figure(report::cost_chart(evaluations),
                 "The planner at work: each iteration fits the search to its best candidates, so "
                 "the cost falls; lines are "
                 "medians over all plans, bands hold the middle 80 %.")
       << figure(report::latency_chart(evaluations),
                 "How long a plan took, from pictures to actions, both pictures encoded: each bar "
                 "counts "
                 "the plans that took so long; 1 in 100 took longer than p99.")
       << figure(report::surprise_chart(evaluations),
                 "Latent surprise: how far what came was from what had been imagined, by blocks "
                 "since the plan; small beside "
                 "the distance to the goal means that the imagination can be trusted. Late blocks "
                 "are of episodes that had not reached their goal by then, the harder ones.")
       << figure(report::start_distance_chart(evaluations),
                 "Goals by their distance at the start: as many episodes in each place, the band "
                 "holds the true share in 95 of 100 such evaluations.")
       << distance_figures(curve) << "</div>" << films_section(evaluations) << "<script>"
       << report::kScript << "</script></body></html>\n";
  write_file(path, page.str());
}

}  // namespace orrery
