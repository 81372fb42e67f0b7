#pragma once

#include <string>
#include <vector>

#include "models/lewm/config.h"

namespace orrery::lewm {

// A published configuration by its name:
//
//   lewm-tiny                 the published model: ViT-tiny, latent 192, predictor of 6 blocks
//   lewm-small, lewm-base     the same with the builder's larger encoders
//   slim_<Z>d_<E>e_<P>p       the slim family: latent of Z numbers, E encoder and P predictor
//                             layers, all inner widths as published (slim_96d_4e_4p)
//   hybrid_<H>d_<E>_<P>       the hybrid family: width H everywhere, E layers of the pattern ALAL
//                             with 4 heads and 4 meta tokens, P predictor layers (hybrid_64d_4_4)
//   vector-mlp                the vector world models: an MLP of recorded numbers in place of the
//                             vision, latent 192, predictor of 6 blocks that sees 8 frames
//   vector_<Z>d_<P>p          the same with a latent of Z numbers, P predictor layers of the slim
//                             family's width that see 3 frames, and its pred_proj
//
// Those of vectors take as many numbers as the data has. All others see pictures of 224 in patches
// of 14 and take blocks of 10 action numbers. Error: none of these.
Config preset(const std::string& name);

// the names that the published models have, for help and messages
std::vector<std::string> preset_names();

}  // namespace orrery::lewm
