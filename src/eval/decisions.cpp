#include "eval/decisions.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "models/lewm/dynamics.h"
#include "models/lewm/eye.h"
#include "tensor/placed.h"

namespace orrery {

namespace {

// Of the gain. Measured with models/tworoom and the published planner: seeds that find the same way
// to a goal differ by 0.02 %, seeds that find another one by 60 % and more. So this tells a changed
// decision from a rounded one.
constexpr double kAcceptedLoss = 0.05;

// One iteration as it happened.
struct Seen {
  std::vector<float> candidates, costs;
  std::vector<i32> elites;  // rising
};

struct Made {
  std::vector<Seen> iterations;
  std::vector<float> actions;  // [horizon, action_dim]
  double cost = 0;
};

template <typename T, int Rank>
std::vector<std::remove_const_t<T>> values_of(View<T, Rank> view) {
  return {view.data(), view.data() + view.numel()};
}

// The pictures looked at, ready to plan.
class Side {
 public:
  Side(Context& ctx, const lewm::Model& model, const DecisionProblem& problem)
      : ctx_(ctx),
        problem_(problem),
        width_(model.config().action.input),
        dynamics_(ctx, model, {.samples = problem.planner.samples, .horizon = problem.horizon},
                  problem.objective) {
    const i64 height = problem.now.size(0), width = problem.now.size(1);
    const i64 dim = model.config().latent();
    lewm::Eye eye(ctx, model, height, width, 1);
    Placed<float> latents(ctx, 2 * dim);
    const auto rows = latents.view<2>({2, dim});
    const auto one = [&](View<const u8, 3> picture) {
      return View<const u8, 4>(picture.data(), {1, height, width, 3});
    };
    eye.look(ctx, one(problem.now), rows.slice(0, 0, 1));
    eye.look(ctx, one(problem.goal), rows.slice(0, 1, 2));
    dynamics_.begin(1);
    dynamics_.observe(0, rows.slice(0, 0, 1), {}, rows[1]);
    ctx.synchronize();
  }

  Made plan() {
    CounterNoise noise(problem_.seed);
    const auto planner =
        make_search(ctx_, problem_.planner, {.horizon = problem_.horizon, .action_dim = width_},
                    problem_.scale, noise);
    Made made;
    planner->observe([&](const SearchIteration<float>& iteration) {
      Seen seen = {values_of(iteration.candidates), values_of(iteration.costs),
                   values_of(iteration.elites)};
      std::sort(seen.elites.begin(), seen.elites.end());
      made.iterations.push_back(std::move(seen));
    });
    made.actions.resize(static_cast<std::size_t>(problem_.horizon * width_));
    float cost = 0;
    planner->plan(ctx_, dynamics_, {},
                  {.actions = View<float, 3>(made.actions.data(), {1, problem_.horizon, width_}),
                   .cost = View<float, 1>(&cost, {1})});
    made.cost = static_cast<double>(cost);
    return made;
  }

  // what one sequence of actions costs by this side's model
  double judge(const std::vector<float>& actions) {
    const Placed<float> there(ctx_, actions);
    Placed<float> cost(ctx_, 1);
    dynamics_.rollout_cost(ctx_, 0, there.view<4>({1, 1, problem_.horizon, width_}),
                           cost.view<2>({1, 1}));
    return static_cast<double>(cost.values()[0]);
  }

 private:
  Context& ctx_;
  const DecisionProblem& problem_;
  i64 width_;
  lewm::GoalDynamics dynamics_;
};

// the largest |a - b| of the first `count`; NaN on one side alone is infinitely far
double largest_difference(const std::vector<float>& a, const std::vector<float>& b,
                          std::size_t count) {
  double worst = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    worst = std::isnan(difference) ? std::numeric_limits<double>::infinity()
                                   : std::max(worst, difference);
  }
  return worst;
}

IterationAgreement agreement(const Seen& a, const Seen& b) {
  std::vector<i32> both;
  std::set_intersection(a.elites.begin(), a.elites.end(), b.elites.begin(), b.elites.end(),
                        std::back_inserter(both));
  return {.candidates = largest_difference(a.candidates, b.candidates, a.candidates.size()),
          .rank_correlation = rank_correlation(a.costs, b.costs),
          .elite_overlap = static_cast<double>(both.size()) / static_cast<double>(a.elites.size())};
}

// ranks from 0, NaN last, the mean rank for ties
std::vector<double> ranks_of(const std::vector<float>& values) {
  const auto before = [&](std::size_t i, std::size_t j) {
    if (std::isnan(values[j])) return !std::isnan(values[i]);
    return values[i] < values[j];
  };
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), before);
  std::vector<double> ranks(values.size());
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    end = begin + 1;
    while (end < order.size() && !before(order[begin], order[end])) ++end;
    for (std::size_t i = begin; i < end; ++i) {
      ranks[order[i]] = static_cast<double>(begin + end - 1) / 2;
    }
  }
  return ranks;
}

}  // namespace

double rank_correlation(const std::vector<float>& a, const std::vector<float>& b) {
  check(a.size() == b.size(), "rank correlation: rows of ", a.size(), " and ", b.size());
  const auto ranks_a = ranks_of(a), ranks_b = ranks_of(b);
  const double mean = (static_cast<double>(a.size()) - 1) / 2;
  double product = 0, square_a = 0, square_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = ranks_a[i] - mean, y = ranks_b[i] - mean;
    product += x * y;
    square_a += x * x;
    square_b += y * y;
  }
  if (square_a == 0 && square_b == 0) return 1;
  if (square_a == 0 || square_b == 0) return 0;
  return product / std::sqrt(square_a * square_b);
}

double DecisionReport::lost() const {
  const double gain = judged_idle - judged_reference;
  const double difference = judged - judged_reference;
  if (difference == 0) return 0;
  // planning that gains nothing has nothing to lose: any worse plan is a whole gain lost
  return gain > 0 ? difference / gain : (difference > 0 ? 1.0 : 0.0);
}

bool DecisionReport::ok() const { return lost() <= kAcceptedLoss; }

DecisionReport compare_decisions(Context& ctx, const lewm::Model& model, Context& reference_ctx,
                                 const lewm::Model& reference, const DecisionProblem& problem) {
  check(problem.now.shape() == problem.goal.shape() && problem.now.size(2) == 3 &&
            problem.now.contiguous() && problem.goal.contiguous(),
        "comparing decisions: pictures are ", problem.now.shape(), " and ", problem.goal.shape(),
        ", two contiguous ones of one size with 3 channels were needed");
  Side side(ctx, model, problem), judge(reference_ctx, reference, problem);
  const Made made = side.plan(), expected = judge.plan();

  DecisionReport report;
  // an early end may come at different iterations
  const std::size_t iterations = std::min(made.iterations.size(), expected.iterations.size());
  for (std::size_t i = 0; i < iterations; ++i) {
    report.iterations.push_back(agreement(made.iterations[i], expected.iterations[i]));
  }
  const std::size_t block = made.actions.size() / static_cast<std::size_t>(problem.horizon);
  report.first_action = largest_difference(made.actions, expected.actions, block);
  report.actions = largest_difference(made.actions, expected.actions, made.actions.size());
  report.cost = made.cost;
  report.reference_cost = expected.cost;
  report.judged = judge.judge(made.actions);
  report.judged_reference = judge.judge(expected.actions);
  report.judged_idle = judge.judge(std::vector<float>(made.actions.size(), 0.0f));
  return report;
}

}  // namespace orrery
