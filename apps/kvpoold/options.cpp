#include "apps/kvpoold/options.h"

#include <fmt/format.h>

#include "apps/kvpoold/default_config.h"

namespace kvpool::daemon {

Result<Config> LoadConfig(const Options& options) {
  auto config = options.pool.empty() ? DefaultConfig() : Config::Load(options.pool);
  if (!config) return config;
  if (!options.socket.empty()) config->socket = std::filesystem::absolute(options.socket);
  if (!options.metrics.empty()) config->metrics = options.metrics;
  if (config->socket.empty()) {
    return Fail(Status::kInvalid,
                fmt::format("{} names no socket: set socket in its [pool], or use --socket",
                            options.pool.string()));
  }
  if (config->devices.empty()) {
    return Fail(Status::kInvalid,
                fmt::format("{} has no device: it is a client's pool file; name the one with the "
                            "devices",
                            options.pool.string()));
  }
  return config;
}

}  // namespace kvpool::daemon
