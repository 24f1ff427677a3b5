// kvpool: the command line.
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "apps/kvpool/command.h"
#include "apps/kvpool/interrupt.h"
#include "apps/kvpool/usage.h"
#include "bench/compare/bench.h"

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
  kvpool create --pool pool.toml        make the pool's files
  kvpool info --pool pool.toml          devices, shares, what is stored
  kvpool check --pool pool.toml         read everything back and verify it

Every command has examples of its own: kvpool bench --help)";

void Complain(const std::string& message) {
  std::fflush(stdout);
  fmt::print(stderr, "{}\n", message);
}

int RunAction(const Action& action) {
  const Result<void> outcome = action();
  if (outcome) return 0;
  Complain("kvpool: " + outcome.error().message);
  return outcome.error().status == Status::kInvalid ? kExitUsage : kExitFailure;
}

int Main(int argc, char** argv) {
  CLI::App app{kAbout, "kvpool"};
  app.footer(kStart);
  app.require_subcommand(1);
  app.set_version_flag("--version",
                       fmt::format("kvpool {} ({})", KVPOOL_VERSION, bench::MakeHeader("").commit));
  Action action;
  for (const auto add :
       {AddProbe, AddCreate, AddInfo, AddCheck, AddBench, AddReplay, AddTrace, AddDemo}) {
    add(app, action);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    Complain(UsageError(app, error));
    return kExitUsage;
  }
  return RunAction(action);
}

}  // namespace
}  // namespace kvpool::cli

int main(int argc, char** argv) {
  try {
    kvpool::cli::CatchInterrupts();
    return kvpool::cli::Main(argc, argv);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "kvpool: this machine has no memory left for it; ask for less\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "kvpool: {}\n", error.what());
  }
  return 1;
}
