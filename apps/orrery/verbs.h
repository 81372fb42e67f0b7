#pragma once

#include <CLI/CLI.hpp>

#include <span>

namespace orrery::cli {

// A verb adds its subcommand to the app. The subcommand's callback does the work; it throws on
// failure, or sets result (the exit code) when it ran to its end but what it checked does not hold.
using AddVerb = void (*)(CLI::App& app, int& result);

// One verb per file, listed in one table (verbs.cpp).
void add_info(CLI::App& app, int& result);
void add_train(CLI::App& app, int& result);
void add_distance(CLI::App& app, int& result);
void add_parity(CLI::App& app, int& result);
void add_encode(CLI::App& app, int& result);
void add_plan(CLI::App& app, int& result);
void add_eval(CLI::App& app, int& result);
void add_record(CLI::App& app, int& result);
void add_simulate(CLI::App& app, int& result);
void add_bench(CLI::App& app, int& result);
void add_data(CLI::App& app, int& result);
void add_probe(CLI::App& app, int& result);
void add_convert(CLI::App& app, int& result);
void add_curves(CLI::App& app, int& result);

std::span<const AddVerb> verbs();

}  // namespace orrery::cli
