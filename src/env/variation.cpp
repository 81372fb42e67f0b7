#include "env/variation.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/random.h"

namespace orrery {

namespace {

// the limit of the published sampler
constexpr int kTries = 1000;

bool in_group(std::string_view name, std::string_view group) {
  return name.size() > group.size() && name.substr(0, group.size()) == group &&
         name[group.size()] == '.';
}

}  // namespace

Variation::Variation(std::vector<Factor> factors) : factors_(std::move(factors)) {
  for (const Factor& factor : factors_) {
    check(factor.low.size() == factor.initial.size() && factor.high.size() == factor.initial.size(),
          "factor ", factor.name, " has ranges of another length than its value");
    values_.push_back(factor.initial);
  }
}

std::string Variation::names() const {
  std::string list;
  for (const Factor& factor : factors_) list += (list.empty() ? "" : ", ") + factor.name;
  return list;
}

i64 Variation::index_of(std::string_view name) const {
  for (std::size_t i = 0; i < factors_.size(); ++i) {
    if (factors_[i].name == name) return static_cast<i64>(i);
  }
  fail("unknown factor of variation '", name, "'; known are ", names());
}

void Variation::reset(u64 seed, const ResetOptions& options) {
  // which factors are drawn
  std::vector<bool> drawn(factors_.size());
  if (options.variation.empty()) {
    for (std::size_t i = 0; i < factors_.size(); ++i) drawn[i] = factors_[i].drawn_by_default;
  }
  for (const std::string& name : options.variation) {
    bool known = false;
    for (std::size_t i = 0; i < factors_.size(); ++i) {
      if (name == "all" || name == factors_[i].name || in_group(factors_[i].name, name)) {
        drawn[i] = known = true;
      }
    }
    check(known, "unknown factor of variation '", name, "'; known are all, ", names());
  }

  // given values are checked before anything changes
  std::vector<const std::vector<double>*> given(factors_.size(), nullptr);
  for (const auto& [name, value] : options.values) {
    const auto index = static_cast<std::size_t>(index_of(name));
    const Factor& factor = factors_[index];
    check(value.size() == factor.initial.size(), "factor ", name, " takes ", factor.initial.size(),
          " numbers, ", value.size(), " were given");
    for (std::size_t c = 0; c < value.size(); ++c) {
      check(value[c] >= factor.low[c] && value[c] <= factor.high[c], "factor ", name, " is ",
            value[c], " in component ", c, ", outside ", factor.low[c], " to ", factor.high[c]);
      check(!factor.integer || value[c] == std::floor(value[c]), "factor ", name,
            " takes whole numbers, ", value[c], " was given");
    }
    given[index] = &value;
  }

  for (std::size_t i = 0; i < factors_.size(); ++i) {
    const auto factor = static_cast<i64>(i);
    if (given[i] == nullptr && drawn[i]) {
      draw(seed, factor);
      continue;
    }
    values_[i] = given[i] != nullptr ? *given[i] : factors_[i].initial;
    if (!factors_[i].integer) {
      for (double& number : values_[i]) number = static_cast<float>(number);
    }
    const std::string fault = broken(factor);
    check(fault.empty(), "factor ", factors_[i].name, ": ", fault);
  }
}

void Variation::draw(u64 seed, i64 index) {
  const auto i = static_cast<std::size_t>(index);
  const Factor& factor = factors_[i];
  Random random(seed, mix(static_cast<u64>(Stream::environment), static_cast<u64>(index)));
  std::string fault;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    for (std::size_t c = 0; c < factor.low.size(); ++c) {
      const double low = factor.low[c];
      const double high = factor.high[c];
      if (factor.integer) {
        values_[i][c] = low + static_cast<double>(random.below(static_cast<u64>(high - low) + 1));
      } else {
        const auto number =
            static_cast<float>(low + (high - low) * static_cast<double>(random.uniform()));
        values_[i][c] = number;
      }
    }
    fault = broken(index);
    if (fault.empty()) return;
  }
  fail("factor ", factor.name, ": no value in ", kTries, " draws satisfies its constraint (", fault,
       ")");
}

}  // namespace orrery
