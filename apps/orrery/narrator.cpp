#include "narrator.h"

#include <iomanip>
#include <ostream>
#include <sstream>

#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/error.h"
#include "train/curves.h"

namespace orrery::cli {

namespace {

// between two pages, and between two looks of a browser
constexpr double kPageEvery_s = 10;

}  // namespace

Narrator::Narrator(std::ostream& out, std::string run, std::string page)
    : out_(out), run_(std::move(run)), page_(std::move(page)) {
  stop_requested();  // from now on a request to end is heard after a step
  if (page_.empty()) return;
  check(!std::filesystem::is_directory(page_), "cannot write ", page_, ": it is a folder");
  AtomicFile{page_};  // made beside it and removed
}

void Narrator::began(i64 parameters, i64 first_step, i64 steps) {
  out_ << "model of " << parameters << " parameters, " << activation_bytes_ / 1000000
       << " MB of activations, ";
  if (device_bytes_ > 0) out_ << device_bytes_ / 1000000 << " MB on the device in all, ";
  out_ << "steps " << first_step << " to " << steps << std::endl;
  parameters_ = parameters;
  first_ = first_step;
  progress_.emplace("training", steps - first_step, "steps");
}

void Narrator::stepped(i64 step, double lr, const train::StepReport& report) {
  report_ = report;
  lr_ = lr;
  std::ostringstream note;
  note << std::fixed << std::setprecision(4) << "loss " << report.losses.total;
  for (const train::LossTerm& term : train::kLossTerms) {
    if (report.losses.*term.value == 0) continue;
    note << "  " << term.name << " " << report.losses.*term.value;
  }
  for (const train::NamedLoss& added : report.losses.added) {
    note << "  " << added.name << " " << added.value;
  }
  if (logged_) {
    note << std::setprecision(2) << "  rank " << spread_.effective_rank << "  std " << spread_.std;
  }
  progress_->update(step - first_, note.str());
}

void Narrator::logged(i64, const train::LatentSpread& spread, const train::Pace& pace) {
  spread_ = spread;
  pace_ = pace;
  logged_ = true;
  if (now_s() - page_written_s_ < kPageEvery_s) return;
  try {
    draw_page(static_cast<int>(kPageEvery_s));
  } catch (const Error& error) {
    if (!page_failed_) noticed(text(error.what(), "; training goes on without the page"));
    page_failed_ = true;
  }
}

void Narrator::measured(i64 step, const std::vector<train::Measure>& values) {
  out_ << "held out at step " << step << ":";
  const char* between = " ";
  for (const train::Measure& measure : values) {
    measures_[measure.name] = measure.value;
    out_ << between << measure.name << " " << std::setprecision(4) << measure.value;
    between = ", ";
  }
  out_ << std::endl;
}

void Narrator::noticed(const std::string& sentence) { out_ << sentence << std::endl; }

void Narrator::draw_last_page() { draw_page(0); }

void Narrator::draw_page(int refresh_s) {
  const auto metrics = std::filesystem::path(run_) / "metrics.jsonl";
  if (page_.empty() || std::filesystem::file_size(metrics) == 0) return;
  page_written_s_ = now_s();
  train::write_curve_page(page_, {train::read_curves(run_)}, {.refresh_s = refresh_s});
}

nlohmann::json Narrator::summary() const {
  nlohmann::json object = {{"parameters", parameters_}, {"activation_bytes", activation_bytes_}};
  if (device_bytes_ > 0) object["device_bytes"] = device_bytes_;
  if (!measures_.empty()) object["validation"] = measures_;
  if (!logged_) return object;
  object["lr"] = lr_;
  object["gradient_norm"] = report_.gradient_norm;
  object["total"] = report_.losses.total;
  for (const train::LossTerm& term : train::kLossTerms) {
    if (report_.losses.*term.value != 0) object[term.name] = report_.losses.*term.value;
  }
  object["latent_std"] = spread_.std;
  object["effective_rank"] = spread_.effective_rank;
  object["seconds"] = pace_.seconds;
  object["samples_per_s"] = pace_.samples_per_s;
  return object;
}

}  // namespace orrery::cli
