#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "train/learner.h"
#include "train/small_run.h"

namespace orrery::train {

// For tests: runs that ranks share, as threads of this process.

// what is left out is drawn for a place in the whole batch
inline lewm::Config config_with_dropout() {
  lewm::Config config = small_config();
  config.predictor.dropout = 0.2f;
  config.predictor.embedding_dropout = 0.1f;
  return config;
}

// every term of the loss, so that what each has over the batch is seen
inline TrainingSettings all_terms() {
  TrainingSettings settings;
  settings.steps = 4;
  settings.batch = 7;
  settings.lr = 1e-4;
  settings.warmup_fraction = 0;
  settings.losses.projections = 16;
  settings.validation_batches = 2;
  // with the small weights of the other way BatchNorm divides by tiny deviations, which enlarges
  // rounding a hundredfold
  settings.initialization = "scaled";
  for (const LossTerm& term : kLossTerms) settings.losses.weights.*term.weight = 0.3;
  settings.unroll.steps = 2;
  lewm::Config model = config_with_dropout();
  settle(settings, model);
  return settings;
}

// What a rank has come to.
struct Come {
  std::vector<StepReport> steps;
  std::vector<float> first_moment;  // after one step: a tenth of the clipped gradient
  std::vector<float> weights, buffers;
  ValidationReport validation;
  LatentSpread spread;
};

inline std::vector<float> values_of(const Tensor& tensor) {
  const auto values = tensor.span<float>();
  return {values.begin(), values.end()};
}

inline Come learn(const TrainingSettings& settings, Ranks& ranks, const Context::Options& options) {
  Context ctx(options);
  Drawn source(ranks.part_of(settings.batch), settings.num_steps);
  Learner learner(ctx, config_with_dropout(), settings, ranks);
  learner.begin(source);
  Come come;
  for (i64 i = 0; i < settings.steps; ++i) {
    come.steps.push_back(learner.step(source));
    if (i == 0) come.first_moment = values_of(learner.contents().at("m"));
  }
  learner.must_agree();
  come.spread = learner.spread();
  come.validation = learner.validate(source);
  come.weights = values_of(learner.weights().parameters);
  come.buffers = values_of(learner.weights().buffers);
  return come;
}

// the error of rank 0, empty when there is none
inline std::string on_threads(int count, const std::function<void(dist::Lockstep&)>& work) {
  auto worlds = dist::worlds_of_threads(count);
  std::string error;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < count; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        dist::in_lockstep(*worlds[static_cast<std::size_t>(rank)], {}, work);
      } catch (const std::exception& thrown) {
        if (rank == 0) error = thrown.what();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return error;
}

// `where` is that of each rank
inline std::map<int, Come> learn_on(int count, const TrainingSettings& settings,
                                    const std::function<DeviceChoice(int rank)>& where = {},
                                    dist::SumsBy by = dist::SumsBy::automatic) {
  std::mutex mutex;
  std::map<int, Come> all;
  const std::string error = on_threads(count, [&](dist::Lockstep& lockstep) {
    Ranks ranks(&lockstep, by);
    Context::Options options{.threads = 1};
    if (where) options.where = where(lockstep.rank());
    Come come = learn(settings, ranks, options);
    const std::lock_guard lock(mutex);
    all[lockstep.rank()] = std::move(come);
  });
  EXPECT_EQ(error, "");
  return all;
}

inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
  }
  return worst;
}

inline void expect_near(const LossValues& one, const LossValues& other, double tolerance) {
  for (const LossTerm& term : kLossTerms) {
    EXPECT_NEAR(one.*term.value, other.*term.value, tolerance) << term.name;
  }
  EXPECT_NEAR(one.total, other.total, tolerance);
}

}  // namespace orrery::train
