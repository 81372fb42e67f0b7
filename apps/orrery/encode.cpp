#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "device_options.h"
#include "io/npz.h"
#include "media/image.h"
#include "orrery/orrery.h"
#include "verbs.h"

namespace orrery::cli {

void add_encode(CLI::App& app, int&) {
  struct Options {
    std::string model, output;
    std::vector<std::string> frames;
    DeviceOptions device;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  auto* verb = app.add_subcommand("encode", "latents of pictures");
  verb->add_option("--model", options->model, "folder of a model, or its file of weights")
      ->required();
  verb->add_option("--frame", options->frames, "PNG or JPEG pictures")->required();
  verb->add_option("--output", options->output, "write the latents to this .npz, array `latents`");
  options->device.add_to(*verb);
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] {
    WorldModel model(options->model, options->device.chosen());
    nlohmann::json rows = nlohmann::json::array();
    const i64 width = model.facts().latent_size;
    Tensor latents = Tensor::zeros<float>({static_cast<i64>(options->frames.size()), width});
    for (std::size_t i = 0; i < options->frames.size(); ++i) {
      const Image image = read_image(options->frames[i]);
      const std::vector<float> latent = model.encode(
          {image.rgb.data(), static_cast<int>(image.height), static_cast<int>(image.width)});
      std::copy(latent.begin(), latent.end(), latents.data<float>() + static_cast<i64>(i) * width);
      rows.push_back({{"frame", options->frames[i]}, {"latent", latent}});
    }
    if (!options->output.empty()) {
      TensorMap map;
      map.emplace("latents", std::move(latents));
      write_npz(options->output, map);
    }
    if (options->json) {
      std::cout << nlohmann::json{{"latents", rows}}.dump(1) << "\n";
    } else if (options->output.empty()) {
      for (const auto& row : rows)
        std::cout << row.at("frame").get<std::string>() << " " << row.at("latent") << "\n";
    } else {
      std::cout << rows.size() << " latents of " << width << " numbers in " << options->output
                << "\n";
    }
  });
}

}  // namespace orrery::cli
