#pragma once

#include <hdf5.h>

#include <mutex>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/types.h"

namespace orrery {

// For hdf5.cpp and hdf5_write.cpp only: what keeps libhdf5's C interface tame.

// Blosc's registered number among HDF5 filters, and the parameters that its chunks are stored with:
// filter revision, Blosc format, element bytes, chunk bytes, level, shuffle, compressor.
inline constexpr H5Z_filter_t kBloscFilter = 32001;
inline constexpr std::size_t kBloscParameters = 7;

// Holds libhdf5's one lock. Its own error printing is off while held.
class Hdf5Lock {
 public:
  Hdf5Lock();

 private:
  std::lock_guard<std::mutex> guard_;
};

// The innermost reason of libhdf5's last failure, as it words it; call under the lock.
std::string hdf5_reason();

// check() of what libhdf5 has done, with its reason behind the sentence; one that stood among the
// arguments could be asked for before the call.
template <typename... Parts>
void check_hdf5(bool done, const Parts&... sentence) {
  if (!done) fail(sentence..., hdf5_reason());
}

// An identifier that closes itself; made and destroyed under the lock.
class Hdf5Handle {
 public:
  using Close = herr_t (*)(hid_t);

  Hdf5Handle() = default;
  Hdf5Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept
      : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    reset();
    id_ = std::exchange(other.id_, -1);
    close_ = other.close_;
    return *this;
  }
  ~Hdf5Handle() { reset(); }

  hid_t id() const { return id_; }
  bool valid() const { return id_ >= 0; }
  bool reset() {
    const hid_t id = std::exchange(id_, -1);
    return id < 0 || close_(id) >= 0;
  }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

}  // namespace orrery
