// What every subcommand is: options registered on CLI11, and an action that main runs after
// parsing.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "kvpool/result.h"

namespace kvpool::cli {

// An Error with kInvalid is a mistake of the caller's (exit code 2), any other a failure (1).
using Action = std::function<Result<void>()>;

// Registers one subcommand on `app`; parsing it sets `action`.
void AddProbe(CLI::App& app, Action& action);
void AddCreate(CLI::App& app, Action& action);
void AddFormat(CLI::App& app, Action& action);
void AddInfo(CLI::App& app, Action& action);
void AddCheck(CLI::App& app, Action& action);
void AddBench(CLI::App& app, Action& action);
void AddBenchDrives(CLI::App& app, Action& action);
void AddReplay(CLI::App& app, Action& action);
void AddTop(CLI::App& app, Action& action);
void AddTrace(CLI::App& app, Action& action);
void AddDemo(CLI::App& app, Action& action);

}  // namespace kvpool::cli
