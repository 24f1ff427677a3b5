// kvpoold: one pool for all processes of a server.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>

#include "apps/kvpoold/notify.h"
#include "apps/kvpoold/options.h"
#include "apps/kvpoold/reload.h"
#include "base/clock.h"
#include "server/server.h"
#include "web/web_server.h"

namespace kvpool::daemon {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

// The devices are this process' own.
Result<std::unique_ptr<pool::PoolImpl>> OpenPool(Config config, const Options& options) {
  config.socket.clear();
  auto pool = pool::OpenOwn(
      config, [options](const LogEvent& event) { options.Log(event); }, pool::Lending::kToClients);
  if (!pool) return pool;
  for (const DeviceInfo& device : (*pool)->info().devices) {
    if (device.state != DeviceState::kDrained) continue;
    options.Log({.level = LogLevel::kError,
                 .event = "device_drained",
                 .message = fmt::format("device \"{}\" does not serve: {}", device.name,
                                        device.state_reason),
                 .fields = {{"device", device.name}, {"reason", device.state_reason}}});
  }
  return pool;
}

// Clients' channels and regions take descriptors, more of them than a shell's limit allows.
void RaiseDescriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
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

// Where `at` is empty there is none.
Result<std::unique_ptr<web::WebServer>> ServeMetrics(const std::string& at,
                                                     const web::StatusSource& source,
                                                     const Options& options) {
  if (at.empty()) return std::unique_ptr<web::WebServer>();
  const auto address = web::ParseAddress(at);
  if (!address) return tl::unexpected(address.error());
  auto server = web::WebServer::Listen(*address, source);
  if (!server) return server;
  const std::string url = fmt::format("http://{}/", (*server)->address().Text());
  options.Log({.event = "metrics",
               .message = fmt::format("metrics and a page are at {}", url),
               .fields = {{"url", url}}});
  if (!address->loopback) {
    options.Log({.level = LogLevel::kWarning,
                 .event = "metrics_open",
                 .message = "whoever reaches that address sees what every client does: name one of "
                            "loopback if that is not meant",
                 .fields = {{"url", url}}});
  }
  return server;
}

// A socket of the pool's and one of the web's, and what the daemon says by both.
struct Faces {
  std::unique_ptr<server::Server> server;
  std::unique_ptr<web::WebServer> web;
};

Result<Faces> OpenFaces(pool::PoolImpl& pool, const Config& config, const Options& options) {
  const std::int64_t start_ns = Clock::Monotonic().NowNs();
  // The clients are the server's, which is made after those who ask; see the end.
  const auto server = std::make_shared<std::atomic<server::Server*>>(nullptr);
  const auto source = [&pool, server, start_ns] {
    status::DaemonStatus status{.version = KVPOOL_VERSION, .pool = pool.statistics()};
    status.up_s = 1e-9 * static_cast<double>(status.pool.now_ns - start_ns);
    if (const auto* present = server->load()) status.clients = present->clients();
    return status;
  };
  Faces faces;
  auto listening =
      server::Server::Listen(pool, {.socket = config.socket,
                                    .log = [options](const LogEvent& event) { options.Log(event); },
                                    .status = [source] { return status::ToJson(source()); }});
  if (!listening) return tl::unexpected(listening.error());
  faces.server = std::move(*listening);
  server->store(faces.server.get());
  auto web = ServeMetrics(config.metrics, source, options);
  if (!web) return tl::unexpected(web.error());
  faces.web = std::move(*web);
  return faces;
}

Result<void> Run(const Options& options) {
  const int signals = TakeSignals();
  RaiseDescriptors();
  auto config = LoadConfig(options);
  if (!config) return tl::unexpected(config.error());
  auto pool = OpenPool(*config, options);
  if (!pool) return tl::unexpected(pool.error());
  auto faces = OpenFaces(**pool, *config, options);
  if (!faces) return tl::unexpected(faces.error());
  const std::uint64_t blocks = (*pool)->info().blocks;
  options.Log({.event = "ready",
               .message = fmt::format("pool \"{}\" with {} devices, {} blocks, at {}", config->name,
                                      config->devices.size(), blocks, config->socket.string()),
               .fields = {{"pool", config->name},
                          {"devices", fmt::to_string(config->devices.size())},
                          {"blocks", fmt::to_string(blocks)},
                          {"socket", config->socket.string()}}});
  Notify("READY=1");
  Serve(*faces->server, **pool, signals, options, *config);
  options.Log({.event = "stops",
               .message = "stops: requests in flight end, and what lies in memory only goes to the "
                          "drives"});
  Notify("STOPPING=1");
  faces->web.reset();  // it asks the server
  faces->server.reset();
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
  app.add_option("--metrics", options.metrics,
                 "Serve the page and Prometheus' metrics here, whatever the pool file says; on "
                 "127.0.0.1 where only a port is named")
      ->type_name("IP:PORT");
  const std::map<std::string, LogFormat> formats{{"text", LogFormat::kText},
                                                 {"json", LogFormat::kJson}};
  app.add_option("--log", options.format, "text, or json: an object a line")
      ->transform(CLI::CheckedTransformer(formats))
      ->type_name("FORMAT")
      ->option_text("FORMAT");
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
  options.Log({.level = LogLevel::kError, .event = "failed", .message = ran.error().message});
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
