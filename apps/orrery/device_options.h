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

}  // namespace orrery::cli
