#include "ops/batch_share.h"

#include <algorithm>
#include <functional>
#include <condition_variable>
#include <mutex>
#include <span>
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

// One of them; its context's values go to the meeting by way of the host.
class Member : public BatchSums {
 public:
  Member(Context& ctx, Meeting& meeting, std::size_t number)
      : ctx_(ctx), meeting_(meeting), number_(number) {}
  void add_up(View<float, 1> values) override { meet(values); }
  void add_up(View<double, 1> values) override { meet(values); }

 private:
  template <typename T>
  void meet(View<T, 1> values) {
    std::vector<T> here(static_cast<std::size_t>(values.numel()));
    ctx_.download(here.data(), values.data(), here.size() * sizeof(T));
    meeting_.add_up(number_, View<T, 1>(here.data(), values.sizes()));
    ctx_.upload(values.data(), here.data(), here.size() * sizeof(T));
    ctx_.synchronize();
  }

  Context& ctx_;
  Meeting& meeting_;
  std::size_t number_;
};

// body(ctx, share, rows) in one thread for each part of a batch, parts of unlike size, each with a
// context of the device of `like`
void in_parts(const Context& like, i64 batch, const std::vector<i64>& ends,
              const std::function<void(Context&, const BatchShare&, i64 rows)>& body) {
  Meeting meeting(ends.size());
  std::vector<std::thread> threads;
  for (std::size_t part = 0; part < ends.size(); ++part) {
    threads.emplace_back([&, part] {
      Context ctx({.threads = 1, .where = {like.device(), like.device_index()}});
      Member member(ctx, meeting, part);
      const i64 first = part == 0 ? 0 : ends[part - 1];
      body(ctx, {&member, first, batch}, ends[part] - first);
    });
  }
  for (auto& thread : threads) thread.join();
}

// BatchNorm of rows there and back, and all that it leaves.
struct Norm {
  i64 dim;
  std::vector<float> y, dx, mean, rstd, running_mean, running_var, dgain, dbias;

  void run(Context& ctx, const BatchShare& share, std::span<const float> x_rows,
           std::span<const float> dy_rows) {
    const auto rows = static_cast<i64>(x_rows.size());
    Buffer<float> x(ctx, x_rows), dy(ctx, dy_rows), to(ctx, rows), slopes(ctx, rows);
    Buffer<float> gain(ctx, random_values(dim, 2, 0.2f, 1.0f)), bias(ctx, random_values(dim, 3));
    Buffer<float> running_to(ctx, random_values(dim, 4));
    Buffer<float> running_var_to(ctx, random_values(dim, 5, 0.1f, 1.0f));
    Buffer<float> mean_to(ctx, dim), rstd_to(ctx, dim), dgain_to(ctx, dim), dbias_to(ctx, dim);
    batch_norm(ctx, x.rows(dim), gain.flat(), bias.flat(), 1e-5f, 0.1f, running_to.flat(),
               running_var_to.flat(), to.rows(dim), mean_to.flat(), rstd_to.flat(), share);
    batch_norm_backward(ctx, x.rows(dim), gain.flat(), mean_to.flat(), rstd_to.flat(), dy.rows(dim),
                        slopes.rows(dim), dgain_to.flat(), dbias_to.flat(), share);
    y = to.values();
    dx = slopes.values();
    mean = mean_to.values();
    rstd = rstd_to.values();
    running_mean = running_to.values();
    running_var = running_var_to.values();
    dgain = dgain_to.values();
    dbias = dbias_to.values();
  }
};

TEST_ON_EVERY_BACKEND(BatchShareOf, BatchNormOverPartsIsThatOfTheBatch) {
  const i64 batch = 130, dim = 37;
  const auto x = random_values(batch * dim, 1, 1.0f, 2.0f), dy = random_values(batch * dim, 6);
  Norm whole{dim};
  whole.run(ctx, {}, x, dy);

  std::mutex mutex;
  std::vector<Norm> parts;
  std::vector<float> y(x.size()), dx(x.size());
  in_parts(ctx, batch, {1, 70, 130}, [&](Context& own, const BatchShare& share, i64 rows) {
    Norm part{dim};
    const auto begin = static_cast<std::size_t>(share.first * dim);
    const auto count = static_cast<std::size_t>(rows * dim);
    part.run(own, share, std::span(x).subspan(begin, count), std::span(dy).subspan(begin, count));
    const std::lock_guard lock(mutex);
    std::copy(part.y.begin(), part.y.end(), y.begin() + share.first * dim);
    std::copy(part.dx.begin(), part.dx.end(), dx.begin() + share.first * dim);
    parts.push_back(part);
  });
  // sums of 130 values of size 2 in another order: each is within 130 * 2^-24 = 8e-6 relatively,
  // and what is computed of means no worse
  EXPECT_LE(max_difference(y, whole.y), 1e-5);
  EXPECT_LE(max_difference(dx, whole.dx), 1e-5);
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

TEST_ON_EVERY_BACKEND(BatchShareOf, SigregOverPartsIsThatOfTheBatch) {
  const i64 time = 3, batch = 33, dim = 6, projections = 50;
  // [batch, time, dim], as latents lie
  const auto z = random_values(time * batch * dim, 1, 1.5f, 0.3f);
  const auto drawn = random_values(dim * projections, 2);
  struct Found {
    double loss;
    std::vector<float> statistics, dz;
  };
  const auto run = [&](Context& own, const BatchShare& share, i64 rows) {
    const auto some = std::span(z).subspan(static_cast<std::size_t>(share.first * time * dim),
                                           static_cast<std::size_t>(rows * time * dim));
    Buffer<float> latents(own, some), slopes(own, rows * time * dim), directions(own, drawn);
    Buffer<float> statistics(own, time * projections);
    Buffer<double> loss(own, 1);
    const auto by_time = [&](Buffer<float>& values) {
      return values.view<3>({rows, time, dim}).transposed(0, 1);
    };
    sigreg(own, {}, by_time(latents), directions.rows(projections), statistics.rows(projections),
           by_time(slopes), loss.flat(), share);
    return Found{loss.values()[0], statistics.values(), slopes.values()};
  };
  const Found whole = run(ctx, {}, batch);
  std::mutex mutex;
  std::vector<double> losses;
  std::vector<float> dz(z.size());
  in_parts(ctx, batch, {10, 11, 33}, [&](Context& own, const BatchShare& share, i64 rows) {
    const Found part = run(own, share, rows);
    const std::lock_guard lock(mutex);
    losses.push_back(part.loss);
    std::copy(part.dz.begin(), part.dz.end(), dz.begin() + share.first * time * dim);
    // batch times squares of means that are good to 1e-7
    EXPECT_LE(max_difference(part.statistics, whole.statistics),
              1e-7 * static_cast<double>(batch + 2));
  });
  for (const double loss : losses) {
    EXPECT_EQ(loss, losses[0]);
    EXPECT_NEAR(loss, whole.loss, 1e-7 * static_cast<double>(batch + 2));
  }
  // what means that are good to 1e-7 change in a gradient: times 2 sum_k w_k t_k < 4, over time
  EXPECT_LE(max_difference(dz, whole.dz), 4e-7 / static_cast<double>(time));
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
  Member alone(ctx, meeting, 0);
  Norm norm{4};
  const std::vector<float> rows(12);
  EXPECT_THROW(norm.run(ctx, {&alone, 2, 4}, rows, rows), Error);
  EXPECT_THROW(norm.run(ctx, {&alone, 0, 1}, rows, rows), Error);
  EXPECT_NO_THROW(norm.run(ctx, {&alone, 0, 3}, rows, rows));
}

}  // namespace
}  // namespace orrery
