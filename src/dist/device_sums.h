#pragma once

#include <memory>
#include <string>

#include "device/context.h"
#include "dist/lockstep.h"
#include "tensor/view.h"

namespace orrery::dist {

// Sums over the ranks of a run of memory of their CUDA devices, one context a rank. They are part
// of the context's work: asked for in the same order on every rank, done when its stream gets
// there, and captured like any other (Context::capture), so that a step with sums is one launch.
// The host waits only where it waits for the context.
//
//   NCCL        between devices, over NVLink, PCIe or the network between machines. Each rank needs
//               a device of its own. Numbers are added in their own type along paths that NCCL
//               chooses: all ranks get the same bits, and the same ranks on the same machines get
//               them again; another number of ranks, or other machines, round otherwise.
//   the host    through page-locked memory and Lockstep::sum, which the stream calls: any MPI does,
//               and ranks may share a device. Sums are in double in the order of ranks, so the same
//               bits come out wherever they are. Every sum stands in the way of what follows.
//
// Work that waits for a rank that is gone is given up as soon as the lockstep knows that it is.
class DeviceSums {
 public:
  virtual ~DeviceSums() = default;
  DeviceSums(const DeviceSums&) = delete;
  DeviceSums& operator=(const DeviceSums&) = delete;

  // Contiguous values on the context's device; all ranks have as many.
  virtual void sum(View<float, 1> values) = 0;
  virtual void sum(View<double, 1> values) = 0;

  // Sums beside the work that is asked for next, where that is possible (NCCL): nothing may touch
  // the values, and no sum of the other kind be asked for, until join().
  virtual void sum_beside(View<float, 1> values) { sum(values); }
  virtual void join() {}

  // For whoever has waited for the context and before he uses what came: Error when sums did not
  // come about, which names the rank that is gone or what NCCL says.
  virtual void check() = 0;

  virtual std::string name() const = 0;  // "NCCL 2.28.9", "the host"

 protected:
  DeviceSums() = default;
};

enum class SumsBy { automatic, nccl, host };
// "auto", "nccl" or "host"; Error for anything else.
SumsBy sums_by_from(const std::string& name);

#if ORRERY_CUDA
// Those of a CUDA context, which outlives them, as does the lockstep; captured work that asks for
// sums must be gone before they are. All ranks call this together.
//
// automatic: NCCL where every rank can load it and has a device of its own, else the host;
// `notice`, when given, then says in a sentence why not NCCL.
//
// Errors: NCCL was asked for and cannot be had.
std::unique_ptr<DeviceSums> device_sums(Context& ctx, Lockstep& lockstep, SumsBy by,
                                        std::string* notice = nullptr);
#endif

// "NCCL 2.28.9"; else "no: " and the reason in words.
std::string nccl_build();

}  // namespace orrery::dist
