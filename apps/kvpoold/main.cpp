// kvpoold: one pool for all processes of a server.
#include <fmt/format.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>

#include "apps/kvpoold/default_config.h"
#include "apps/kvpoold/notify.h"
#include "base/units.h"
#include "server/server.h"

namespace kvpool::daemon {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

struct Options {
  std::filesystem::path pool;
  std::filesystem::path socket;
};

// One line each, for people and journals. Threads: any.
void Log(const std::string& line) { fmt::print(stderr, "kvpoold: {}\n", line); }

Result<Config> LoadConfig(const Options& options) {
  auto config = options.pool.empty() ? DefaultConfig() : Config::Load(options.pool);
  if (!config) return config;
  if (!options.socket.empty()) config->socket = std::filesystem::absolute(options.socket);
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

// The devices are this process' own.
Result<std::unique_ptr<pool::PoolImpl>> OpenPool(Config config) {
  config.socket.clear();
  return pool::OpenOwn(config);
}

// Blocks the signals that are served here, in every thread.
int TakeSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int one : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, one);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

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

// Takes over what a daemon that runs can of a changed file: what its tenants may do.
void TakeOver(server::Server& server, Config fresh, Config& config) {
  if (fresh == config) return Log("the pool file has not changed");
  if (!OnlyTenantsDiffer(fresh, config)) {
    return Log(
        "the pool file has changed by more than users, groups, quota, weight and readers of its "
        "tenants, and nothing is taken over: start the daemon again, its clients come back by "
        "themselves");
  }
  if (auto changed = server.Change(fresh.tenants); !changed) {
    return Log("the pool file is not taken over: " + changed.error().message);
  }
  config = std::move(fresh);
  Log("the tenants of the changed pool file are taken over");
}

void Reload(server::Server& server, const Options& options, Config& config) {
  Notify("RELOADING=1");
  auto fresh = LoadConfig(options);
  if (fresh) {
    TakeOver(server, std::move(*fresh), config);
  } else {
    Log("the pool file is not taken over: " + fresh.error().message);
  }
  Notify("READY=1");
}

// Until a signal says to stop.
void Serve(server::Server& server, pool::PoolImpl& pool, int signals, const Options& options,
           Config& config) {
  const int period_ms = WatchdogPeriodMs();
  for (;;) {
    server.Serve(signals, period_ms);
    (void)pool.info();  // waits for the store's lock: a daemon that hangs is not alive
    Notify("WATCHDOG=1");
    signalfd_siginfo signal{};
    if (::read(signals, &signal, sizeof signal) != sizeof signal) continue;
    if (signal.ssi_signo != SIGHUP) return;
    Reload(server, options, config);
  }
}

Result<void> Run(const Options& options) {
  const int signals = TakeSignals();
  auto config = LoadConfig(options);
  if (!config) return tl::unexpected(config.error());
  auto pool = OpenPool(*config);
  if (!pool) return tl::unexpected(pool.error());
  auto server = server::Server::Listen(**pool, {.socket = config->socket, .log = Log});
  if (!server) return tl::unexpected(server.error());
  Log(fmt::format("pool \"{}\" with {} devices, {} blocks, at {}", config->name,
                  config->devices.size(), (*pool)->info().blocks, config->socket.string()));
  Notify("READY=1");
  Serve(**server, **pool, signals, options, *config);
  Log("stops: requests in flight end, and what lies in memory only goes to the drives");
  Notify("STOPPING=1");
  server->reset();
  pool->reset();
  return {};
}

int Main(int argc, char** argv) {
  CLI::App app{"kvpoold owns the devices of a pool and shares it with every process of the server.",
               "kvpoold"};
  app.footer(R"(Examples:
  kvpoold                            some memory and a folder, on a socket that it names
  kvpoold --pool pool.toml           the pool file's devices, on the socket in its [pool]

SIGTERM and SIGINT stop it, SIGHUP has it read the pool file again.)");
  app.set_version_flag("--version", std::string("kvpoold ") + KVPOOL_VERSION);
  Options options;
  app.add_option("--pool", options.pool, "The pool file")->type_name("POOL.toml");
  app.add_option("--socket", options.socket, "Listen here, whatever the pool file says")
      ->type_name("PATH");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "kvpoold: {}: see kvpoold --help\n", error.what());
    return kExitUsage;
  }
  const Result<void> ran = Run(options);
  if (ran) return 0;
  Log(ran.error().message);
  return ran.error().status == Status::kInvalid ? kExitUsage : kExitFailure;
}

}  // namespace
}  // namespace kvpool::daemon

int main(int argc, char** argv) {
  try {
    return kvpool::daemon::Main(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "kvpoold: {}: look at the limits of this service\n", error.what());
  }
  return 1;
}
