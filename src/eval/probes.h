#pragma once

#include <string>
#include <vector>

#include "device/context.h"
#include "eval/encoded.h"
#include "eval/state_columns.h"

namespace orrery {

// How well a map, linear or not, reads the world's state off a latent.
struct ProbeScore {
  struct Component {
    std::string name;  // "agent 0", "agent 1"; "angle cos", "angle sin"
    double mse = 0;    // of held-out frames; targets standardised by the frames learned from: who
                       // says their mean has about 1
    double r = 0;      // Pearson's, of predicted and true; 0 when either is constant
  };
  std::string name;  // of the quantity
  double mse = 0;    // means over the components
  double r = 0;
  std::vector<Component> components;
};

// Frames of a recording with their states, to learn from or to be judged by.
struct ProbeFrames {
  const EncodedFrames& frames;
  const StateTable& states;
};

// Ridge regressions (ridge.h) of every quantity, an angle's cosine and sine in its place, as the
// paper probes (arXiv:2603.19312, appendix on probing) but in closed form. Frames of which a number
// is missing (NaN) are left out; without any left there are no scores. steady
std::vector<ProbeScore> probe(const ProbeFrames& learn, const ProbeFrames& judge,
                              double penalty = 1e-4);

// A small network in the regression's place.
struct MlpProbe {
  i64 steps = 2000;  // of AdamW; 0: not at all
  i64 hidden = 128;
  i64 batch = 256;
  double lr = 1e-3;  // at the top of warm-up and cosine
  double weight_decay = 1e-2;
  u64 seed = 0;  // of weights and order
};

// The same of a network of two layers, W2 GELU(W1 x + b1) + b2 of the standardised latent, one for
// all quantities, that learns by squared error what the regression does: how much of the state is
// in a latent without lying on a line. It learns where `ctx` works on the CPU, else on a CPU of its
// own. steady
std::vector<ProbeScore> mlp_probe(Context& ctx, const ProbeFrames& learn, const ProbeFrames& judge,
                                  const MlpProbe& how);

}  // namespace orrery
