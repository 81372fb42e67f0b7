#include "device_options.h"

#include <iostream>

#include "base/text.h"
#include "dist/launch.h"

namespace orrery::cli {

void DeviceOptions::add_to(CLI::App& verb) {
  verb.add_option("--device,--backend", options_.device,
                  "where to work: cpu, cuda, cuda:N, or auto (CUDA where it can be used)")
      ->capture_default_str();
  verb.add_option("--precision", options_.precision,
                  "of matrix products: f32, and on CUDA tf32, bf16, int8 or fp8")
      ->capture_default_str();
  verb.add_option("--threads", options_.threads, "threads, 0 for one per core");
}

const ModelOptions& DeviceOptions::chosen() {
  if (decided_) return options_;
  decided_ = true;
  precision_from(options_.precision);  // a wrong name is an error on every device
  // ranks of one machine spread over its devices
  const dist::Launch launch = dist::launch_of_this_process();
  const auto spread = [&launch] {
    const auto devices = static_cast<int>(cuda_facts().size());
    return devices > 0 ? launch.local_rank % devices : 0;
  };
  if (options_.device == "cuda" && launch.local_rank > 0) {
    options_.device = text("cuda:", spread());
  }
  if (options_.device != "auto") return options_;
  std::string reason;
  const DeviceChoice choice = device_from("auto", &reason);
  if (choice.device == Device::cuda) {
    options_.device = text("cuda:", launch.local_rank > 0 ? spread() : choice.index);
    return options_;
  }
  std::cerr << "orrery: working on the CPU: " << reason;
  if (options_.precision != "f32") {
    std::cerr << "; in f32, " << options_.precision << " needs a CUDA device";
    options_.precision = "f32";
  }
  std::cerr << "\n";
  options_.device = "cpu";
  return options_;
}

Context::Options DeviceOptions::context() {
  return {.threads = chosen().threads, .where = device_from(chosen().device)};
}

Precision DeviceOptions::precision() { return precision_from(chosen().precision); }

}  // namespace orrery::cli
