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
  std::string reason;
  const DeviceChoice choice = device_of_rank(options_.device, &reason);
  if (choice.device == Device::cuda && (choice.index > 0 || options_.device == "auto")) {
    options_.device = text("cuda:", choice.index);
  }
  if (options_.device != "auto") return options_;
  std::cerr << "orrery: working on the CPU: " << reason;
  if (options_.precision != "f32") {
    std::cerr << "; in f32, " << options_.precision << " needs a CUDA device";
    options_.precision = "f32";
  }
  std::cerr << "\n";
  options_.device = "cpu";
  return options_;
}

DeviceChoice device_of_rank(const std::string& name, std::string* reason) {
  DeviceChoice choice = device_from(name, reason);
  const int place = dist::launch_of_this_process().local_rank;
  if (choice.device == Device::cpu || (name != "cuda" && name != "auto") || place == 0) {
    return choice;
  }
  // without a device the choice stands, and using it says why there is none
  const auto devices = static_cast<int>(cuda_facts().size());
  if (devices > 0) choice.index = place % devices;
  return choice;
}

Context::Options DeviceOptions::context() {
  return {.threads = chosen().threads, .where = device_from(chosen().device)};
}

Precision DeviceOptions::precision() { return precision_from(chosen().precision); }

}  // namespace orrery::cli
