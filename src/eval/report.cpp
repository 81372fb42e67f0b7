#include "eval/report.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/atomic_file.h"
#include "eval/report_charts.h"
#include "eval/report_page.h"

namespace orrery {

namespace {

constexpr i64 kSheetColumns = 10;
constexpr int kFilmQuality = 78;  // JPEG: dots and walls stay clean at about 30 KB an episode

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

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

// pictures of one size beside and below each other, as one JPEG in a data URI
nlohmann::json sheet(std::span<const Image* const> tiles) {
  const i64 height = tiles.front()->height, width = tiles.front()->width;
  const i64 columns = std::min<i64>(kSheetColumns, static_cast<i64>(tiles.size()));
  const i64 rows = (static_cast<i64>(tiles.size()) + columns - 1) / columns;
  Image whole{rows * height, columns * width, {}};
  whole.rgb.assign(static_cast<std::size_t>(whole.height * whole.width * 3), 0);
  for (std::size_t i = 0; i < tiles.size(); ++i) {
    const i64 top = static_cast<i64>(i) / columns * height,
              left = static_cast<i64>(i) % columns * width;
    for (i64 y = 0; y < height; ++y) {
      std::memcpy(&whole.view()(top + y, left, 0), &tiles[i]->view()(y, 0, 0),
                  static_cast<std::size_t>(width * 3));
    }
  }
  return {
      {"sprite", text("data:image/jpeg;base64,", base64(encode_jpeg(whole.view(), kFilmQuality)))},
      {"columns", columns},
      {"w", width},
      {"h", height}};
}

std::string rounded(double value, int digits) {
  std::ostringstream out;
  out.setf(std::ios::fixed);
  out.precision(digits);
  out << value;
  return out.str();
}

// what the films' script reads
nlohmann::json films_of(std::span<const Evaluation> evaluations) {
  nlohmann::json episodes = nlohmann::json::array(), galleries = nlohmann::json::array();
  for (std::size_t run = 0; run < evaluations.size(); ++run) {
    const Evaluation& evaluation = evaluations[run];
    // only the recorded frames that some plan is shown by
    std::map<i64, i64> place;
    std::vector<const Image*> shown;
    const auto place_of = [&](i64 frame) {
      const auto [at, added] = place.emplace(frame, static_cast<i64>(shown.size()));
      if (added) shown.push_back(&evaluation.gallery[static_cast<std::size_t>(frame)]);
      return at->second;
    };
    for (std::size_t e = 0; e < evaluation.episodes.size(); ++e) {
      const EpisodeRecord& episode = evaluation.episodes[e];
      if (episode.film.empty()) continue;
      std::vector<const Image*> tiles;
      for (const Image& frame : episode.film) tiles.push_back(&frame);
      tiles.push_back(&episode.goal);
      nlohmann::json node = sheet(tiles);
      node["run"] = run;
      node["name"] =
          evaluations.size() > 1 ? text(e + 1, " of seed ", evaluation.protocol.seed) : text(e + 1);
      node["frames"] = episode.film.size();
      node["success"] = episode.success;
      node["solved"] = episode.already_solved;
      node["from"] = rounded(episode.start_distance, 0);
      node["to"] = rounded(episode.final_distance, 0);
      node["plans"] = nlohmann::json::array();
      for (const PlanRecord& plan : episode.plans) {
        nlohmann::json nearest = nlohmann::json::array();
        for (const i64 frame : plan.nearest) nearest.push_back(place_of(frame));
        node["plans"].push_back(
            {{"step", plan.step}, {"cost", rounded(plan.cost, 2)}, {"nearest", nearest}});
      }
      episodes.push_back(std::move(node));
    }
    galleries.push_back(shown.empty()
                            ? nlohmann::json{{"sprite", ""}, {"columns", 1}, {"w", 1}, {"h", 1}}
                            : sheet(shown));
  }
  const i64 block = evaluations.empty() ? 1 : evaluations.front().protocol.plan.action_block;
  return {{"episodes", episodes}, {"galleries", galleries}, {"block", block}};
}

struct Totals {
  i64 episodes = 0, successes = 0, random = 0, solved = 0;
};

Totals totals_of(std::span<const Evaluation> evaluations) {
  Totals totals;
  for (const Evaluation& evaluation : evaluations) {
    totals.episodes += static_cast<i64>(evaluation.episodes.size());
    totals.successes += evaluation.successes();
    totals.random += evaluation.random_successes();
    totals.solved += evaluation.already_solved();
  }
  return totals;
}

std::string percent(double part, double whole) {
  return rounded(whole > 0 ? 100 * part / whole : 0, 0) + " %";
}

std::string headline(const Totals& totals) {
  const auto interval = wilson_interval(totals.successes, totals.episodes);
  return text("The model reached ", totals.successes, " of ", totals.episodes, " goals (",
              percent(static_cast<double>(totals.successes), static_cast<double>(totals.episodes)),
              ", 95 % interval ", rounded(100 * interval[0], 0), " to ",
              rounded(100 * interval[1], 0), "). A random policy reached ", totals.random, "; ",
              totals.solved, " starts already were at the goal.");
}

std::string introduction(const Evaluation& evaluation) {
  const Protocol& protocol = evaluation.protocol;
  return text(
      "<p>In each episode of <b>", escaped(evaluation.environment),
      "</b> the model is shown one picture of the present and one picture of the goal, recorded ",
      protocol.goal_offset, " steps later in the same episode. It has ", protocol.budget,
      " steps. It imagines the outcome of ", protocol.cem.samples, " action sequences of ",
      protocol.plan.horizon, " blocks (", protocol.plan.action_block,
      " steps each) at once, keeps the ", protocol.cem.elites,
      " that end nearest to the goal in its latent space, searches around them, ",
      protocol.cem.iterations, " times over, carries out ", protocol.plan.receding_horizon,
      " blocks and plans again. The random policy starts from the same places.</p>");
}

std::string table(std::span<const Evaluation> evaluations) {
  std::ostringstream out;
  out << "<table><thead><tr><th>seed<th>goals reached<th>95 % interval<th>random policy<th>already "
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
        << rounded(quantile(times, 0.99), 1) << " ms<td>" << evaluation.parameters << "<td>"
        << escaped(evaluation.model) << "<td>" << escaped(evaluation.data) << "</tr>";
  }
  out << "</tbody></table>";
  return out.str();
}

std::string figure(const std::string& drawing, const std::string& caption) {
  return drawing.empty()
             ? std::string()
             : text("<figure>", drawing, "<figcaption>", caption, "</figcaption></figure>");
}

std::string films_section(std::span<const Evaluation> evaluations) {
  const nlohmann::json films = films_of(evaluations);
  if (films.at("episodes").empty()) return {};
  // a script element ends at the first "</", so none may stand in the data; there, "<" may also be
  // written as a code
  std::string data;
  for (const char c : films.dump(-1, ' ', true)) {
    if (c == '<') {
      data += "\\u003c";
    } else {
      data += c;
    }
  }
  return text(
      "<h2>What the model saw and imagined</h2><p class=soft>Left the agent's view, in the "
      "middle the goal, on the right "
      "the recorded frame whose latent is nearest to what the model imagined for the end of the "
      "block being carried out. "
      "Click a film to pause it.</p><div class=controls><label>speed <input id=speed type=range "
      "min=2 max=30 value=10>"
      "</label><label><input type=radio name=show value=all checked> all</label><label><input "
      "type=radio name=show "
      "value=yes> reached</label><label><input type=radio name=show value=no> not "
      "reached</label></div>"
      "<div class=films id=films></div><script type=\"application/json\" id=\"films-data\">",
      data, "</script>");
}

}  // namespace

void write_report(const std::filesystem::path& path, std::span<const Evaluation> evaluations) {
  std::ostringstream page;
  page << "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport "
          "content=\"width=device-width, initial-scale=1\"><title>Orrery: evaluation</title><style>"
       << report::kStyle << "</style></head><body>";
  page << "<h1>" << headline(totals_of(evaluations)) << "</h1>";
  if (!evaluations.empty()) page << introduction(evaluations.front());
  page << table(evaluations) << "<div class=charts>"
       << figure(report::cost_chart(evaluations),
                 "The planner at work: each iteration fits the search to its best candidates, so "
                 "the cost falls; lines are "
                 "medians over all plans, bands hold the middle 80 %.")
       << figure(report::latency_chart(evaluations),
                 "How long a plan took, from pictures to actions, both pictures encoded.")
       << figure(report::surprise_chart(evaluations),
                 "Latent surprise: how far what came was from what had been imagined, by blocks "
                 "since the plan; small beside "
                 "the distance to the goal means that the imagination can be trusted.")
       << "</div>" << films_section(evaluations) << "<script>" << report::kScript
       << "</script></body></html>\n";
  write_file(path, page.str());
}

}  // namespace orrery
