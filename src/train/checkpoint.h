#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "train/step.h"

namespace orrery::train {

// Everything a run needs to go on as if it had not stopped, in one file that appears whole or not
// at all: parameters, running statistics, both moments, steps taken. All else is a function of the
// settings and the step. `fingerprint` tells the configuration and the data; a checkpoint of
// another one is refused.
void write_checkpoint(const std::filesystem::path& path, const std::string& fingerprint,
                      const lewm::Weights& weights, const Optimiser& optimiser);

// Fills weights and optimiser, both of the right configuration.
void read_checkpoint(const std::filesystem::path& path, const std::string& fingerprint,
                     lewm::Weights& weights, Optimiser& optimiser);

// What a value of JSON text hashes to, 16 hexadecimal digits (FNV-1a). exact
std::string fingerprint_of(const std::string& text);

}  // namespace orrery::train
