// Options that several subcommands share.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "apps/kvpool/command.h"
#include "kvpool/config.h"
#include "kvpool/pool.h"

namespace kvpool::cli {

// A new subcommand whose parsing sets `action` to `run`. `examples` end its help.
CLI::App& AddCommand(CLI::App& app, const std::string& name, const std::string& what,
                     const std::string& examples, Action& action, Action run);

// "64KiB", "2 GiB", "800MB".
CLI::Option* AddBytes(CLI::App& command, const std::string& names, std::uint64_t& bytes,
                      const std::string& what);
CLI::Option* AddBytes(CLI::App& command, const std::string& names,
                      std::optional<std::uint64_t>& bytes, const std::string& what);

// Whole numbers from 0 to `most`; CLI11 by itself takes "-1" and what is too large for 2^64-1.
CLI::Validator WholeNumber(std::uint64_t most = std::numeric_limits<std::uint64_t>::max());

// --json FILE.
CLI::Option* AddJson(CLI::App& command, std::string& file);

// --pool POOL.toml, required.
CLI::Option* AddPool(CLI::App& command, std::filesystem::path& file);

// Config::Load and CheckNotItself, with every failure the caller's mistake: kInvalid.
Result<Config> LoadPoolFile(const std::filesystem::path& file);

// By the daemon where one runs; in this process where none does and the file has the devices.
Result<std::unique_ptr<Pool>> OpenPool(Config config);
// kBusy: a daemon has the drives of this pool, and a command needs them for itself.
Result<void> CheckNoDaemon(const Config& config);

}  // namespace kvpool::cli
