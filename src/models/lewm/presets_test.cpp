#include "models/lewm/presets.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/lewm/weights.h"

namespace orrery::lewm {
namespace {

i64 parameters(const std::string& name) { return layout_of(preset(name)).parameters; }

TEST(Presets, HaveThePublishedParameterCounts) {
  EXPECT_EQ(parameters("lewm-tiny"), 18034478);
  // published 3,021,806, with a map of 64 to 64 and its BatchNorm behind the encoder that nothing
  // uses
  EXPECT_EQ(parameters("hybrid_64d_4_4"), 3021806 - (64 * 64 + 64 + 2 * 64));
  // published 5.5 million, of 20 numbers, with blocks of 4 action numbers
  Config drone = preset("vector-mlp");
  drone.encoder.vector.inputs = 20;
  drone.action.input = 4;
  EXPECT_NEAR(static_cast<double>(layout_of(drone).parameters) / 1e6, 5.6, 0.05);
  // published in millions with two decimals
  const std::pair<const char*, double> slim[] = {
      {"slim_48d_2e_2p", 5.68},  {"slim_64d_3e_3p", 8.00},   {"slim_96d_2e_3p", 7.72},
      {"slim_96d_4e_4p", 10.41}, {"slim_128d_4e_4p", 10.58}, {"slim_192d_4e_4p", 10.88},
      {"slim_192d_6e_6p", 15.4}};
  for (const auto& [name, millions] : slim) {
    EXPECT_NEAR(static_cast<double>(parameters(name)) / 1e6, millions,
                std::string(name) == "slim_192d_6e_6p" ? 0.05 : 0.005)
        << name;
  }
}

TEST(Presets, AreConfigurationsThatReadBack) {
  for (const std::string& name : preset_names()) {
    const Config config = preset(name);
    const auto text = json_from_config(config);
    const Config again = config_from_json(text, name);
    EXPECT_EQ(json_from_config(again), text) << name;
    EXPECT_EQ(layout_of(again).parameters, layout_of(config).parameters) << name;
  }
}

TEST(Presets, OthersAreRefused) {
  for (const char* name : {"", "lewm", "slim_0d_2e_2p", "slim_96d_4e", "hybrid_63d_4_4",
                           "slim_123456789012345678901d_1e_1p", "vector_0d_1p"}) {
    EXPECT_THROW(preset(name), Error) << name;
  }
}

}  // namespace
}  // namespace orrery::lewm
