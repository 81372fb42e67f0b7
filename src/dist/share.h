#pragma once

#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "dist/world.h"

namespace orrery::dist {

// Asked now and then by long work: false means that nobody wants the result any more.
using GoesOn = std::function<bool()>;
// Does one unit and returns what came out, at most kMaxMessageBytes. An exception says that this
// rank could not.
using UnitWork = std::function<std::string(i64 unit, const GoesOn& goes_on)>;

// What became of a rank, or of a unit on it.
struct RankFailure {
  int rank = 0;
  std::string host;
  i64 unit = -1;  // that it failed at; -1: it was none
  std::string reason;
  bool gone = false;  // it gets no more units
};

// In one sentence; `what` is the unit in the caller's words ("episodes 8 to 11"), empty for none.
std::string sentence_of(const RankFailure& failure, const std::string& what);

// Units of work that many ranks do and one collects. Numbers of units are the caller's; their
// results must not depend on who does them or in which order.
struct SharedWork {
  // Every rank, in a thread of its own, which then also does the units: makes what is needed for
  // many of them (a team of threads, a model). An exception says that this rank cannot take part.
  std::function<UnitWork()> start;

  // The rest is asked of rank 0 only, in the thread that called share_out.

  // Which units are to be done, once, in the order in which they are handed out. Asked when this
  // rank's own `start` is over, and finds what that left; also when it failed.
  std::function<std::vector<i64>()> units;
  // takes a result, once for every unit, in the order in which they are finished; meanwhile the
  // others work on what they already have
  std::function<void(i64 unit, std::string result)> keep;
  // asked all the time, also before `units`; false: stop
  std::function<bool()> goes_on = [] { return true; };
  // told of every failure that the run survives
  std::function<void(const RankFailure&)> tell = [](const RankFailure&) {};

  // a rank that says nothing for so long is taken for dead (each says something every second)
  double silence_s = 15;
};

// Has all units done, and returns on every rank when they are. False, on rank 0: stopped before.
//
// Rank 0 hands out units as ranks ask, two at a time, so that a result on its way keeps nobody
// idle; it works too. A unit that fails on one rank is given to another; when it fails there too it
// is the unit's fault, and the run fails with what both said. A rank at which three units in a row
// failed, that could not start, or that falls silent gets no more, and its units are given to
// others; what it still sends counts if it is the first. So a run ends well while rank 0 and one
// rank that can work are left.
//
// Memory: results on their way, at most two a rank, of which rank 0 takes 64 at a time.
//
// Errors, on rank 0: a unit that failed twice; no rank is left; what `units` and `keep` throw. On
// the others: rank 0 is silent for four times silence_s. A rank that could not work returns like
// the rest, for rank 0 tells for all. Every rank leaves the world; it cannot be used afterwards.
bool share_out(World& world, const SharedWork& work);

// Instead of share_out, for a rank that failed before: on rank 0 ends the run for all and throws
// `failure`; another rank tells rank 0 and stays out of it until the end.
void take_no_part(World& world, std::exception_ptr failure);

}  // namespace orrery::dist
