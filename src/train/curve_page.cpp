#include <algorithm>
#include <set>
#include <sstream>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/markup.h"
#include "base/text.h"
#include "train/chart.h"
#include "train/curves.h"

namespace orrery::train {

namespace {

constexpr std::size_t kMostPoints = 400;
const std::string kHeldOut = "validation.";

constexpr const char* kStyle = R"css(
:root { color-scheme: light dark; --ink: #1c2330; --paper: #fbfaf7; --soft: #5d6675; --rule: #d9d6cc; --card: #ffffff;
  --c0: #2f6fb0; --c1: #c8702a; --c2: #2c8a57; --c3: #b8403a; --c4: #7a52b3; --c5: #8a6d1f; --c6: #1f8a8a; --c7: #b04a86 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --paper: #14171c; --soft: #9aa3b1; --rule: #2d333d;
  --card: #1b2027; --c0: #6fb0f0; --c1: #f0a566; --c2: #5fc98d; --c3: #f0827b; --c4: #b79af0; --c5: #d9bb62;
  --c6: #66d0d0; --c7: #f08cc4 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1400px; padding: 1.6rem 1.2rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; margin: 0 0 .3rem } .soft { color: var(--soft) } p { margin: .3rem 0 }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); gap: 1rem; margin: 1rem 0 }
figure { display: flex; flex-direction: column; justify-content: space-between; margin: 0; padding: .7rem .8rem; background: var(--card); border: 1px solid var(--rule); border-radius: 8px }
figcaption { font-size: .86rem; color: var(--soft); display: flex; flex-wrap: wrap; gap: .1rem 1rem }
figcaption b { color: var(--ink); font-weight: 600 }
svg { width: 100%; height: auto } svg text { fill: var(--soft); font: 11px system-ui, sans-serif }
svg .end { font-weight: 600; paint-order: stroke; stroke: var(--card); stroke-width: 3px }
.grid { stroke: var(--rule) } .axis { stroke: var(--soft) } .line { fill: none; stroke-width: 1.8 } .dashed { stroke-dasharray: 5 4 }
.band { opacity: .15; stroke: none } .key { display: inline-block; width: 1.3rem; border-top: 3px solid; vertical-align: middle }
.key.dashed { border-top-style: dashed }
)css";

// colours c0 to c7 for everything that has one
std::string colours() {
  std::ostringstream out;
  for (int i = 0; i < 8; ++i) {
    out << ".line.c" << i << " { stroke: var(--c" << i << ") } .band.c" << i << ", .dot.c" << i
        << ", svg .end.c" << i << " { fill: var(--c" << i << ") } .key.c" << i
        << " { border-color: var(--c" << i << ") }\n";
  }
  out << "table { border-collapse: collapse; font-variant-numeric: tabular-nums } .wide { "
         "overflow-x: auto }\nth, td { padding: .2rem 1rem .2rem 0; text-align: left; "
         "border-bottom: 1px solid var(--rule) } th { color: var(--soft); font-weight: 500 }\n";
  return out.str();
}

// Means of equal parts, with the least and the greatest value of each.
ChartLine line_of(const std::vector<CurvePoint>& points, bool by_seconds) {
  ChartLine line;
  const std::size_t parts = std::min(points.size(), kMostPoints);
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t begin = points.size() * part / parts;
    const std::size_t end = points.size() * (part + 1) / parts;
    double x = 0, y = 0, low = points[begin].value, high = low;
    for (std::size_t i = begin; i < end; ++i) {
      const auto share = static_cast<double>(i - begin + 1);
      x += ((by_seconds ? points[i].seconds : points[i].step) - x) / share;
      y += (points[i].value - y) / share;
      low = std::min(low, points[i].value);
      high = std::max(high, points[i].value);
    }
    line.x.push_back(x);
    line.y.push_back(y);
    if (parts < points.size()) {
      line.low.push_back(low);
      line.high.push_back(high);
    }
  }
  return line;
}

// "validation.horizon_3_unchanged" -> "horizon_unchanged": measures that are numbered, or held out,
// share a chart
std::string chart_of(const std::string& measure) {
  std::string rest = measure.rfind(kHeldOut, 0) == 0 ? measure.substr(kHeldOut.size()) : measure;
  std::istringstream words(rest);
  std::string name;
  for (std::string word; std::getline(words, word, '_');) {
    if (word.find_first_not_of("0123456789") == std::string::npos) continue;
    name += text(name.empty() ? "" : "_", word);
  }
  return name.empty() ? rest : name;
}

// the order of charts: success, the loss and its terms, what the latent is like, the step itself
int rank_of(const std::string& chart) {
  if (chart.find("success") != std::string::npos) return 0;
  const char* const order[] = {"total",          "prediction",    "sigreg", "latent_std",
                               "effective_rank", "gradient_norm", "lr",     "samples_per_s"};
  int rank = 1;
  for (const char* name : order) {
    if (chart == name) return rank > 5 ? 100 + rank : rank;
    ++rank;
  }
  return 50;
}

// what a chart's numbers count, where its name does not tell
std::string unit_of(const std::string& chart) {
  if (chart == "success") return "<span>% of episodes</span>";
  if (chart == "samples_per_s") return "<span>windows a second</span>";
  return {};
}

struct Drawn {
  std::size_t run;
  std::string measure;
  const std::vector<CurvePoint>* points;
};

struct Figure {
  std::string name;
  std::vector<Drawn> curves;
};

std::vector<Figure> figures_of(const std::vector<RunCurves>& runs) {
  std::map<std::pair<int, std::string>, Figure> figures;
  for (std::size_t run = 0; run < runs.size(); ++run) {
    for (const auto& [measure, points] : runs[run].measures) {
      const std::string name = chart_of(measure);
      Figure& figure = figures[{rank_of(name), name}];
      figure.name = name;
      figure.curves.push_back({run, measure, &points});
    }
  }
  std::vector<Figure> result;
  for (auto& [order, figure] : figures) result.push_back(std::move(figure));
  return result;
}

void add_figure(std::ostringstream& out, const std::vector<RunCurves>& runs, const Figure& figure,
                const CurvePage& options) {
  Chart chart;
  chart.title = figure.name;
  chart.x_label = options.by_seconds ? "seconds of training" : "step";
  // a rate that falls to 0 would show its last steps alone
  chart.linear = figure.name == "lr";
  if (figure.name == "success") chart.range = {0, 100};
  std::set<std::string> measures;
  bool all_held_out = true;
  for (const Drawn& curve : figure.curves) {
    measures.insert(curve.measure);
    all_held_out = all_held_out && curve.measure.rfind(kHeldOut, 0) == 0;
  }
  // one run: colours tell numbered measures apart; several: they tell runs apart
  std::map<std::string, int> colours;
  std::ostringstream legend;
  for (const Drawn& curve : figure.curves) {
    const bool held_out = curve.measure.rfind(kHeldOut, 0) == 0;
    const std::string plain = held_out ? curve.measure.substr(kHeldOut.size()) : curve.measure;
    const int colour = runs.size() > 1
                           ? static_cast<int>(curve.run)
                           : colours.emplace(plain, static_cast<int>(colours.size())).first->second;
    ChartLine line = line_of(*curve.points, options.by_seconds);
    line.colour = colour;
    line.dashed = held_out;
    chart.lines.push_back(std::move(line));
    std::string what = runs.size() > 1 ? runs[curve.run].name : std::string();
    if (plain != figure.name) what += text(what.empty() ? "" : ", ", plain);
    if (held_out && !all_held_out) what += what.empty() ? "held out" : ", held out";
    if (what.empty()) what = measures.size() > 1 ? "training" : "";
    if (what.empty()) continue;
    legend << "<span><span class=\"key c" << colour % 8 << (held_out ? " dashed" : "")
           << "\"></span> " << escaped(what) << "</span>";
  }
  bool logarithmic = false;
  const std::string drawing = svg_of(chart, &logarithmic);
  if (drawing.empty()) return;
  out << "<figure><figcaption><b>" << escaped(figure.name) << "</b>"
      << (all_held_out ? "<span>held out</span>" : "") << unit_of(figure.name)
      << (logarithmic ? "<span>logarithmic</span>" : "") << legend.str() << "</figcaption>"
      << drawing << "</figure>\n";
}

void add_table(std::ostringstream& out, const std::vector<RunCurves>& runs) {
  std::set<std::string> measures;
  for (const RunCurves& run : runs) {
    for (const auto& [measure, points] : run.measures) measures.insert(measure);
  }
  out << "<div class=\"wide\"><table><tr><th>newest</th>";
  for (const RunCurves& run : runs) out << "<th>" << escaped(run.name) << "</th>";
  out << "</tr>\n";
  for (const std::string& measure : measures) {
    out << "<tr><td>" << escaped(measure) << "</td>";
    for (const RunCurves& run : runs) {
      const auto at = run.measures.find(measure);
      out << "<td>" << (at == run.measures.end() ? "" : short_number(at->second.back().value))
          << "</td>";
    }
    out << "</tr>\n";
  }
  out << "</table></div>\n";
}

}  // namespace

void write_curve_page(const std::filesystem::path& path, const std::vector<RunCurves>& runs,
                      const CurvePage& options) {
  check(!runs.empty(), "cannot write ", path.string(), ": there is no run to show");
  std::ostringstream out;
  out << "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>";
  if (options.refresh_s > 0) {
    out << "<meta http-equiv=\"refresh\" content=\"" << options.refresh_s << "\"/>";
  }
  const std::string title = runs.size() == 1 ? runs[0].name : text(runs.size(), " runs");
  out << "<title>" << escaped(title) << "</title><style>" << kStyle << colours()
      << "</style></head><body>\n<h1>" << escaped(title) << "</h1>\n<p class=\"soft\">";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (runs.size() > 1) out << (i == 0 ? "" : "; ") << escaped(runs[i].name) << ": ";
    out << short_number(runs[i].steps) << " steps";
  }
  out << (options.refresh_s > 0 ? "; training, this page renews itself" : "")
      << "</p>\n<div class=\"charts\">\n";
  for (const Figure& figure : figures_of(runs)) add_figure(out, runs, figure, options);
  out << "</div>\n";
  add_table(out, runs);
  out << "</body></html>\n";
  write_file(path, out.str());
}

}  // namespace orrery::train
