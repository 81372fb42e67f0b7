#pragma once

#include "device/context.h"
#include "ops/batch_share.h"
#include "tensor/view.h"

namespace orrery {

// Terms of a loss of latents z [B, T, D] (B windows of T frames) and their slopes. Each writes its
// value and adds `weight` times its slopes in double, into dz [B, T, D]. Values and slopes lie
// where the context works, so that nothing waits for the host. z any strides but the last
// contiguous; the rest contiguous unless it says other.
//
// `windows` is how many the whole batch has; a process that holds a part of them finds what its
// part adds to the value. steady: sums in double in a fixed order, which on a CUDA device is
// another one than on a CPU.
struct LatentTerm {
  double weight = 0;
  i64 windows = 0;
  View<double, 3> dz;
  View<double, 1> value;  // [1]
};

//   mean (pred - z[:, first:first+S])^2, pred [B, S, D]; dpred [B, S, D] stored; dz may be empty
void prediction_term(Context& ctx, View<const float, 3> z, View<const float, 3> pred, i64 first,
                     const LatentTerm& term, View<float, 3> dpred);

//   mean (z[:, 1:] - z[:, :-1])^2
void alignment_term(Context& ctx, View<const float, 3> z, const LatentTerm& term);

//   -mean cos(v_t, v_t+1), v_t = z_t+1 - z_t, lengths at least 1e-8; 0 with fewer than three frames
void straightening_term(Context& ctx, View<const float, 3> z, const LatentTerm& term);

// What a variance or covariance is taken over, for groups of members x [groups, members, D] of any
// strides.
struct Over {
  double groups, members;  // of the whole batch
  BatchSums* sums;         // none: all members are here
};

// to = x minus its mean over the members; mean [groups, D] scratch
void centre_members(Context& ctx, View<const float, 3> x, const Over& over, View<double, 2> mean,
                    View<double, 3> to);
// The gradient of centred values, centred itself, is that of the values:
// to += x minus its mean over the members
void add_centred(Context& ctx, View<const double, 3> x, const Over& over, View<double, 2> mean,
                 View<double, 3> to);

//   mean over groups and D of relu(1 - sqrt(var over members + 1e-4)), unbiased
// c any strides; dc of the same, weight times the slopes are added; mean, square [groups, D]
// scratch
void spread_term(Context& ctx, View<const double, 3> c, const Over& over, double weight,
                 View<double, 3> dc, View<double, 2> mean, View<double, 2> square,
                 View<double, 1> value);

//   mean over groups of sum_{i != j} C_ij^2 / (D^2 - D), C = c_g^T c_g / (members - 1)
// c any strides; dc of the same, weight times the slopes are added; covariance [D, D] scratch
void covariance_term(Context& ctx, View<const double, 3> c, const Over& over, double weight,
                     View<double, 3> dc, View<double, 2> covariance, View<double, 1> value);

// dz[b, t, d] += weight * slopes[t, b, d]
void add_by_time(Context& ctx, double weight, View<const float, 3> slopes, View<double, 3> dz);

// to = from rounded, of one size
void round_to(Context& ctx, View<const double, 1> from, View<float, 1> to);

// total = sum_i weights[i] * values[i] in their order, at most 32 of them, weights the host's
void weighted_total(Context& ctx, View<const double, 1> weights, View<const double, 1> values,
                    View<double, 1> total);

// total += weight * value
void add_weighted(Context& ctx, double weight, View<const double, 1> value, View<double, 1> total);

// mean += share * (newest - mean), and with a share of 1 mean = newest: with shares 1, 1/2, 1/3 ..
// the mean of all that joined it
void join_mean(Context& ctx, double share, View<const double, 1> newest, View<double, 1> mean);

}  // namespace orrery
