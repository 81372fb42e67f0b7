#pragma once

#include <string>
#include <vector>

namespace orrery::cli {

// The rows of a NumPy file of numbers: one of a vector, several of a matrix. Error when it is
// something else, or a number is not finite.
std::vector<std::vector<float>> rows_of_npy(const std::string& path);

}  // namespace orrery::cli
