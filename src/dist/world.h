#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/types.h"

namespace orrery::dist {

struct Message {
  int from = 0;
  std::string bytes;
};

// The ranks of a run: processes (or, in tests, threads) that one launcher started, and messages
// between them. Nothing here waits for another rank, so a rank that is gone holds nobody up; who is
// gone is for the caller to find out (share.h).
//
// One thread of a rank uses its World at a time.
class World {
 public:
  virtual ~World() = default;
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  // this machine, as others call it
  const std::string& host() const { return host_; }
  // Threads that are this rank's share of the cores it may use: cores that several ranks may use
  // are divided among them. At least 1.
  int threads() const { return threads_; }

  // Takes a message, of at most kMaxMessageBytes, and returns. Messages from one rank to another
  // arrive in the order they were sent. A rank does not send to itself.
  virtual void send(int to, std::string bytes) = 0;
  // The next message that has arrived, if there is one.
  virtual std::optional<Message> receive() = 0;
  // Whether all that was sent to a rank has left.
  virtual bool sent(int to) = 0;
  // Whether messages are on their way, in or out, so that it is worth asking again at once.
  virtual bool moving() = 0;
  // The last call of every rank. `together`: all ranks come to it, and it returns when they have;
  // otherwise some are gone, and it returns at once.
  virtual void leave(bool together) = 0;

 protected:
  World(int rank, int size) : rank_(rank), size_(size) {}

  int rank_;
  int size_;
  int threads_ = 1;
  std::string host_;
};

inline constexpr i64 kMaxMessageBytes = i64{1} << 30;

// The world that the launcher of this process made. A process started on its own is alone, and MPI
// is not touched.
//
// Errors: several processes were started and this build has no MPI, or MPI does not know of them
// (srun without --mpi=pmix).
std::unique_ptr<World> join_world();

// A world of one rank.
std::unique_ptr<World> world_of_one();

// A world of threads, for tests: one World for each, to be used by one thread each.
std::vector<std::unique_ptr<World>> worlds_of_threads(int size);

}  // namespace orrery::dist
