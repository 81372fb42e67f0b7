#include "dist/lockstep.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace orrery::dist {

namespace {

// Up to so many bytes every rank sends all it has to every other, one way; beyond, each adds up a
// part for all, there and back. 64 KiB take as long on a fast network as a message at all.
constexpr std::size_t kSmallBytes = std::size_t{1} << 16;
// Values of one round of messages: bounds what waits in memory to two copies of 8 MiB of floats.
constexpr std::size_t kRoundValues = std::size_t{1} << 21;

template <typename T>
std::string bytes_from(std::span<const T> values) {
  std::string bytes(values.size_bytes(), '\0');
  std::memcpy(bytes.data(), values.data(), values.size_bytes());
  return bytes;
}

template <typename T>
void copy_to(std::span<T> values, const std::string& bytes, int from) {
  check(bytes.size() == values.size_bytes(), "rank ", from, " sent ", bytes.size(), " bytes where ",
        values.size_bytes(), " were needed: ranks are not at the same work");
  std::memcpy(values.data(), bytes.data(), bytes.size());
}

}  // namespace

void Lockstep::send_to_others(const std::string& bytes) {
  for (int rank = 0; rank < size_; ++rank) {
    if (rank != rank_) send(rank, call_, bytes);
  }
}

template <typename T>
void Lockstep::sum_piece(std::span<T> values) {
  const std::size_t count = values.size(), ranks = static_cast<std::size_t>(size_);
  const bool small = values.size_bytes() <= kSmallBytes;
  // the part that a rank adds up: its own for all, or everything for itself
  const auto part_of = [&](int rank) {
    if (small) return values;
    const auto r = static_cast<std::size_t>(rank);
    const std::size_t begin = count * r / ranks, end = count * (r + 1) / ranks;
    return values.subspan(begin, end - begin);
  };
  const std::span<T> mine = part_of(rank_);
  for (int rank = 0; rank < size_; ++rank) {
    if (rank != rank_) send(rank, call_, bytes_from(std::span<const T>(part_of(rank))));
  }
  std::vector<double> totals(mine.size(), 0.0);
  std::vector<T> theirs(mine.size());
  for (int rank = 0; rank < size_; ++rank) {
    if (rank != rank_) copy_to(std::span<T>(theirs), receive(rank, call_), rank);
    const T* from = rank == rank_ ? mine.data() : theirs.data();
    for (std::size_t i = 0; i < mine.size(); ++i) totals[i] += static_cast<double>(from[i]);
  }
  for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = static_cast<T>(totals[i]);
  if (small) return;
  send_to_others(bytes_from(std::span<const T>(mine)));
  for (int rank = 0; rank < size_; ++rank) {
    if (rank != rank_) copy_to(part_of(rank), receive(rank, call_), rank);
  }
}

template <typename T>
void Lockstep::sum_up(std::span<T> values) {
  if (size_ == 1) return;
  ++call_;
  for (std::size_t begin = 0; begin < values.size(); begin += kRoundValues) {
    sum_piece(values.subspan(begin, std::min(kRoundValues, values.size() - begin)));
  }
}

void Lockstep::sum(std::span<float> values) { sum_up(values); }
void Lockstep::sum(std::span<double> values) { sum_up(values); }

void Lockstep::take_from_rank_0(std::span<std::byte> bytes) {
  if (size_ == 1) return;
  ++call_;
  const std::size_t round = kRoundValues * sizeof(float);
  for (std::size_t begin = 0; begin < bytes.size(); begin += round) {
    const auto piece = bytes.subspan(begin, std::min(round, bytes.size() - begin));
    if (rank_ == 0) {
      send_to_others(bytes_from(std::span<const std::byte>(piece)));
    } else {
      copy_to(piece, receive(0, call_), 0);
    }
  }
}

std::vector<std::string> Lockstep::gather(std::string bytes) {
  ++call_;
  send_to_others(bytes);
  std::vector<std::string> all(static_cast<std::size_t>(size_));
  for (int rank = 0; rank < size_; ++rank) {
    if (rank != rank_) all[static_cast<std::size_t>(rank)] = receive(rank, call_);
  }
  all[static_cast<std::size_t>(rank_)] = std::move(bytes);
  return all;
}

bool Lockstep::any(bool here) {
  const auto all = gather(here ? "y" : "n");
  return std::find(all.begin(), all.end(), "y") != all.end();
}

void Lockstep::must_agree(const std::string& what, const std::string& value) {
  const auto values = gather(value);
  const auto other = std::find_if(values.begin(), values.end(),
                                  [&](const std::string& one) { return one != values[0]; });
  if (other == values.end()) return;
  const auto hosts = gather(host_);
  const auto rank = static_cast<std::size_t>(other - values.begin());
  fail("rank ", rank, " on ", hosts[rank], " does not have ", what, " of rank 0 on ", hosts[0],
       ": ", *other, " is not ", values[0]);
}

}  // namespace orrery::dist
