#include <CLI/CLI.hpp>

#include <csignal>
#include <exception>
#include <iostream>

#include "dist/launch.h"
#include "verbs.h"

// exit codes: 0 done, 1 failed, 2 misuse
int main(int argc, char** argv) {
  // a file that may not grow further is an error of its write, told in a sentence
  std::signal(SIGXFSZ, SIG_IGN);
  CLI::App app{"Orrery: see, imagine, plan, act and learn with world models"};
  app.require_subcommand(1);
  int result = 0;
  for (const auto& add : orrery::cli::verbs()) add(app, result);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // help and misuse are the same on all ranks
    std::ostream silent(nullptr);
    const bool first = orrery::dist::launch_of_this_process().rank == 0;
    return app.exit(error, first ? std::cout : silent, first ? std::cerr : silent) == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    std::cerr << "orrery: " << error.what() << "\n";
    return 1;
  }
  return result;
}
