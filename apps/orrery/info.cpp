#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/text.h"
#include "device/context.h"
#include "dist/device_sums.h"
#include "dist/launch.h"
#include "ops/cpu_path.h"
#include "orrery/orrery.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

// CUDA versions as people write them: 13000 is 13.0
std::string cuda_version(int number) { return text(number / 1000, ".", number % 1000 / 10); }

// what this build's kernels were compiled for
const char* cuda_build() {
#if ORRERY_CUDA_EMULATED
  return "emulated on the CPU, for tests";
#elif ORRERY_CUDA
  return ORRERY_CUDA_TARGETS;
#else
  return "no";
#endif
}

// the devices, or why there is none
nlohmann::json cuda_devices(nlohmann::json& facts) {
  std::string reason;
  nlohmann::json devices = nlohmann::json::array();
  for (const CudaFacts& device : cuda_facts(&reason)) {
    devices.push_back({{"name", device.name},
                       {"compute_capability", text(device.major, ".", device.minor)},
                       {"multiprocessors", device.multiprocessors},
                       {"memory_bytes", device.memory_bytes},
                       {"cache_bytes", device.cache_bytes},
                       {"shared_bytes", device.shared_bytes},
                       {"driver", cuda_version(device.driver)},
                       {"runtime", cuda_version(device.runtime)}});
  }
  if (devices.empty()) facts["cuda_reason"] = reason;
  return devices;
}

nlohmann::json machine() {
  const CpuFacts cpu = cpu_facts();
  nlohmann::json facts = {
      {"version", version()},     {"cpu", cpu.name},          {"cores", cpu.cores},
      {"features", cpu.features}, {"cpu_path", cpu_path()},   {"compiler", __VERSION__},
      {"cuda", cuda_build()},     {"mpi", dist::mpi_build()}, {"nccl", dist::nccl_build()}};
  facts["cuda_devices"] = cuda_devices(facts);
  return facts;
}

nlohmann::json model_facts(const std::string& path) {
  const WorldModel model(path);
  const ModelFacts& facts = model.facts();
  nlohmann::json result = {{"model", path},
                           {"family", "lewm"},
                           {"parameters", facts.parameters},
                           {"image_size", facts.image_size},
                           {"patch_size", facts.patch_size},
                           {"latent_size", facts.latent_size},
                           {"action_size", facts.action_size},
                           {"window", facts.window},
                           {"has_statistics", facts.has_statistics}};
  if (facts.observation_size > 0) {  // it sees numbers
    result["observation"] = facts.observation;
    result["observation_size"] = facts.observation_size;
  }
  if (facts.has_statistics) {
    result["frameskip"] = facts.frameskip;
    result["raw_action_size"] = facts.raw_action_size;
  }
  return result;
}

}  // namespace

void add_info(CLI::App& app, int&) {
  struct Options {
    std::string model;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  auto* verb = app.add_subcommand("info", "what this machine, this build and a model are");
  verb->add_option("--model", options->model, "folder of a model, or its file of weights");
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] {
    nlohmann::json facts = machine();
    if (!options->model.empty()) facts.update(model_facts(options->model));
    if (options->json) {
      std::cout << facts.dump(1) << "\n";
      return;
    }
    for (const auto& [name, value] : facts.items()) {
      std::cout << name << std::string(name.size() < 16 ? 16 - name.size() : 1, ' ')
                << (value.is_string() ? value.get<std::string>() : value.dump()) << "\n";
    }
  });
}

}  // namespace orrery::cli
