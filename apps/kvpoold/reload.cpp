#include "apps/kvpoold/reload.h"

#include <algorithm>

#include "apps/kvpoold/notify.h"

namespace kvpool::daemon {
namespace {

// Everything else shapes what is open: devices, the catalog, which tenants there are.
bool OnlyTenantsDiffer(const Config& fresh, Config config) {
  const auto same_name = [](const TenantConfig& a, const TenantConfig& b) {
    return a.name == b.name;
  };
  const bool same_tenants = std::equal(fresh.tenants.begin(), fresh.tenants.end(),
                                       config.tenants.begin(), config.tenants.end(), same_name);
  config.tenants = fresh.tenants;
  return same_tenants && fresh == config;
}

// Takes over what a daemon that runs can of a changed file: what its tenants may do. What to say.
LogEvent TakeOver(server::Server& server, Config fresh, Config& config) {
  LogEvent said{.event = "reload", .message = "the pool file has not changed"};
  if (fresh == config) return said;
  if (!OnlyTenantsDiffer(fresh, config)) {
    said.level = LogLevel::kWarning;
    said.message =
        "the pool file has changed by more than users, groups, quota, weight and readers of its "
        "tenants, and nothing is taken over: start the daemon again, its clients come back by "
        "themselves";
    return said;
  }
  if (auto changed = server.Change(fresh.tenants); !changed) {
    said.level = LogLevel::kError;
    said.message = "the pool file is not taken over: " + changed.error().message;
    return said;
  }
  config = std::move(fresh);
  said.message = "the tenants of the changed pool file are taken over";
  return said;
}

}  // namespace

void Reload(server::Server& server, const Options& options, Config& config) {
  Notify("RELOADING=1");
  auto fresh = LoadConfig(options);
  if (fresh) {
    options.Log(TakeOver(server, std::move(*fresh), config));
  } else {
    options.Log({.level = LogLevel::kError,
                 .event = "reload",
                 .message = "the pool file is not taken over: " + fresh.error().message});
  }
  Notify("READY=1");
}

}  // namespace kvpool::daemon
