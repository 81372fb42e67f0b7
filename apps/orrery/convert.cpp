#include <iostream>
#include <memory>

#include "io/json.h"
#include "models/lewm/export.h"
#include "models/lewm/statistics.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

struct Options {
  std::string model, output, names = "transformers5";
  bool json = false;
};

void convert(const Options& options) {
  const lewm::Weights weights = lewm::load_model(options.model);
  const auto vocabulary =
      options.names == "released" ? lewm::Vocabulary::released : lewm::Vocabulary::transformers5;
  const std::filesystem::path output = options.output;
  if (output.has_parent_path()) std::filesystem::create_directories(output.parent_path());
  lewm::write_weights(output, weights, vocabulary);

  // what a reader needs beside the weights, where it is not there already
  const auto beside = [&](const char* name) { return output.parent_path() / name; };
  if (!std::filesystem::exists(beside("config.json"))) {
    write_json(beside("config.json"), lewm::json_from_config(weights.config));
  }
  const auto statistics = lewm::statistics_of_model(options.model);
  if (statistics && !std::filesystem::exists(beside("statistics.json"))) {
    write_json(beside("statistics.json"), lewm::json_from_statistics(*statistics));
  }
  const auto tensors = lewm::layout_of(weights.config).specs.size();
  if (options.json) {
    std::cout << nlohmann::json{{"output", options.output},
                                {"parameters", weights.parameters.numel()},
                                {"tensors", tensors}}
                     .dump()
              << std::endl;
  } else {
    std::cout << options.output << ": " << weights.parameters.numel() << " parameters" << std::endl;
  }
}

}  // namespace

void add_convert(CLI::App& app, int&) {
  auto* verb = app.add_subcommand(
      "convert", "write a model's weights as another kind of file: weights.pt for PyTorch");
  auto options = std::make_shared<Options>();
  verb->add_option("--model", options->model, "folder of a model, or its file of weights")
      ->required();
  verb->add_option("--output", options->output,
                   "file to write: .pt or .pth (a state dict for torch.load) or .safetensors; "
                   "config.json and statistics.json are put beside it where they are missing")
      ->required();
  verb->add_option("--names", options->names,
                   "of the vision transformer: as transformers from version 5 has them, or as the "
                   "released checkpoints have them")
      ->check(CLI::IsMember({"transformers5", "released"}))
      ->capture_default_str();
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] { convert(*options); });
}

}  // namespace orrery::cli
