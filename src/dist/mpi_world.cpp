#include "dist/mpi_world.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <list>

#include "base/error.h"

#if ORRERY_MPI
#include <mpi.h>
#endif

namespace orrery::dist {

#if ORRERY_MPI

namespace {

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char reason[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, reason, &length);
  fail(call, ": ", reason);
}

// This rank's share of the cores: each core it may use is divided among the ranks of this machine
// that may use it too. mpirun binds ranks to cores, or lets all have all; both come out right.
int share_of_cores() {
  MPI_Comm machine = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine),
            "MPI_Comm_split_type");
  int size = 1;
  MPI_Comm_size(machine, &size);
  cpu_set_t mine;
  CPU_ZERO(&mine);
  ::sched_getaffinity(0, sizeof mine, &mine);
  std::vector<cpu_set_t> all(static_cast<std::size_t>(size));
  check_mpi(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all.data(), sizeof mine, MPI_BYTE, machine),
            "MPI_Allgather");
  MPI_Comm_free(&machine);

  double share = 0;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    const auto core_index = static_cast<std::size_t>(core);
    if (!CPU_ISSET(core_index, &mine)) continue;
    share += 1.0 / static_cast<double>(std::count_if(
                       all.begin(), all.end(),
                       [core_index](const cpu_set_t& set) { return CPU_ISSET(core_index, &set); }));
  }
  // sums of fractions: 3 thirds are 1
  return std::max(1, static_cast<int>(share + 1e-6));
}

class MpiWorld final : public World {
 public:
  explicit MpiWorld(const Launch& launch) : World(launch.rank, launch.size) {
    host_ = this_host();
    // Open MPI would tell it in a page, and end the process
    check(launch.launcher != "srun" || std::getenv("PMIX_NAMESPACE") != nullptr, "srun started ",
          launch.size, " processes that cannot reach each other: start them by srun --mpi=pmix");
    int ready = 0;
    MPI_Initialized(&ready);
    check(ready == 0, "this process has joined the other ranks already");
    int level = 0;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &level), "MPI_Init_thread");
    check(level >= MPI_THREAD_SERIALIZED, "this MPI cannot be used by one thread after the other");
    // errors come back as codes; without this the first one ends the process
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    check(size_ == launch.size, launch.launcher, " started ", launch.size,
          " processes, and MPI knows of ", size_,
          ": was this Open MPI built for another launcher?");
    threads_ = share_of_cores();
    going_.resize(static_cast<std::size_t>(size_));
  }

  void send(int to, std::string bytes) override {
    check_message(*this, to, bytes);
    auto& going = going_[static_cast<std::size_t>(to)];
    Transfer& transfer = going.emplace_back();
    transfer.bytes = std::move(bytes);
    // a rank that is gone may be known to MPI: its messages are lost like those it never read
    if (MPI_Isend(transfer.bytes.data(), static_cast<int>(transfer.bytes.size()), MPI_BYTE, to,
                  kTag, MPI_COMM_WORLD, &transfer.request) != MPI_SUCCESS) {
      going.pop_back();
    }
  }

  std::optional<Message> receive() override {
    drop_what_went();
    accept_what_came();
    // The first of each rank that is all there. A rank that dies in the middle of a message leaves
    // it unfinished for ever, which holds up nobody else.
    std::vector<bool> passed(static_cast<std::size_t>(size_), false);
    for (auto transfer = coming_.begin(); transfer != coming_.end(); ++transfer) {
      const auto from = static_cast<std::size_t>(transfer->from);
      if (passed[from]) continue;
      passed[from] = true;
      if (!done(*transfer)) continue;
      Message message{transfer->from, std::move(transfer->bytes)};
      coming_.erase(transfer);
      return message;
    }
    return std::nullopt;
  }

  bool sent(int to) override {
    drop_what_went();
    return going_[static_cast<std::size_t>(to)].empty();
  }

  bool moving() override {
    const auto some = [](const auto& transfers) { return !transfers.empty(); };
    return some(coming_) || std::any_of(going_.begin(), going_.end(), some);
  }

  void leave(bool together) override {
    if (together) MPI_Finalize();
  }

 private:
  static constexpr int kTag = 1;
  // Messages taken at a time, which bounds memory: others wait with their senders. Enough that
  // those which dead ranks leave unfinished do not fill it.
  static constexpr std::size_t kMostComing = 64;

  struct Transfer {
    int from = 0;
    std::string bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  // an error counts as done: nothing more will come of it
  static bool done(Transfer& transfer) {
    int flag = 0;
    return MPI_Test(&transfer.request, &flag, MPI_STATUS_IGNORE) != MPI_SUCCESS || flag != 0;
  }

  void drop_what_went() {
    for (auto& going : going_) going.remove_if([](Transfer& transfer) { return done(transfer); });
  }

  void accept_what_came() {
    while (coming_.size() < kMostComing) {
      int waiting = 0, bytes = 0;
      MPI_Message handle = MPI_MESSAGE_NULL;
      MPI_Status status;
      if (MPI_Improbe(MPI_ANY_SOURCE, kTag, MPI_COMM_WORLD, &waiting, &handle, &status) !=
              MPI_SUCCESS ||
          waiting == 0) {
        return;
      }
      MPI_Get_count(&status, MPI_BYTE, &bytes);
      Transfer& transfer = coming_.emplace_back();
      transfer.from = status.MPI_SOURCE;
      transfer.bytes.resize(static_cast<std::size_t>(bytes));
      check_mpi(MPI_Imrecv(transfer.bytes.data(), bytes, MPI_BYTE, &handle, &transfer.request),
                "MPI_Imrecv");
    }
  }

  // lists: MPI writes to these places while they wait
  std::vector<std::list<Transfer>> going_;  // by rank
  std::list<Transfer> coming_;
};

}  // namespace

std::unique_ptr<World> mpi_world(const Launch& launch) {
  return std::make_unique<MpiWorld>(launch);
}

#endif

std::string mpi_build() {
#if ORRERY_MPI
  // what is linked, which may be newer than what was compiled against: "Open MPI v4.1.4, package:
  // ..."
  char version[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(version, &length);
  std::string name(version, static_cast<std::size_t>(length));
  return name.substr(0, name.find(','));
#else
  return "no";
#endif
}

}  // namespace orrery::dist
