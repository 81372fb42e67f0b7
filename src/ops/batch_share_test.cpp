#include "ops/batch_share.h"

#include <algorithm>
#include <functional>
#include <mutex>
#include <condition_variable>
#include <thread>

#include "ops/batch_norm.h"
#include "ops/dropout.h"
#include "ops/sigreg.h"
#include "ops/test_support.h"

namespace orrery {
namespace {

using namespace test;

// Sums over threads that each hold rows of a batch, in their order.
class Meeting {
 public:
  explicit Meeting(std::size_t members) : given_(members) {}

  template <typename T>
  void add_up(std::size_t member, View<T, 1> values) {
    given_[member].assign(values.data(), values.data() + values.numel());
    wait();
    for (i64 i = 0; i < values.numel(); ++i) {
      double total = 0;
      for (const auto& one : given_) total += one[static_cast<std::size_t>(i)];
      values[i] = static_cast<T>(total);
    }
    wait();
  }

 private:
  void wait() {
    std::unique_lock lock(mutex_);
    const int round = round_;
    if (++here_ == given_.size()) {
      here_ = 0;
      ++round_;
      all_here_.notify_all();
      return;
    }
    all_here_.wait(lock, [&] { return round_ != round; });
  }

  std::vector<std::vector<double>> given_;
  std::mutex mutex_;
  std::condition_variable all_here_;
  std::size_t here_ = 0;
  int round_ = 0;
};

class Member : public BatchSums {
 public:
  Member(Meeting& meeting, std::size_t number) : meeting_(meeting), number_(number) {}
  void add_up(View<float, 1> values) override { meeting_.add_up(number_, values); }
  void add_up(View<double, 1> values) override { meeting_.add_up(number_, values); }

 private:
  Meeting& meeting_;
  std::size_t number_;
};

// body(ctx, share, rows) in one thread for each part of a batch, parts of unlike size
void in_parts(i64 batch, const std::vector<i64>& ends,
              const std::function<void(Context&, const BatchShare&, i64 rows)>& body) {
  Meeting meeting(ends.size());
  std::vector<std::thread> threads;
  for (std::size_t part = 0; part < ends.size(); ++part) {
    threads.emplace_back([&, part] {
      Context ctx({.threads = 1});
      Member member(meeting, part);
      const i64 first = part == 0 ? 0 : ends[part - 1];
      body(ctx, {&member, first, batch}, ends[part] - first);
    });
  }
  for (auto& thread : threads) thread.join();
}

struct Norm {
  i64 dim;
  std::vector<float> gain = random_values(dim, 2, 0.2f, 1.0f), bias = random_values(dim, 3);
  std::vector<float> running_mean = random_values(dim, 4);
  std::vector<float> running_var = random_values(dim, 5, 0.1f, 1.0f);
  std::vector<float> mean = std::vector<float>(gain.size()), rstd = mean, dgain = mean,
                     dbias = mean;

  void run(Context& ctx, const BatchShare& share, View<const float, 2> x, View<const float, 2> dy,
           View<float, 2> y, View<float, 2> dx) {
    batch_norm(ctx, x, view1(gain), view1(bias), 1e-5f, 0.1f, view1(running_mean),
               view1(running_var), y, view1(mean), view1(rstd), share);
    batch_norm_backward(ctx, x, view1(gain), view1(mean), view1(rstd), dy, dx, view1(dgain),
                        view1(dbias), share);
  }
};

TEST(BatchShareOf, BatchNormOverPartsIsThatOfTheBatch) {
  const i64 batch = 130, dim = 37;
  auto x = random_values(batch * dim, 1, 1.0f, 2.0f), dy = random_values(batch * dim, 6);
  const auto rows_of = [&](std::vector<float>& values, i64 first, i64 rows) {
    return View<float, 2>(values.data() + first * dim, {rows, dim});
  };
  std::vector<float> y(x.size()), dx(x.size()), shared_y(x.size()), shared_dx(x.size());
  Norm whole{dim};
  Context ctx({.threads = 2});
  whole.run(ctx, {}, rows_of(x, 0, batch), rows_of(dy, 0, batch), rows_of(y, 0, batch),
            rows_of(dx, 0, batch));

  std::mutex mutex;
  std::vector<Norm> parts;
  in_parts(batch, {1, 70, 130}, [&](Context& own, const BatchShare& share, i64 rows) {
    Norm part{dim};
    part.run(own, share, rows_of(x, share.first, rows), rows_of(dy, share.first, rows),
             rows_of(shared_y, share.first, rows), rows_of(shared_dx, share.first, rows));
    const std::lock_guard lock(mutex);
    parts.push_back(part);
  });
  // sums of 130 values of size 2 in another order: each is within 130 * 2^-24 = 8e-6 relatively,
  // and what is computed of means no worse
  EXPECT_LE(max_difference(shared_y, y), 1e-5);
  EXPECT_LE(max_difference(shared_dx, dx), 1e-5);
  std::vector<float> dgain(whole.dgain.size()), dbias(whole.dbias.size());
  for (const Norm& part : parts) {
    EXPECT_LE(max_difference(part.running_mean, whole.running_mean), 1e-6);
    EXPECT_LE(max_difference(part.running_var, whole.running_var), 1e-6);
    // ranks must not part
    EXPECT_TRUE(same_bits(part.mean, parts[0].mean));
    EXPECT_TRUE(same_bits(part.rstd, parts[0].rstd));
    EXPECT_TRUE(same_bits(part.running_var, parts[0].running_var));
    for (std::size_t i = 0; i < dgain.size(); ++i) {
      dgain[i] += part.dgain[i];
      dbias[i] += part.dbias[i];
    }
  }
  // sums, not means: 130 times the above
  EXPECT_LE(max_difference(dgain, whole.dgain), 1e-4);
  EXPECT_LE(max_difference(dbias, whole.dbias), 1e-4);
}

TEST(BatchShareOf, SigregOverPartsIsThatOfTheBatch) {
  const i64 time = 3, batch = 33, dim = 6, projections = 50;
  // [batch, time, dim], as latents lie
  auto z = random_values(time * batch * dim, 1, 1.5f, 0.3f);
  const auto directions = random_values(dim * projections, 2);
  const auto rows_of = [&](std::vector<float>& values, i64 first, i64 rows) {
    return View<float, 3>(values.data() + first * time * dim, {rows, time, dim}).transposed(0, 1);
  };
  const auto run = [&](Context& ctx, const BatchShare& share, i64 rows, std::vector<float>& dz,
                       std::vector<float>& statistics) {
    return sigreg(ctx, {}, rows_of(z, share.first, rows),
                  View<const float, 2>(directions.data(), {dim, projections}),
                  View<float, 2>(statistics.data(), {time, projections}),
                  rows_of(dz, share.first, rows), share);
  };
  std::vector<float> dz(z.size()), shared_dz(z.size());
  std::vector<float> statistics(static_cast<std::size_t>(time * projections));
  Context ctx({.threads = 2});
  const double loss = run(ctx, {}, batch, dz, statistics);
  std::mutex mutex;
  std::vector<double> losses;
  in_parts(batch, {10, 11, 33}, [&](Context& own, const BatchShare& share, i64 rows) {
    std::vector<float> found(statistics.size());
    const double part_loss = run(own, share, rows, shared_dz, found);
    const std::lock_guard lock(mutex);
    losses.push_back(part_loss);
    // batch times squares of means that are good to 1e-7
    EXPECT_LE(max_difference(found, statistics), 1e-7 * static_cast<double>(batch + 2));
  });
  for (const double part_loss : losses) {
    EXPECT_EQ(part_loss, losses[0]);
    EXPECT_NEAR(part_loss, loss, 1e-7 * static_cast<double>(batch + 2));
  }
  // what means that are good to 1e-7 change in a gradient: times 2 sum_k w_k t_k < 4, over time
  EXPECT_LE(max_difference(shared_dz, dz), 4e-7 / static_cast<double>(time));
}

TEST(BatchShareOf, DropoutMasksArePartsOfTheBatchs) {
  Context ctx({.threads = 2});
  const auto x = random_values(10007, 3);
  const Dropout mask{.rate = 0.4f, .seed = 1, .stream = 9};
  std::vector<float> whole(x.size()), parts(x.size());
  dropout(ctx, mask, view1(x), view1(whole));
  for (const auto& [begin, end] :
       std::vector<std::pair<i64, i64>>{{0, 3}, {3, 5001}, {5001, 10007}}) {
    Dropout part = mask;
    part.first = begin;
    dropout(ctx, part, View<const float, 1>(x.data() + begin, {end - begin}),
            View<float, 1>(parts.data() + begin, {end - begin}));
  }
  EXPECT_TRUE(same_bits(parts, whole));

  // the second of two windows of attention
  constexpr i64 kTokens = 3, kHeads = 2, kDim = 4, kWindow = kTokens * kHeads * kDim;
  const auto q = random_values(2 * kWindow, 4), k = random_values(2 * kWindow, 5),
             v = random_values(2 * kWindow, 6);
  std::vector<float> both(q.size()), second(q.size() / 2);
  const auto windows = [](const std::vector<float>& values, i64 first, i64 count) {
    return View<const float, 4>(values.data() + first * kWindow, {count, kTokens, kHeads, kDim});
  };
  attention_dropout(ctx, mask, windows(q, 0, 2), windows(k, 0, 2), windows(v, 0, 2), 0.5f, true,
                    View<float, 4>(both.data(), {2, kTokens, kHeads, kDim}));
  Dropout part = mask;
  part.first = kHeads * kTokens * kTokens;
  attention_dropout(ctx, part, windows(q, 1, 1), windows(k, 1, 1), windows(v, 1, 1), 0.5f, true,
                    View<float, 4>(second.data(), {1, kTokens, kHeads, kDim}));
  EXPECT_TRUE(std::equal(second.begin(), second.end(), both.begin() + kWindow));
}

TEST(BatchShareOf, RefusesRowsBeyondTheBatch) {
  Context ctx({.threads = 1});
  Meeting meeting(1);
  Member alone(meeting, 0);
  Norm norm{4};
  std::vector<float> x(12), y(12);
  const View<float, 2> rows(x.data(), {3, 4}), out(y.data(), {3, 4});
  EXPECT_THROW(norm.run(ctx, {&alone, 2, 4}, rows, rows, out, out), Error);
  EXPECT_THROW(norm.run(ctx, {&alone, 0, 1}, rows, rows, out, out), Error);
  EXPECT_NO_THROW(norm.run(ctx, {&alone, 0, 3}, rows, rows, out, out));
}

}  // namespace
}  // namespace orrery
