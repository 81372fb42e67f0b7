#pragma once

#include <CLI/CLI.hpp>

#include <string>

#include "device/context.h"
#include "ops/precision.h"
#include "orrery/orrery.h"

namespace orrery::cli {

// The options that say where a model works and how exactly, the same for every verb that runs one:
// --device (or --backend), --precision, --threads.
class DeviceOptions {
 public:
  void add_to(CLI::App& verb);

  // After the command line was read. `auto` is decided here, once; when it falls back to the CPU,
  // stderr is told why, and the precision is f32, which is all that a CPU knows. A device that is
  // asked for by name is used or is an error.
  const ModelOptions& chosen();
  Context::Options context();
  Precision precision();

 private:
  ModelOptions options_;
  bool decided_ = false;
};

// Ranks of one machine spread over its devices: "cuda", and "auto" where a device can be used, with
// the number that this process has by its place among them; anything else as it came. `reason`,
// when given, says why "auto" took none (empty when it did).
DeviceChoice device_of_rank(const std::string& name, std::string* reason = nullptr);

}  // namespace orrery::cli
