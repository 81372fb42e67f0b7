#pragma once

#include <iosfwd>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "progress.h"
#include "train/loop.h"

namespace orrery::cli {

// Tells a run's progress, keeps a page of its curves, and passes on a polite request to stop.
class Narrator : public train::Observer {
 public:
  // `run` names the folder of the run; `page` is written while it trains, unless it is empty. An
  // Error when a file cannot be made there.
  Narrator(std::ostream& out, std::string run, std::string page);

  void planned(std::size_t activation_bytes, std::size_t device_bytes) override {
    activation_bytes_ = activation_bytes;
    device_bytes_ = device_bytes;
  }
  void began(i64 parameters, i64 first_step, i64 steps) override;
  void stepped(i64 step, double lr, const train::StepReport& report) override;
  void logged(i64 step, const train::LatentSpread& spread, const train::Pace& pace) override;
  void measured(i64 step, const std::vector<train::Measure>& values) override;
  void noticed(const std::string& sentence) override;
  bool wants_to_stop() override { return stop_requested(); }

  // the line of progress ends
  void end_progress() { progress_.reset(); }
  // The page of a run that is over: it no longer renews itself. An Error when it cannot be written;
  // while the run is at work that is only told, once, for a run is worth more than its page.
  void draw_last_page();
  // the newest of everything that was told
  nlohmann::json summary() const;

 private:
  void draw_page(int refresh_s);

  std::ostream& out_;
  std::string run_, page_;
  std::optional<Progress> progress_;
  std::size_t activation_bytes_ = 0, device_bytes_ = 0;
  i64 parameters_ = 0, first_ = 0;
  double lr_ = 0, page_written_s_ = 0;
  train::StepReport report_;
  train::LatentSpread spread_;
  train::Pace pace_;
  bool logged_ = false, page_failed_ = false;
  std::map<std::string, double> measures_;
};

}  // namespace orrery::cli
