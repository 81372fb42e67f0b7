#include <cmath>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/clock.h"
#include "base/error.h"
#include "data/convert.h"
#include "data/loader.h"
#include "data/preview.h"
#include "data/summary.h"
#include "progress.h"
#include "verbs.h"

namespace orrery::cli {

namespace {

using nlohmann::json;

// JSON knows no NaN and no infinity
json number(double value) { return std::isfinite(value) ? json(value) : json(); }

json numbers(const std::vector<double>& values) {
  json list = json::array();
  for (const double value : values) list.push_back(number(value));
  return list;
}

std::string words(const std::vector<double>& values) {
  std::ostringstream out;
  out << std::setprecision(6) << "(";
  // the rest of a long column is in --json
  constexpr std::size_t kShown = 8;
  for (std::size_t i = 0; i < std::min(values.size(), kShown); ++i) {
    out << (i ? ", " : "") << values[i];
  }
  out << (values.size() > kShown ? ", ...)" : ")");
  return out.str();
}

json facts_of(const Episodes& episodes) {
  const LengthSummary lengths = lengths_of(episodes);
  return {
      {"file", episodes.name()},
      {"episodes", episodes.count()},
      {"rows", episodes.rows()},
      {"length", {{"min", lengths.shortest}, {"max", lengths.longest}, {"mean", lengths.mean}}}};
}

void print_facts(const Episodes& episodes) {
  const LengthSummary lengths = lengths_of(episodes);
  std::cout << episodes.name() << ": " << episodes.count() << " episodes of " << lengths.shortest
            << " to " << lengths.longest << " rows (" << lengths.mean << " on average), "
            << episodes.rows() << " rows\n";
}

struct InspectOptions {
  std::string file;
  std::vector<std::string> columns;
  bool pictures = false;
  bool json = false;
};

std::vector<i64> columns_of(const Episodes& episodes, const std::vector<std::string>& names) {
  std::vector<i64> list;
  for (const std::string& name : names) list.push_back(episodes.column_index(name));
  for (i64 i = 0; names.empty() && i < static_cast<i64>(episodes.columns().size()); ++i) {
    list.push_back(i);
  }
  return list;
}

void inspect(const InspectOptions& options) {
  const auto episodes = open_episodes(options.file);
  json told = facts_of(*episodes);
  if (!options.json) print_facts(*episodes);
  for (const i64 index : columns_of(*episodes, options.columns)) {
    const Column& column = episodes->column(index);
    json entry = {{"name", column.name},
                  {"dtype", name_of(column.dtype)},
                  {"shape", column.row.sizes()},
                  {"chunk_rows", episodes->chunk_rows(index)}};
    std::ostringstream line;
    line << "  " << std::left << std::setw(22) << column.name << std::setw(8)
         << name_of(column.dtype) << std::setw(16) << text(column.row);
    // only these can hold one
    if (column.dtype == DType::f32 || column.dtype == DType::f64) {
      const i64 with_nan = summary_of(*episodes, index).rows_with_nan;
      entry["rows_with_nan"] = with_nan;
      if (with_nan > 0) line << with_nan << " rows with NaN";
    }
    told["columns"].push_back(std::move(entry));
    if (!options.json) std::cout << line.str() << "\n";
  }
  for (const Episodes::Refusal& refusal : episodes->refused()) {
    told["refused"].push_back({{"name", refusal.column}, {"why", refusal.why}});
    if (!options.json) {
      std::cout << "  " << std::left << std::setw(22) << refusal.column
                << "cannot be read: " << refusal.why << "\n";
    }
  }
  if (options.json) std::cout << told.dump(1) << "\n";
}

void stats(const InspectOptions& options) {
  const auto episodes = open_episodes(options.file);
  json told = facts_of(*episodes);
  if (!options.json) print_facts(*episodes);
  for (const i64 index : columns_of(*episodes, options.columns)) {
    const Column& column = episodes->column(index);
    const bool picture = column.row.rank() >= 2;
    if (picture && !options.pictures && options.columns.empty()) continue;
    const ColumnSummary summary = summary_of(*episodes, index);
    json entry = {{"name", column.name},
                  {"rows", summary.rows},
                  {"rows_with_nan", summary.rows_with_nan},
                  {"min", numbers(summary.minimum)},
                  {"max", numbers(summary.maximum)},
                  {"mean", numbers(summary.mean)},
                  {"std", numbers(summary.deviation)}};
    if (!picture && summary.rows > 0) {
      entry["percentile_1"] = numbers(column_percentile(*episodes, index, 1));
      entry["percentile_99"] = numbers(column_percentile(*episodes, index, 99));
    }
    if (!options.json) {
      std::cout << column.name << ": " << summary.rows << " rows";
      if (summary.rows_with_nan > 0) std::cout << ", " << summary.rows_with_nan << " with NaN";
      std::cout << "\n  mean " << words(summary.mean) << "\n  std  " << words(summary.deviation)
                << "\n  min  " << words(summary.minimum) << "\n  max  " << words(summary.maximum)
                << "\n";
    }
    told["columns"].push_back(std::move(entry));
  }
  if (options.json) std::cout << told.dump(1) << "\n";
}

struct ConvertArguments {
  std::string file, output, format, codec, shuffle = "byte";
  std::string layout = "release";
  int level = 5;
  i64 image_size = 0;
  std::vector<std::string> columns;
  bool json = false;
  ConvertOptions options;
};

DType type_from(const std::string& name) {
  for (const DType dtype : {DType::f32, DType::f64, DType::uint8, DType::int32, DType::int64}) {
    if (name == name_of(dtype)) return dtype;
  }
  fail("'", name, "' is no type that columns are made into: ", DType::f32, ", ", DType::f64, ", ",
       DType::uint8, ", ", DType::int32, ", ", DType::int64);
}

// "img=pixels:uint8": column img, called pixels, as bytes
ColumnChoice choice_from(const std::string& words) {
  ColumnChoice choice;
  const std::size_t colon = words.rfind(':');
  std::string names = words.substr(0, colon);
  if (colon != std::string::npos) choice.dtype = type_from(words.substr(colon + 1));
  const std::size_t equals = names.find('=');
  choice.from = names.substr(0, equals);
  if (equals != std::string::npos) choice.to = names.substr(equals + 1);
  return choice;
}

void convert(ConvertArguments& arguments) {
  ConvertOptions& options = arguments.options;
  for (const std::string& words : arguments.columns) options.columns.push_back(choice_from(words));
  if (!arguments.format.empty()) options.write.format = episode_format_from(arguments.format);
  options.write.layout = recording_layout_from(arguments.layout).value();
  if (!arguments.codec.empty()) {
    const std::string& shuffle = arguments.shuffle;
    options.write.blosc = BloscSettings{.codec = *blosc_codec_from(arguments.codec),
                                        .level = arguments.level,
                                        .shuffle = shuffle == "bit"    ? BloscShuffle::bit
                                                   : shuffle == "byte" ? BloscShuffle::byte
                                                                       : BloscShuffle::none};
  }
  const auto episodes = open_episodes(arguments.file, {.image_size = arguments.image_size});
  const i64 count = options.episodes < 0 ? episodes->count() : options.episodes;
  Progress progress("converting", count, "episodes");
  stop_requested();  // from here on Ctrl-C is an orderly end
  const double start = now_s();
  i64 done = 0, written = 0;
  convert_episodes(*episodes, arguments.output, options, [&](i64 made, i64 rows) {
    done = made;
    written = rows;
    progress.update(made, std::to_string(rows) + " rows");
    return !stop_requested();
  });
  const i64 bytes = stored_bytes(arguments.output);
  if (arguments.json) {
    std::cout << json{{"file", arguments.file}, {"output", arguments.output},
                      {"episodes", done},       {"rows", written},
                      {"bytes", bytes},         {"seconds", now_s() - start}}
                     .dump(1)
              << "\n";
  } else {
    std::cout << arguments.output << ": " << done << " episodes, " << written << " rows, "
              << bytes / 1000000 << " MB\n";
  }
}

struct PreviewArguments {
  std::string file, output;
  PreviewOptions options;
};

void preview(const PreviewArguments& arguments) {
  const auto episodes = open_episodes(arguments.file);
  const std::filesystem::path output = arguments.output;
  const auto extension = output.extension();
  if (extension == ".png") {
    write_png(output, contact_sheet(*episodes, arguments.options));
  } else if (extension == ".mp4" || extension == ".gif") {
    write_preview_film(*episodes, output, arguments.options);
  } else if (extension == ".html") {
    write_preview_page(*episodes, output, arguments.options);
  } else {
    fail("cannot write ", output.string(),
         ": a preview is a .png (contact sheet), .mp4, .gif or .html");
  }
  std::cout << output.string() << "\n";
}

struct ReadArguments {
  std::string file, order = "by-chunk";
  std::string pixels = "pixels", action = "action";
  WindowShape shape;
  i64 batch = 64, batches = 200;
  i64 image_size = 0;
  int threads = 2;
  u64 seed = 0;
  bool json = false;
};

void read(const ReadArguments& arguments) {
  const auto episodes = open_episodes(arguments.file, {.image_size = arguments.image_size});
  const Windows windows(*episodes, arguments.shape);
  LoaderOptions options = {.batch = arguments.batch,
                           .seed = arguments.seed,
                           .order = arguments.order == "by-chunk"   ? WindowOrder::by_chunk
                                    : arguments.order == "shuffled" ? WindowOrder::shuffled
                                                                    : WindowOrder::in_order,
                           .threads = arguments.threads,
                           .pixels = arguments.pixels,
                           .action = arguments.action};
  const i64 action = episodes->column_index(arguments.action);
  WindowLoader loader(windows, ZScore(column_statistics(*episodes, action)), options);
  // as the official reader's script: the first batch starts the clock
  double sum = loader.batch(0).action.data()[0];
  const double start = now_s();
  for (i64 step = 1; step <= arguments.batches; ++step) {
    sum += loader.batch(step).action.data()[0];
  }
  const double seconds = now_s() - start;
  const auto count = static_cast<double>(arguments.batches * arguments.batch);
  if (arguments.json) {
    std::cout << json{{"file", arguments.file},
                      {"order", arguments.order},
                      {"threads", arguments.threads},
                      {"windows", windows.size()},
                      {"read", count},
                      {"seconds", seconds},
                      {"windows_per_s", count / seconds},
                      {"checksum", number(sum)}}
                     .dump(1)
              << "\n";
  } else {
    std::cout << windows.size() << " windows in the file, " << std::llround(count / seconds)
              << " windows/s " << arguments.order << ", " << arguments.threads << " threads\n";
  }
}

}  // namespace

void add_data(CLI::App& app, int&) {
  auto* verb = app.add_subcommand("data", "look at data sets, convert them, read them");
  verb->require_subcommand(1);

  const auto looking = std::make_shared<InspectOptions>();
  const auto looks = [&](const char* name, const char* what) {
    auto* sub = verb->add_subcommand(name, what);
    sub->add_option("file", looking->file, "HDF5, zarr, zarr.zip, or a folder")->required();
    sub->add_option("--columns", looking->columns, "only these")->delimiter(',');
    sub->add_flag("--json", looking->json, "print one JSON object");
    return sub;
  };
  looks("inspect", "columns, types, shapes, lengths, NaNs")->callback([looking] {
    inspect(*looking);
  });
  auto* statistics = looks("stats", "mean, deviation, range and percentiles of columns");
  statistics->add_flag("--pictures", looking->pictures, "also of pictures, by channel");
  statistics->callback([looking] { stats(*looking); });

  const auto converting = std::make_shared<ConvertArguments>();
  auto* sub = verb->add_subcommand("convert", "write a data set in another format");
  sub->add_option("file", converting->file, "what to read")->required();
  sub->add_option("output", converting->output, "what to write")->required();
  sub->add_option("--format", converting->format, "by default as the output's name ends")
      ->check(CLI::IsMember({"hdf5", "zarr", "zarr-zip", "folder", "video"}));
  sub->add_option("--columns", converting->columns,
                  "only these, each NAME[=NEW NAME][:TYPE]: img=pixels:uint8")
      ->delimiter(',');
  sub->add_option("--first", converting->options.first_episode, "episode to begin with");
  sub->add_option("--episodes", converting->options.episodes, "how many, -1 for all");
  sub->add_option("--layout", converting->layout, "HDF5: release, current or packed")
      ->check(CLI::IsMember({"release", "current", "packed"}))
      ->capture_default_str();
  sub->add_option("--image-size", converting->image_size,
                  "a side of pictures that are drawn [as recorded]")
      ->check(CLI::Range(1, 1024));
  sub->add_flag("--earliest", converting->options.write.earliest,
                "HDF5 for libraries older than 1.10");
  sub->add_option("--codec", converting->codec, "Blosc's codec; by default the published one")
      ->check(CLI::IsMember({"blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"}));
  sub->add_option("--level", converting->level, "Blosc's level, with --codec")
      ->capture_default_str();
  sub->add_option("--shuffle", converting->shuffle, "Blosc's shuffle, with --codec")
      ->check(CLI::IsMember({"none", "byte", "bit"}))
      ->capture_default_str();
  sub->add_option("--fps", converting->options.write.frames_per_second, "of films")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  sub->add_flag("--json", converting->json, "print one JSON object");
  sub->callback([converting] { convert(*converting); });

  const auto showing = std::make_shared<PreviewArguments>();
  sub =
      verb->add_subcommand("preview", "a contact sheet (.png), film (.mp4, .gif) or page (.html)");
  sub->add_option("file", showing->file, "what to read")->required();
  sub->add_option("--output", showing->output, "the picture, film or page to make")->required();
  sub->add_option("--column", showing->options.column, "of pictures")->capture_default_str();
  sub->add_option("--episodes", showing->options.episodes, "which; by default eight")
      ->delimiter(',');
  sub->add_option("--frames", showing->options.frames, "of each on a sheet")->capture_default_str();
  sub->add_option("--side", showing->options.side, "pixels of a frame at most")
      ->capture_default_str();
  sub->add_option("--fps", showing->options.frames_per_second, "frames a second")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  sub->callback([showing] { preview(*showing); });

  const auto reading = std::make_shared<ReadArguments>();
  sub = verb->add_subcommand("read", "read windows as training does, and tell how fast");
  sub->add_option("file", reading->file, "what to read")->required();
  sub->add_option("--order", reading->order, "of the windows")
      ->check(CLI::IsMember({"by-chunk", "shuffled", "in-order"}))
      ->capture_default_str();
  sub->add_option("--pixels", reading->pixels, "column of pictures")->capture_default_str();
  sub->add_option("--action", reading->action, "column of actions")->capture_default_str();
  sub->add_option("--frameskip", reading->shape.frameskip, "rows a step")->capture_default_str();
  sub->add_option("--steps", reading->shape.num_steps, "of a window")->capture_default_str();
  sub->add_option("--batch", reading->batch, "windows a batch")->capture_default_str();
  sub->add_option("--batches", reading->batches, "how many")->capture_default_str();
  sub->add_option("--threads", reading->threads, "that read ahead")->capture_default_str();
  sub->add_option("--image-size", reading->image_size,
                  "a side of pictures that are drawn [as recorded]")
      ->check(CLI::Range(1, 1024));
  sub->add_option("--seed", reading->seed, "of the order")->capture_default_str();
  sub->add_flag("--json", reading->json, "print one JSON object");
  sub->callback([reading] { read(*reading); });
}

}  // namespace orrery::cli
