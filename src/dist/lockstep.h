#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dist/world.h"

namespace orrery::dist {

// What ranks can do together while all of them run the same work: each call is one that every rank
// makes, in the same order, and returns when it has what it needs of the others.
//
// Sums are taken in double in the order of ranks and rounded once, whatever arrives first, and each
// is computed by one rank or in one way: all ranks hold the same bits afterwards.
//
// Errors: another rank failed, or is gone; ranks that are not at the same call.
class Lockstep {
 public:
  virtual ~Lockstep() = default;
  Lockstep(const Lockstep&) = delete;
  Lockstep& operator=(const Lockstep&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  // Values become their sums over the ranks; all ranks have as many. Each rank sends and receives
  // 2 (size - 1) / size times their bytes: it adds up a part of them for all.
  void sum(std::span<float> values);
  void sum(std::span<double> values);
  // Everyone gets what rank 0 has; all ranks have as much memory for it.
  void take_from_rank_0(std::span<std::byte> bytes);
  // What each rank gives, by rank, on all of them. Meant for a few bytes.
  std::vector<std::string> gather(std::string bytes);
  // whether any rank says so
  bool any(bool here);
  // Error on all ranks, which names one that differs from rank 0, unless all give the same; `what`
  // is what they give, in a few words.
  void must_agree(const std::string& what, const std::string& value);

  // Why the others do not go on; empty while they do. For any thread, at any time: whoever waits
  // for a device that waits for another rank asks it.
  virtual std::string lost() const = 0;
  const std::string& host() const { return host_; }  // this machine

 protected:
  Lockstep(int rank, int size, std::string host)
      : rank_(rank), size_(size), host_(std::move(host)) {}
  // A message of call number `call`; those from one rank to another arrive in order. `receive`
  // waits.
  virtual void send(int to, i64 call, std::string bytes) = 0;
  virtual std::string receive(int from, i64 call) = 0;

 private:
  void send_to_others(const std::string& bytes);
  template <typename T>
  void sum_up(std::span<T> values);
  template <typename T>
  void sum_piece(std::span<T> values);

  int rank_, size_;
  std::string host_;
  i64 call_ = 0;  // the one in progress
};

struct LockstepOptions {
  // a rank that says nothing for so long is taken for dead (each says something every second)
  double silence_s = 15;
};

// Runs `work` on every rank, in a thread of its own while this one lets the others know that the
// rank lives, and returns when it has ended everywhere. A world of one rank runs it in this thread.
//
// True: it ended well on all ranks. A rank that throws, or falls silent, ends the work for all:
// what the others wait for then never comes, and they leave their work with an exception. Rank 0
// then throws, once for the whole run: what its own work threw, or a sentence that names the rank;
// the others return false. They throw when it is rank 0 that is silent, for four times silence_s.
// Every rank leaves the world; it cannot be used afterwards.
bool in_lockstep(World& world, const LockstepOptions& options,
                 const std::function<void(Lockstep&)>& work);

}  // namespace orrery::dist
