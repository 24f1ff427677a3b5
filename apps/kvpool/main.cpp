// kvpool: the command line.
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "apps/kvpool/command.h"
#include "apps/kvpool/failure.h"
#include "apps/kvpool/interrupt.h"
#include "apps/kvpool/usage.h"
#include "bench/compare/bench.h"
#include "device/spdk/spdk_device.h"

namespace kvpool::cli {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

constexpr const char* kAbout =
    "kvpool joins memory and drives into one pool for the KV caches of an LLM server, and brings "
    "a\n"
    "long context back from all of them at once.";

constexpr const char* kStart = R"(
Start here:
  kvpool demo --out out                 see what it does on this machine, in two minutes
  kvpool probe /data --out pool.toml    measure memory and a drive, write a pool file
  kvpool format /dev/nvme0n1            make a raw drive empty for a pool
  kvpool create --pool pool.toml        make the pool's files
  kvpool info --pool pool.toml          devices, shares, what is stored
  kvpool top                            what a daemon's devices and clients do
  kvpool check --pool pool.toml         read everything back and verify it

Every command has examples of its own: kvpool bench --help)";

void Complain(const std::string& message) {
  std::fflush(stdout);
  fmt::print(stderr, "{}\n", message);
}

// What was printed may still be in the buffer, and a full disk shows only when it leaves.
int Finish(int code) {
  const bool failed = std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
  if (!failed || code != 0) return code;
  fmt::print(stderr,
             "kvpool: standard output cannot be written ({}): send it to a place with room\n",
             std::strerror(errno));
  return kExitFailure;
}

int RunAction(const Action& action) {
  const Result<void> outcome = action();
  if (outcome) return Finish(0);
  Complain("kvpool: " + outcome.error().message);
  return outcome.error().status == Status::kInvalid ? kExitUsage : kExitFailure;
}

int Main(int argc, char** argv) {
  CLI::App app{kAbout, "kvpool"};
  app.footer(kStart);
  app.require_subcommand(1);
  app.set_version_flag("--version",
                       fmt::format("kvpool {} ({}{})", KVPOOL_VERSION, bench::MakeHeader("").commit,
                                   device::HasSpdk() ? ", with spdk" : ""));
  Action action;
  for (const auto add : {AddProbe, AddFormat, AddCreate, AddInfo, AddCheck, AddBench,
                         AddBenchDrives, AddTop, AddReplay, AddTrace, AddDemo}) {
    add(app, action);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    return Finish(app.exit(success));
  } catch (const CLI::ParseError& error) {
    Complain(UsageError(app, error));
    return kExitUsage;
  }
  return RunAction(action);
}

}  // namespace
}  // namespace kvpool::cli

int main(int argc, char** argv) {
  kvpool::cli::CatchFailures();
  try {
    kvpool::cli::CatchInterrupts();
    return kvpool::cli::Main(argc, argv);
  } catch (...) {
    fmt::print(stderr, "kvpool: {}\n", kvpool::cli::Describe(std::current_exception()));
  }
  return 1;
}
