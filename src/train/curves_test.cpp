#include "train/curves.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <functional>
#include <regex>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/text.h"
#include "train/chart.h"

namespace orrery::train {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

class Curves : public testing::Test {
 protected:
  Curves() : folder_(fs::temp_directory_path() / text("orrery-curves-", getpid())) {
    fs::create_directories(folder_);
  }
  ~Curves() override { fs::remove_all(folder_); }

  fs::path metrics(const std::string& contents) const {
    write_file(folder_ / "metrics.jsonl", contents);
    return folder_ / "metrics.jsonl";
  }
  std::string page(const std::vector<RunCurves>& runs, const CurvePage& options = {}) const {
    write_curve_page(folder_ / "page.html", runs, options);
    return read_file(folder_ / "page.html", 1 << 24);
  }

  fs::path folder_;
};

std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

// Every element is closed in order and no attribute is bare: what an XML reader asks for.
std::string first_fault(const std::string& page) {
  static const std::regex tag(R"(<(/?)([a-zA-Z0-9]+)((?:\s+[a-zA-Z0-9-]+="[^"<]*")*)\s*(/?)>)");
  std::vector<std::string> open;
  std::size_t at = page.find("<html");
  while ((at = page.find('<', at)) != std::string::npos) {
    std::smatch match;
    const std::size_t end = page.find('>', at);
    // without what is quoted, up to its first <: std::regex goes as deep as a text is long
    std::string element;
    bool quoted = false;
    for (const char c : page.substr(at, end - at + 1)) {
      if (c == '"') quoted = !quoted;
      if (!quoted || c == '"' || c == '<') element += c;
    }
    if (!std::regex_match(element, match, tag)) return "malformed: " + element.substr(0, 80);
    if (match[4] != "/") {
      if (match[1] == "/") {
        if (open.empty() || open.back() != match[2]) return "not open: " + element;
        open.pop_back();
      } else {
        open.push_back(match[2]);
      }
    }
    at = end;
  }
  return open.empty() ? "" : "not closed: " + open.back();
}

constexpr const char* kSmall =
    "{\"step\":1,\"total\":4.0,\"lr\":0.0,\"seconds\":2.0,\"prediction\":null}\n"
    "{\"step\":2,\"total\":3.0,\"lr\":0.1,\"seconds\":5.0}\n"
    "{\"step\":2,\"validation\":{\"total\":3.5,\"success_rate\":0.25}}\n"
    "{\"step\":3,\"tot";

TEST_F(Curves, AreTheNumbersOfTheFile) {
  const RunCurves run = read_curves(metrics(kSmall));
  ASSERT_EQ(run.measures.size(), 4u);
  const auto& total = run.measures.at("total");
  ASSERT_EQ(total.size(), 2u);
  EXPECT_EQ(total[1].step, 2);
  EXPECT_EQ(total[1].seconds, 5.0);
  EXPECT_EQ(total[1].value, 3.0);
  EXPECT_EQ(run.measures.at("validation.success_rate")[0].seconds, 5.0);
  EXPECT_EQ(run.measures.at("validation.success_rate")[0].value, 0.25);
  EXPECT_EQ(run.steps, 2);
  // by the folder, with a name
  EXPECT_EQ(read_curves(folder_, "mine").name, "mine");
  EXPECT_THAT(message_of([&] { read_curves(metrics("{}\n[1]\nno\n")); }),
              HasSubstr("has no line with a number `step`"));
  EXPECT_THAT(message_of([&] { read_curves(folder_ / "none"); }), HasSubstr("none"));
}

TEST_F(Curves, ThePageIsWellFormedAndHasEveryPoint) {
  const RunCurves run = read_curves(metrics(kSmall), "a <run> & \"more\"");
  const std::string html = page({run}, {.refresh_s = 15});
  EXPECT_EQ(first_fault(html), "");
  EXPECT_THAT(html, HasSubstr("<meta http-equiv=\"refresh\" content=\"15\"/>"));
  EXPECT_THAT(html, HasSubstr("a &lt;run&gt; &amp; &quot;more&quot;"));
  for (const char* point : {"<title>1: 4</title>", "<title>2: 3</title>", "<title>2: 3.5</title>",
                            "<title>2: 0.25</title>", "<title>2: 0.1</title>"}) {
    EXPECT_THAT(html, HasSubstr(point));
  }
  // success comes first, and training and held out share a chart
  EXPECT_LT(html.find("<b>success_rate</b>"), html.find("<b>total</b>"));
  EXPECT_EQ(html.find("<b>total</b>"), html.rfind("<b>total</b>"));
  EXPECT_THAT(html, Not(HasSubstr("http://")));
  EXPECT_THAT(page({run}), Not(HasSubstr("refresh")));
  EXPECT_THAT(page({run}, {.by_seconds = true}), HasSubstr("<title>5: 3</title>"));
}

TEST_F(Curves, ManyPointsBecomeMeansWithABand) {
  RunCurves run{.name = "long", .measures = {}, .steps = 4000};
  for (int i = 1; i <= 4000; ++i) {
    run.measures["total"].push_back({static_cast<double>(i), 0, i % 2 == 0 ? 1.0 : 3.0});
  }
  const std::string html = page({run});
  EXPECT_EQ(first_fault(html), "");
  EXPECT_THAT(html, HasSubstr("class=\"band c0\""));
  // 400 parts of ten points each: every mean is 2, in the middle of the drawing from 10 to 200
  const std::size_t line = html.find("class=\"line c0\" d=\"");
  const std::string path = html.substr(line, html.find("\"/>", line) - line);
  EXPECT_EQ(std::count(path.begin(), path.end(), 'L'), 399);
  EXPECT_EQ(path.find(" 105.00L"), path.find(' ', path.find('M')));
}

TEST_F(Curves, SeveralRunsAreToldApartByColour) {
  RunCurves first{.name = "first", .measures = {{"total", {{1, 1, 2.0}, {2, 2, 1.0}}}}, .steps = 2};
  RunCurves second{
      .name = "second", .measures = {{"total", {{1, 1, 5.0}, {2, 2, 4.0}}}}, .steps = 2};
  const std::string html = page({first, second});
  EXPECT_EQ(first_fault(html), "");
  EXPECT_THAT(html, HasSubstr("<span class=\"key c0\"></span> first"));
  EXPECT_THAT(html, HasSubstr("<span class=\"key c1\"></span> second"));
  EXPECT_THAT(html, HasSubstr("class=\"line c1\""));
  // a run keeps its colour where it is alone
  second.measures["sigreg"] = {{1, 1, 3.0}};
  const std::string more = page({first, second});
  EXPECT_THAT(more.substr(more.find("<b>sigreg</b>")), HasSubstr("<span class=\"key c1\"></span>"));
  EXPECT_THAT(more.substr(more.find("<b>sigreg</b>")), Not(HasSubstr("key c0")));
  EXPECT_THAT(message_of([&] { page({}); }), HasSubstr("no run"));
}

TEST_F(Curves, NumberedMeasuresShareAChart) {
  RunCurves run{.name = "numbered", .measures = {}, .steps = 1};
  for (const char* name : {"validation.horizon_1", "validation.horizon_2", "horizon_1_still"}) {
    run.measures[name] = {{1, 1, 2.0}};
  }
  const std::string html = page({run});
  EXPECT_THAT(html, HasSubstr("<b>horizon</b>"));
  // held out all of them: told once
  EXPECT_THAT(html, HasSubstr("<b>horizon</b><span>held out</span>"));
  EXPECT_THAT(html, Not(HasSubstr("horizon_2, held out")));
  EXPECT_THAT(html, HasSubstr("<b>horizon_still</b>"));
  EXPECT_THAT(html, Not(HasSubstr("<b>horizon_1")));
}

TEST(Charts, ChooseTheScaleByTheValues) {
  bool logarithmic = true;
  Chart chart{.title = "t", .x_label = "x", .lines = {{.x = {1, 2}, .y = {1, 40}}}};
  svg_of(chart, &logarithmic);
  EXPECT_FALSE(logarithmic);
  chart.lines[0].y = {1, 60};
  svg_of(chart, &logarithmic);
  EXPECT_TRUE(logarithmic);
  chart.lines[0].y = {0, 60};
  svg_of(chart, &logarithmic);
  EXPECT_FALSE(logarithmic);
  chart.lines[0].y = {1, 60};
  chart.linear = true;
  svg_of(chart, &logarithmic);
  EXPECT_FALSE(logarithmic);
  chart.linear = false;
  chart.range = {0, 100};
  const std::string percent = svg_of(chart, &logarithmic);
  EXPECT_FALSE(logarithmic);
  EXPECT_THAT(percent, HasSubstr(">100</text>"));
  chart.range.reset();
  // one point, and none
  chart.lines[0] = {.x = {3}, .y = {7}};
  EXPECT_THAT(svg_of(chart), HasSubstr("<title>3: 7</title>"));
  chart.lines[0] = {};
  EXPECT_EQ(svg_of(chart), "");
  EXPECT_EQ(short_number(139330), "139.3k");
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(-0.00125), "-0.00125");
}

TEST(Charts, EndsAreToldAndDoNotOverlap) {
  Chart chart{.title = "t", .x_label = "x", .lines = {}};
  for (const double last : {5.0, 5.01, 5.02, 0.0}) {
    chart.lines.push_back({.x = {0, 10}, .y = {1, last}});
  }
  const std::string svg = svg_of(chart);
  std::vector<double> heights;
  for (std::size_t at = svg.find("class=\"end"); at != std::string::npos;
       at = svg.find("class=\"end", at + 1)) {
    heights.push_back(std::stod(svg.substr(svg.find("y=\"", at) + 3)));
  }
  ASSERT_EQ(heights.size(), 4u);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_GE(heights[i] - heights[i - 1], 11.0 - 0.01) << i;
  for (const char* number : {">5</text>", ">5.01</text>", ">5.02</text>", ">0</text>"}) {
    EXPECT_THAT(svg, HasSubstr(number));
  }
}

}  // namespace
}  // namespace orrery::train
