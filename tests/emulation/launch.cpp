#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "block.h"
#include "runtime.h"

namespace emulation {

namespace {

// what each kernel may take of dynamic shared memory
std::map<const void*, std::size_t>& shared_limits() {
  static std::map<const void*, std::size_t> limits;
  return limits;
}

std::size_t shared_limit(const void* kernel) {
  const auto found = shared_limits().find(kernel);
  return found == shared_limits().end() ? kSharedAlways : found->second;
}

// Names of functions by address, from the program's own symbol table: kernels are local symbols,
// which the dynamic linker does not know.
std::map<std::uintptr_t, std::string> symbols() {
  std::map<std::uintptr_t, std::string> names;
  std::uintptr_t base = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* result) {
        *static_cast<std::uintptr_t*>(result) = info->dlpi_addr;  // the program comes first
        return 1;
      },
      &base);
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const auto read = [&](void* to, std::size_t bytes, std::uint64_t at) {
    file.seekg(static_cast<std::streamoff>(at));
    return static_cast<bool>(
        file.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes)));
  };
  ElfW(Ehdr) header;
  if (!read(&header, sizeof header, 0)) return names;
  std::vector<ElfW(Shdr)> sections(header.e_shnum);
  if (!read(sections.data(), sections.size() * sizeof sections[0], header.e_shoff)) return names;
  for (const auto& section : sections) {
    if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections.size()) continue;
    std::vector<ElfW(Sym)> table(section.sh_size / sizeof(ElfW(Sym)));
    std::vector<char> text(sections[section.sh_link].sh_size + 1);
    if (!read(table.data(), table.size() * sizeof table[0], section.sh_offset) ||
        !read(text.data(), text.size() - 1, sections[section.sh_link].sh_offset)) {
      return names;
    }
    for (const auto& symbol : table) {
      if ((symbol.st_info & 15) != STT_FUNC || symbol.st_name >= text.size()) continue;
      names[base + symbol.st_value] = text.data() + symbol.st_name;
    }
  }
  return names;
}

// the name alone: no parameters, no unnamed namespaces
std::string plain_name(const std::string& mangled) {
  int status = 0;
  char* readable = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  std::string name = status == 0 ? readable : mangled;
  std::free(readable);
  for (const std::string unnamed = "(anonymous namespace)::";;) {
    const auto at = name.find(unnamed);
    if (at == std::string::npos) break;
    name.erase(at, unnamed.size());
  }
  if (name.compare(0, 5, "void ") == 0) name.erase(0, 5);
  return name.substr(0, name.find('('));
}

void check_pointers(const Launch& launch) {
  launch.pointers([&](int number, const void* pointer) {
    if (pointer == nullptr || where_is(pointer, 0) != Where::nowhere) return;
    fail(
        "kernel %s: argument %d points to %p, which is no memory of the device (the host's, or "
        "freed)",
        kernel_name(launch.kernel), number, pointer);
  });
}

void run_launch(const Launch& launch) {
  if (kernel_shall_fail()) return;
  check_pointers(launch);
  const DeviceTurn turn;
  Grid grid = {};
  grid.name = kernel_name(launch.kernel);
  grid.grid = launch.grid;
  grid.block = launch.block;
  grid.shared_bytes = launch.shared_bytes;
  grid.thread = [](void* context) { (*static_cast<const std::function<void()>*>(context))(); };
  grid.context = const_cast<std::function<void()>*>(&launch.thread);
  run_grid(grid);
}

}  // namespace

const char* kernel_name(const void* kernel) {
  static std::map<const void*, std::string> names;
  const auto known_name = names.find(kernel);
  if (known_name != names.end()) return known_name->second.c_str();
  static const auto all = symbols();
  const auto found = all.find(reinterpret_cast<std::uintptr_t>(kernel));
  return names.emplace(kernel, found == all.end() ? "(of no name)" : plain_name(found->second))
      .first->second.c_str();
}

cudaError_t launch(const cudaLaunchConfig_t& config, Launch launch) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (current() != nullptr) fail("a kernel launches a kernel");
  if (!known(config.stream)) return call.done(cudaErrorInvalidResourceHandle);
  const dim3 grid = config.gridDim, block = config.blockDim;
  const auto threads = static_cast<unsigned long long>(block.x) * block.y * block.z;
  if (threads == 0 || threads > kMaxThreads || block.x > kMaxThreads || block.y > kMaxThreads ||
      block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu ||
      grid.y > 65535 || grid.z > 65535) {
    return call.done(cudaErrorInvalidConfiguration);
  }
  if (config.dynamicSmemBytes > shared_limit(launch.kernel)) {
    return call.done(cudaErrorInvalidValue);
  }
  check_pointers(launch);
  return call.done(submit(config.stream, cudaGraphNodeTypeKernel,
                          [kept = std::move(launch)] { run_launch(kept); }));
}

}  // namespace emulation

using emulation::Call;

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return call.done(cudaSuccess);
  if (value < 0 || static_cast<std::size_t>(value) > emulation::kSharedOptin) {
    return call.done(cudaErrorInvalidValue);
  }
  emulation::shared_limits()[kernel] = static_cast<std::size_t>(value);
  return call.done(cudaSuccess);
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  *attributes = {};
  attributes->maxThreadsPerBlock = static_cast<int>(emulation::kMaxThreads);
  attributes->ptxVersion = attributes->binaryVersion = 80;
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(emulation::shared_limit(kernel));
  return call.done(cudaSuccess);
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* kernel,
                                                          int block_threads,
                                                          std::size_t shared_bytes) {
  const Call call;
  if (call.status() != cudaSuccess) return call.done(call.status());
  if (block_threads <= 0 || block_threads > static_cast<int>(emulation::kMaxThreads)) {
    return call.done(cudaErrorInvalidValue);
  }
  *blocks = 0;
  if (shared_bytes > emulation::shared_limit(kernel)) return call.done(cudaSuccess);
  // registers are not known here: threads and shared memory alone
  const auto by_shared = static_cast<int>(228 * 1024 / (shared_bytes + 1024));
  *blocks = std::min({32, 2048 / ((block_threads + 31) / 32 * 32), by_shared});
  return call.done(cudaSuccess);
}
