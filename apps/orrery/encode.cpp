#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "device_options.h"
#include "io/npz.h"
#include "media/image.h"
#include "npy_rows.h"
#include "orrery/orrery.h"
#include "verbs.h"

namespace orrery::cli {

void add_encode(CLI::App& app, int&) {
  struct Options {
    std::string model, output;
    std::vector<std::string> frames, observations;
    DeviceOptions device;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  auto* verb = app.add_subcommand("encode", "latents of pictures, or of recorded numbers");
  verb->add_option("--model", options->model, "folder of a model, or its file of weights")
      ->required();
  auto* frames = verb->add_option("--frame", options->frames, "PNG or JPEG pictures");
  verb->add_option("--observation", options->observations,
                   "of a model that sees vectors: NumPy files (.npy), a row or several of numbers")
      ->excludes(frames);
  verb->add_option("--output", options->output, "write the latents to this .npz, array `latents`");
  options->device.add_to(*verb);
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] {
    WorldModel model(options->model, options->device.chosen());
    check(!options->frames.empty() || !options->observations.empty(),
          "nothing to encode was given: --frame, or --observation for a model of vectors");
    nlohmann::json rows = nlohmann::json::array();
    const i64 width = model.facts().latent_size;
    std::vector<float> values;
    const auto add = [&](const char* kind, const std::string& path,
                         const std::vector<float>& latent) {
      values.insert(values.end(), latent.begin(), latent.end());
      rows.push_back({{kind, path}, {"latent", latent}});
    };
    for (const std::string& path : options->frames) {
      const Image image = read_image(path);
      add("frame", path,
          model.encode(
              {image.rgb.data(), static_cast<int>(image.height), static_cast<int>(image.width)}));
    }
    for (const std::string& path : options->observations) {
      for (const std::vector<float>& row : rows_of_npy(path)) {
        add("observation", path, model.encode(row));
      }
    }
    Tensor latents = Tensor::of<float>({static_cast<i64>(rows.size()), width}, values);
    if (!options->output.empty()) {
      TensorMap map;
      map.emplace("latents", std::move(latents));
      write_npz(options->output, map);
    }
    if (options->json) {
      std::cout << nlohmann::json{{"latents", rows}}.dump(1) << "\n";
    } else if (options->output.empty()) {
      for (const auto& row : rows) {
        const char* kind = row.contains("frame") ? "frame" : "observation";
        std::cout << row.at(kind).get<std::string>() << " " << row.at("latent") << "\n";
      }
    } else {
      std::cout << rows.size() << " latents of " << width << " numbers in " << options->output
                << "\n";
    }
  });
}

}  // namespace orrery::cli
