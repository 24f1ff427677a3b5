#include "bench/compare/bench.h"

#include <fmt/format.h>

#include <limits>
#include <memory>

#include "apps/kvpool/bench_clients.h"
#include "apps/kvpool/bench_options.h"
#include "apps/kvpool/interrupt.h"
#include "apps/kvpool/options.h"
#include "apps/kvpool/outputs.h"
#include "apps/kvpool/progress.h"
#include "apps/kvpool/run_bench.h"

namespace kvpool::cli {
namespace {

constexpr const char* kExamples =
    R"(  kvpool bench --devices memory:3000,file:800,file:400,file:200 --dir /mnt/scratch
      Stores a 2 GiB context and brings it back by the pool, by equal striping, and serially as
      caches do today. Speeds are emulated, in MB/s (10^6); without one a device is as fast as it is.
  kvpool bench --devices memory:3000,file:800,file:400,file:200 --dir /mnt/scratch --context 2GiB \
               --prefix 5,25,50,100 --methods pool,equal,serial,serial-direct --repeat 3 --json -
  kvpool bench --devices memory:3000,file:800,file:400,file:200 --dir /mnt/scratch \
               --memory-limit 25% --verify off --report out/report.html
      No method may keep more than a quarter in memory; checksums are off.
  kvpool bench --pool pool.toml --context 4GiB      a pool of yours, as it is
  kvpool bench --socket /run/kvpool/pool.sock --clients 8
      What a daemon gives to 8 processes at once, with the blocks of three models.)";

struct BenchCommand {
  bench::BenchOptions bench;
  std::filesystem::path pool;     // empty: a pool of bench.devices
  bench::ClientsOptions clients;  // their socket: empty: no daemon is measured
  BenchOutput output;
};

void AddBenchOptions(CLI::App& command, bench::BenchOptions& options) {
  AddParsed(command, "--devices", options.devices, bench::ParseDevices,
            "Memory and files, each with an emulated speed in MB/s: memory:3000,memory@1:3000,file")
      ->type_name("LIST");
  command.add_option("--dir", options.dir, "A folder for the files; they are removed afterwards")
      ->type_name("DIR");
  AddParsed(command, "--methods", options.methods, bench::ParseMethods,
            fmt::format("What to compare: {}", fmt::join(bench::KnownMethods(), ", ")))
      ->type_name("LIST")
      ->default_str("pool,equal,serial,serial-direct");
  AddParsed(command, "--memory-limit", options.memory_limit, bench::ParseFraction,
            "The share of the context that each method may keep in memory")
      ->type_name("PERCENT");
  AddRunOptions(command, options);
  command.add_flag("--accept-buffered", options.accept_buffered,
                   "Go through the page cache where the filesystem refuses O_DIRECT");
}

Result<void> CheckChoice(const BenchCommand& command) {
  const bool devices = !command.bench.devices.empty();
  const int chosen = devices + !command.pool.empty() + !command.clients.socket.empty();
  if (chosen == 1 && command.bench.dir.empty() != devices) return {};
  return Fail(Status::kInvalid,
              "give either --devices with --dir, for devices that are made and removed, --pool for "
              "a pool that is there, or --socket for a daemon's (kvpool bench --help).");
}

// What a pool that is there decides by itself.
Result<void> CheckForPool(const BenchCommand& command, const CLI::App& given) {
  for (const char* option : {"--unit", "--memory-limit", "--accept-buffered"}) {
    if (given.count(option) == 0) continue;
    return Fail(Status::kInvalid,
                fmt::format("--pool measures a pool as it is, and {} would change nothing of it: "
                            "leave it out",
                            option));
  }
  if (given.count("--methods") == 0 || command.bench.methods == std::vector<std::string>{"pool"}) {
    return {};
  }
  return Fail(Status::kInvalid,
              "--pool measures the method pool alone: leave --methods out, or compare with "
              "--devices and --dir");
}

Result<void> RunOnPool(BenchCommand& command, const CLI::App& given) {
  if (auto fits = CheckForPool(command, given); !fits) return fits;
  auto config = LoadPoolFile(command.pool);
  if (!config) return tl::unexpected(config.error());
  auto writable =
      CheckOutputs({{"--json", command.output.json}, {"--report", command.output.report}},
                   FilesOf(command.pool, *config));
  if (!writable) return writable;
  return RunAndWrite(
      command.bench,
      [&config](const bench::BenchOptions& options) {
        return bench::RunPoolBench(*config, options);
      },
      command.output);
}

Result<void> RunBenchCommand(BenchCommand& command, const CLI::App& given) {
  if (auto chosen = CheckChoice(command); !chosen) return chosen;
  if (auto fits = CheckForClients(command.clients, given); !fits) return fits;
  if (!command.clients.socket.empty()) {
    return RunOnDaemon(command.clients, command.output.json);
  }
  if (!command.pool.empty()) return RunOnPool(command, given);
  const std::vector<std::string> problems = bench::Validate(command.bench);
  if (!problems.empty()) {
    return Fail(Status::kInvalid, fmt::format("{}", fmt::join(problems, "\nkvpool: ")));
  }
  auto writable =
      CheckOutputs({{"--json", command.output.json}, {"--report", command.output.report}}, {});
  if (!writable) return writable;
  auto folder = TemporaryPath::MakeFolder(command.bench.dir);
  if (!folder) return tl::unexpected(folder.error());
  command.bench.dir = folder->path();
  return RunAndWrite(command.bench, bench::RunBench, command.output);
}

}  // namespace

void AddBench(CLI::App& app, Action& action) {
  auto options = std::make_shared<BenchCommand>();
  CLI::App& command =
      AddCommand(app, "bench", "Compare the pool with equal striping and with serial retrieval",
                 kExamples, action, [options, &app] {
                   const CLI::App& given = *app.get_subcommand("bench");
                   if (given.count("--context") > 0)
                     options->clients.context_bytes = options->bench.context_bytes;
                   options->clients.seed = options->bench.seed;
                   return RunBenchCommand(*options, given);
                 });
  AddBenchOptions(command, options->bench);
  command
      .add_option("--pool", options->pool,
                  "Measure this pool instead; what it holds may be evicted for the bench's context")
      ->type_name("POOL.toml");
  AddClientsOptions(command, options->clients);
  AddJson(command, options->output.json);
  AddReport(command, options->output.report);
}

}  // namespace kvpool::cli
