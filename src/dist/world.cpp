#include "dist/world.h"

#include <unistd.h>

#include <array>
#include <deque>
#include <mutex>

#include "base/error.h"
#include "dist/launch.h"
#include "dist/mpi_world.h"

namespace orrery::dist {

namespace {

// what has been sent and not received, by rank
struct Mailboxes {
  std::mutex mutex;
  std::vector<std::deque<Message>> waiting;
};

class ThreadWorld final : public World {
 public:
  ThreadWorld(int rank, int size, std::shared_ptr<Mailboxes> mailboxes)
      : World(rank, size), mailboxes_(std::move(mailboxes)) {
    host_ = this_host();
  }

  void send(int to, std::string bytes) override {
    check_message(*this, to, bytes);
    const std::lock_guard lock(mailboxes_->mutex);
    mailboxes_->waiting[static_cast<std::size_t>(to)].push_back({rank_, std::move(bytes)});
  }

  std::optional<Message> receive() override {
    const std::lock_guard lock(mailboxes_->mutex);
    auto& mine = mailboxes_->waiting[static_cast<std::size_t>(rank_)];
    if (mine.empty()) return std::nullopt;
    Message message = std::move(mine.front());
    mine.pop_front();
    return message;
  }

  bool sent(int) override { return true; }
  bool moving() override { return false; }
  void leave(bool) override {}

 private:
  std::shared_ptr<Mailboxes> mailboxes_;
};

}  // namespace

std::string this_host() {
  std::array<char, 256> name = {};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == 0) return "unknown";
  return name.data();
}

void check_message(const World& world, int to, const std::string& bytes) {
  ORRERY_ASSERT(to >= 0 && to < world.size() && to != world.rank());
  check(static_cast<i64>(bytes.size()) <= kMaxMessageBytes, "a message of ", bytes.size(),
        " bytes from rank ", world.rank(), " to rank ", to, ": at most ", kMaxMessageBytes,
        " are possible");
}

std::vector<std::unique_ptr<World>> worlds_of_threads(int size) {
  const auto mailboxes = std::make_shared<Mailboxes>();
  mailboxes->waiting.resize(static_cast<std::size_t>(size));
  std::vector<std::unique_ptr<World>> worlds;
  for (int rank = 0; rank < size; ++rank) {
    worlds.push_back(std::make_unique<ThreadWorld>(rank, size, mailboxes));
  }
  return worlds;
}

std::unique_ptr<World> world_of_one() { return std::move(worlds_of_threads(1).front()); }

std::unique_ptr<World> join_world() {
  const Launch launch = launch_of_this_process();
  if (launch.size == 1) return world_of_one();
#if ORRERY_MPI
  return mpi_world(launch);
#else
  fail(launch.launcher, " started ", launch.size,
       " processes, and this build has no MPI to share work among them (orrery info): it needs "
       "libopenmpi-dev");
#endif
}

}  // namespace orrery::dist
