// Loads of boxes and products of warpgroups: what touches the kernel's memory for them.
// Instrumented, and run by a thread of the kernel, so that it races where the kernel would.

#include "async.h"
#include "block.h"
#include "emulation/fragments.h"
#include "formats.h"

namespace emulation {

namespace {

constexpr std::uint64_t kMagic = 0x74656e736f726d61u;

TensorMap read(const CUtensorMap& map) {
  TensorMap told;
  static_assert(sizeof told <= sizeof map);
  std::memcpy(&told, &map, sizeof told);
  return told;
}

// Bits 4 to 6 of an address are combined with bits 7 to 9: of the address itself, wherever the
// matrix begins.
std::uint32_t swizzled(std::uint32_t address) { return address ^ (address >> 3 & 0x70u); }

void perform(const Load& load) {
  const TensorMap& map = load.map;
  const unsigned row_bytes = map.box[0] * map.element_bytes;
  for (unsigned r = 0; r < map.box[1]; ++r) {
    const std::int64_t row = std::int64_t{load.outer} + r;
    const bool row_there = row >= 0 && static_cast<std::uint64_t>(row) < map.sizes[1];
    const unsigned char* from =
        map.data + (row_there ? row * static_cast<std::int64_t>(map.row_stride) : 0);
    for (unsigned piece = 0; piece < row_bytes; piece += 16) {
      const std::uint32_t plain = load.to + r * row_bytes + piece;
      const std::uint32_t to = map.swizzled != 0 ? swizzled(plain) : plain;
      auto* bytes = static_cast<unsigned char*>(shared_pointer(to, 16));
      for (unsigned i = 0; i < 16; ++i) {
        const std::int64_t element =
            load.inner + static_cast<std::int64_t>((piece + i) / map.element_bytes);
        const bool there =
            row_there && element >= 0 && static_cast<std::uint64_t>(element) < map.sizes[0];
        bytes[i] = there ? from[element * map.element_bytes + (piece + i) % map.element_bytes] : 0;
      }
    }
  }
  complete_bytes(load.barrier, row_bytes * map.box[1]);
}

// a matrix of rows of 32 bytes, as a descriptor says: start, distance of patterns of eight rows,
// swizzle over 128 bytes
class Described {
 public:
  Described(std::uint64_t descriptor, unsigned rows)
      : start_(static_cast<std::uint32_t>(descriptor & 0x3fffu) << 4),
        pattern_(static_cast<std::uint32_t>(descriptor >> 32 & 0x3fffu) << 4) {
    if (descriptor >> 62 != 1) {
      fail("wgmma: swizzle %u, only that of 128 bytes is known here",
           static_cast<unsigned>(descriptor >> 62));
    }
    if ((descriptor >> 49 & 7u) != 0) fail("wgmma: patterns that begin off a multiple of 1024");
    // the block has all the patterns
    const std::uint32_t first = start_ & ~1023u;
    origin_ =
        static_cast<const char*>(shared_pointer(first, (rows / 8 - 1) * pattern_ + 1024)) - first;
  }
  // row `r`'s 32 bytes as words
  void row(unsigned r, std::uint32_t (&words)[8]) const {
    for (unsigned half = 0; half < 2; ++half) {
      const std::uint32_t plain = start_ + r / 8 * pattern_ + r % 8 * 128 + half * 16;
      const auto* from = reinterpret_cast<const std::uint32_t*>(origin_ + swizzled(plain));
      for (unsigned i = 0; i < 4; ++i) words[4 * half + i] = from[i];
    }
  }

 private:
  std::uint32_t start_, pattern_;
  const char* origin_;  // where address 0 would be
};

// a thread's part of the product: two rows, two columns of each eight
template <int Bits, typename Sum, typename Value>
void multiply(const WarpgroupProduct& product, Value value) {
  constexpr unsigned kEach = 32 / Bits, kDepth = 8 * kEach;
  const Described a(product.a, 64), b(product.b, kWarpgroupColumns);
  const unsigned thread = thread_number() % 128, lane = thread % 32;
  Sum of_a[2][kDepth], of_b[kDepth];
  const auto load = [&](const Described& matrix, unsigned row, Sum(&to)[kDepth]) {
    std::uint32_t words[8];
    matrix.row(row, words);
    for (unsigned k = 0; k < kDepth; ++k) {
      to[k] = value(words[k / kEach] >> (Bits * (k % kEach)) & ((1u << Bits) - 1));
    }
  };
  for (unsigned half = 0; half < 2; ++half) {
    load(a, thread / 32 * 16 + lane / 4 + 8 * half, of_a[half]);
  }
  auto* d = static_cast<Sum*>(product.d);
  for (unsigned j = 0; j < kWarpgroupColumns / 8; ++j) {
    for (unsigned e = 0; e < 2; ++e) {
      load(b, j * 8 + lane % 4 * 2 + e, of_b);
      for (unsigned half = 0; half < 2; ++half) {
        Sum sum = 0;
        for (unsigned k = 0; k < kDepth; ++k) sum += of_a[half][k] * of_b[k];
        d[4 * j + 2 * half + e] += sum;
      }
    }
  }
}

void perform(const WarpgroupProduct& product) {
  switch (product.kind) {
    case WarpgroupKind::bf16:
      return multiply<16, float>(product, bf16_value);
    case WarpgroupKind::s8:
      return multiply<8, std::int32_t>(product, s8_value);
    case WarpgroupKind::e4m3:
      return multiply<8, float>(product, e4m3_value);
  }
}

}  // namespace

CUresult encode_tiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data,
                      const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                      const cuuint32_t* steps, CUtensorMapInterleave interleave,
                      CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  // what the driver's documentation wants of two dimensions; others are not known here
  constexpr std::uint64_t kUnit = 16;
  const unsigned bytes = type == CU_TENSOR_MAP_DATA_TYPE_UINT8     ? 1
                         : type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32 ? 4
                                                                   : 2;
  if (map == nullptr || reinterpret_cast<std::uintptr_t>(map) % 64 != 0 || rank != 2 ||
      interleave != CU_TENSOR_MAP_INTERLEAVE_NONE ||
      reinterpret_cast<std::uintptr_t>(data) % kUnit != 0 || strides[0] % kUnit != 0 ||
      strides[0] >= std::uint64_t{1} << 40 || box[0] * bytes % kUnit != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (unsigned i = 0; i < 2; ++i) {
    if (sizes[i] == 0 || sizes[i] > std::uint64_t{1} << 32 || box[i] == 0 || box[i] > 256 ||
        steps[i] != 1) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  const bool wide = swizzle == CU_TENSOR_MAP_SWIZZLE_128B;
  if (wide && box[0] * bytes > 128) return CUDA_ERROR_INVALID_VALUE;
  const TensorMap told = {kMagic,
                          static_cast<const unsigned char*>(data),
                          {sizes[0], sizes[1]},
                          strides[0],
                          {box[0], box[1]},
                          bytes,
                          wide ? 1u : 0u};
  std::memcpy(static_cast<void*>(map), &told, sizeof told);
  return CUDA_SUCCESS;
}

const void* data_of(const CUtensorMap& map) {
  const TensorMap told = read(map);
  return told.magic == kMagic ? told.data : nullptr;
}

void load_box(void* to, const CUtensorMap* map, int inner, int outer, std::uint64_t* barrier) {
  const Load load = {read(*map), shared_address(to), inner, outer, barrier};
  if (load.map.magic != kMagic) fail("cp.async.bulk.tensor with a map that nobody encoded");
  if (load.to % 128 != 0) {
    fail("cp.async.bulk.tensor writes to 0x%x, which is no multiple of 128", load.to);
  }
  if (!keep_load(load)) perform(load);
}

void barrier_wait(std::uint64_t* barrier, unsigned parity) {
  Load load;
  while (!barrier_passed(barrier, parity)) {
    if (take_load(load, barrier)) {
      perform(load);
    } else {
      wait_for_barrier(barrier, parity);
    }
  }
  order_after_barrier(barrier, parity);
}

void warpgroup_multiply(WarpgroupKind kind, void* d, std::uint64_t a, std::uint64_t b) {
  keep_product({kind, d, a, b, 0});
}

void warpgroup_wait(unsigned pending) {
  // as late as can be: whoever is told too early that all has been read goes first
  wait_until(
      "its products", [](const void*) { return true; }, nullptr);
  WarpgroupProduct product;
  begin_products();
  while (take_product(product, pending)) perform(product);
  end_products();
}

}  // namespace emulation
