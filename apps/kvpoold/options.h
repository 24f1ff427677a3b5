// What the daemon was told on its command line.
#pragma once

#include <filesystem>
#include <string>

#include "apps/kvpoold/logger.h"
#include "kvpool/config.h"

namespace kvpool::daemon {

struct Options {
  std::filesystem::path pool;
  std::filesystem::path socket;
  std::string metrics;
  LogFormat format = LogFormat::kText;

  void Log(const LogEvent& event) const { WriteLog(format, event); }
};

// The pool file, or the default, with what the command line says. kInvalid: it is no daemon's; else
// as Config::Load and DefaultConfig.
Result<Config> LoadConfig(const Options& options);

}  // namespace kvpool::daemon
