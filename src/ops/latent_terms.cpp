#include "ops/latent_terms.h"

namespace orrery {

namespace cpu {
void prediction_term(Context& ctx, View<const float, 3> z, View<const float, 3> pred, i64 first,
                     const LatentTerm& term, View<float, 3> dpred);
void alignment_term(Context& ctx, View<const float, 3> z, const LatentTerm& term);
void straightening_term(Context& ctx, View<const float, 3> z, const LatentTerm& term);
void centre_members(Context& ctx, View<const float, 3> x, const Over& over, View<double, 2> mean,
                    View<double, 3> to);
void add_centred(Context& ctx, View<const double, 3> x, const Over& over, View<double, 2> mean,
                 View<double, 3> to);
void spread_term(Context& ctx, View<const double, 3> c, const Over& over, double weight,
                 View<double, 3> dc, View<double, 2> mean, View<double, 2> square,
                 View<double, 1> value);
void covariance_term(Context& ctx, View<const double, 3> c, const Over& over, double weight,
                     View<double, 3> dc, View<double, 2> covariance, View<double, 1> value);
void add_by_time(Context& ctx, double weight, View<const float, 3> slopes, View<double, 3> dz);
void round_to(Context& ctx, View<const double, 1> from, View<float, 1> to);
void weighted_total(Context& ctx, View<const double, 1> weights, View<const double, 1> values,
                    View<double, 1> total);
void add_weighted(Context& ctx, double weight, View<const double, 1> value, View<double, 1> total);
void join_mean(Context& ctx, double share, View<const double, 1> newest, View<double, 1> mean);
}  // namespace cpu
namespace cuda {
void prediction_term(Context& ctx, View<const float, 3> z, View<const float, 3> pred, i64 first,
                     const LatentTerm& term, View<float, 3> dpred);
void alignment_term(Context& ctx, View<const float, 3> z, const LatentTerm& term);
void straightening_term(Context& ctx, View<const float, 3> z, const LatentTerm& term);
void centre_members(Context& ctx, View<const float, 3> x, const Over& over, View<double, 2> mean,
                    View<double, 3> to);
void add_centred(Context& ctx, View<const double, 3> x, const Over& over, View<double, 2> mean,
                 View<double, 3> to);
void spread_term(Context& ctx, View<const double, 3> c, const Over& over, double weight,
                 View<double, 3> dc, View<double, 2> mean, View<double, 2> square,
                 View<double, 1> value);
void covariance_term(Context& ctx, View<const double, 3> c, const Over& over, double weight,
                     View<double, 3> dc, View<double, 2> covariance, View<double, 1> value);
void add_by_time(Context& ctx, double weight, View<const float, 3> slopes, View<double, 3> dz);
void round_to(Context& ctx, View<const double, 1> from, View<float, 1> to);
void weighted_total(Context& ctx, View<const double, 1> weights, View<const double, 1> values,
                    View<double, 1> total);
void add_weighted(Context& ctx, double weight, View<const double, 1> value, View<double, 1> total);
void join_mean(Context& ctx, double share, View<const double, 1> newest, View<double, 1> mean);
}  // namespace cuda

namespace {

void check_term(const char* name, View<const float, 3> z, const LatentTerm& term, bool needs_dz) {
  check(z.stride(2) == 1, name, ": contiguous latents were needed");
  check(term.windows >= z.size(0), name, ": ", z.size(0), " windows of a batch of ", term.windows);
  check(term.value.size(0) == 1, name, ": the value has ", term.value.size(0), " places");
  check((!needs_dz && !term.dz) || (term.dz.sizes() == z.sizes() && term.dz.contiguous()), name,
        ": slopes are ", term.dz.shape(), ", latents ", z.shape());
}

void check_members(const char* name, View<const double, 3> c, View<double, 3> dc) {
  check(c.sizes() == dc.sizes(), name, ": slopes are ", dc.shape(), ", values ", c.shape());
}

void check_means(const char* name, const Shape& x, View<double, 2> mean) {
  check(mean.size(0) == x[0] && mean.size(1) == x[2] && mean.contiguous(), name, ": scratch is ",
        mean.shape(), ", values are ", x);
}

}  // namespace

void prediction_term(Context& ctx, View<const float, 3> z, View<const float, 3> pred, i64 first,
                     const LatentTerm& term, View<float, 3> dpred) {
  check_term("prediction_term", z, term, false);
  check(pred.size(0) == z.size(0) && first >= 0 && first + pred.size(1) <= z.size(1) &&
            pred.size(2) == z.size(2) && pred.contiguous(),
        "prediction_term: predictions are ", pred.shape(), " from frame ", first, " on, latents ",
        z.shape());
  check(dpred.sizes() == pred.sizes() && dpred.contiguous(), "prediction_term: slopes are ",
        dpred.shape(), ", predictions ", pred.shape());
  ORRERY_ON_DEVICE(ctx, prediction_term, z, pred, first, term, dpred);
}

void alignment_term(Context& ctx, View<const float, 3> z, const LatentTerm& term) {
  check_term("alignment_term", z, term, true);
  ORRERY_ON_DEVICE(ctx, alignment_term, z, term);
}

void straightening_term(Context& ctx, View<const float, 3> z, const LatentTerm& term) {
  check_term("straightening_term", z, term, true);
  ORRERY_ON_DEVICE(ctx, straightening_term, z, term);
}

void centre_members(Context& ctx, View<const float, 3> x, const Over& over, View<double, 2> mean,
                    View<double, 3> to) {
  check(x.sizes() == to.sizes(), "centre_members: x is ", x.shape(), ", to is ", to.shape());
  check_means("centre_members", x.shape(), mean);
  ORRERY_ON_DEVICE(ctx, centre_members, x, over, mean, to);
}

void add_centred(Context& ctx, View<const double, 3> x, const Over& over, View<double, 2> mean,
                 View<double, 3> to) {
  check(x.sizes() == to.sizes(), "add_centred: x is ", x.shape(), ", to is ", to.shape());
  check_means("add_centred", x.shape(), mean);
  ORRERY_ON_DEVICE(ctx, add_centred, x, over, mean, to);
}

void spread_term(Context& ctx, View<const double, 3> c, const Over& over, double weight,
                 View<double, 3> dc, View<double, 2> mean, View<double, 2> square,
                 View<double, 1> value) {
  check_members("spread_term", c, dc);
  check_means("spread_term", c.shape(), mean);
  check_means("spread_term", c.shape(), square);
  ORRERY_ON_DEVICE(ctx, spread_term, c, over, weight, dc, mean, square, value);
}

void covariance_term(Context& ctx, View<const double, 3> c, const Over& over, double weight,
                     View<double, 3> dc, View<double, 2> covariance, View<double, 1> value) {
  check_members("covariance_term", c, dc);
  check(
      covariance.size(0) == c.size(2) && covariance.size(1) == c.size(2) && covariance.contiguous(),
      "covariance_term: scratch is ", covariance.shape(), ", values are ", c.shape());
  ORRERY_ON_DEVICE(ctx, covariance_term, c, over, weight, dc, covariance, value);
}

void add_by_time(Context& ctx, double weight, View<const float, 3> slopes, View<double, 3> dz) {
  check(slopes.size(0) == dz.size(1) && slopes.size(1) == dz.size(0) &&
            slopes.size(2) == dz.size(2) && slopes.contiguous() && dz.contiguous(),
        "add_by_time: slopes are ", slopes.shape(), ", their sum ", dz.shape());
  ORRERY_ON_DEVICE(ctx, add_by_time, weight, slopes, dz);
}

void round_to(Context& ctx, View<const double, 1> from, View<float, 1> to) {
  check(from.size(0) == to.size(0) && from.contiguous() && to.contiguous(),
        "round_to: ", from.size(0), " values for ", to.size(0), " places");
  ORRERY_ON_DEVICE(ctx, round_to, from, to);
}

void weighted_total(Context& ctx, View<const double, 1> weights, View<const double, 1> values,
                    View<double, 1> total) {
  check(weights.size(0) <= values.size(0) && weights.size(0) <= 32 && weights.contiguous() &&
            values.contiguous() && total.size(0) == 1,
        "weighted_total: ", weights.size(0), " weights of ", values.size(0), " values");
  ORRERY_ON_DEVICE(ctx, weighted_total, weights, values, total);
}

void add_weighted(Context& ctx, double weight, View<const double, 1> value, View<double, 1> total) {
  check(value.size(0) == 1 && total.size(0) == 1, "add_weighted: ", value.size(0),
        " values for a total of ", total.size(0));
  ORRERY_ON_DEVICE(ctx, add_weighted, weight, value, total);
}

void join_mean(Context& ctx, double share, View<const double, 1> newest, View<double, 1> mean) {
  check(newest.size(0) == mean.size(0) && newest.contiguous() && mean.contiguous(),
        "join_mean: ", newest.size(0), " values join ", mean.size(0));
  ORRERY_ON_DEVICE(ctx, join_mean, share, newest, mean);
}

}  // namespace orrery
