#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace orrery {

// One factor of variation: a named group of numbers with a range, such as a colour or a radius.
struct Factor {
  std::string name;             // dotted: "agent.color"
  std::vector<double> initial;  // one number per component
  std::vector<double> low;      // of the same length, inclusive
  std::vector<double> high;     // inclusive
  bool integer = false;         // whole numbers only; otherwise float32 values
  bool drawn_by_default = false;
};

// How a reset chooses its factors.
struct ResetOptions {
  // factors to draw: their names, groups ("agent" is every agent.*), or "all"; empty: the
  // environment's default list
  std::vector<std::string> variation;
  // values given outright; each must be inside the factor's range and have its number of components
  std::map<std::string, std::vector<double>> values;
};

// The factors of one environment in their sampling order, and the values they have now. Formulas:
// every factor goes to its given value, else a draw when it is on the list, else its initial value,
// one after the other in order, so that a constraint may look at the factors before it. A draw that
// breaks a constraint is drawn again, 1000 times at most.
//
// A draw depends on (seed, factor, try) alone: leaving a factor out does not change the others.
// exact
class Variation {
 public:
  explicit Variation(std::vector<Factor> factors);
  virtual ~Variation() = default;

  void reset(u64 seed, const ResetOptions& options);

  std::span<const Factor> factors() const { return factors_; }
  // position of a factor in the order; an unknown name is an error that lists the known ones
  i64 index_of(std::string_view name) const;
  std::span<const double> value(i64 factor) const {
    return values_[static_cast<std::size_t>(factor)];
  }
  double value(i64 factor, i64 component) const {
    return values_[static_cast<std::size_t>(factor)][static_cast<std::size_t>(component)];
  }

 protected:
  // What is wrong with the value that a factor has now, given those before it; empty when nothing
  // is.
  virtual std::string broken(i64 /*factor*/) const { return {}; }

 private:
  void draw(u64 seed, i64 factor);
  std::string names() const;

  std::vector<Factor> factors_;
  std::vector<std::vector<double>> values_;
};

}  // namespace orrery
