#include "apps/kvpool/bench_clients.h"

#include <fmt/format.h>

#include "apps/kvpool/outputs.h"
#include "apps/kvpool/progress.h"
#include "apps/kvpool/table.h"

namespace kvpool::cli {
namespace {

std::string GbPerS(double bytes_per_s) { return fmt::format("{:.2f} GB/s", bytes_per_s / 1e9); }

void Print(const bench::ClientsResult& result, std::FILE* out) {
  Table table({"client", "model", "context", "alone", "together", "CPU s/GiB"});
  for (std::size_t n = 0; n < result.clients.size(); ++n) {
    const bench::ClientFigures& client = result.clients[n];
    table.Add({std::to_string(n), client.geometry.name,
               fmt::format("{} MiB", client.context_bytes >> 20), GbPerS(client.alone_bytes_per_s),
               GbPerS(client.bytes_per_s), fmt::format("{:.3f}", client.cpu_s_per_gib)});
  }
  table.Print(out);
  fmt::print(out,
             "{} clients for {:.1f} s: {} together, {:.3f} of what the devices are said to read\n",
             result.clients.size(), result.seconds, GbPerS(result.SumBytesPerS()),
             result.FractionOfDevices());
  fmt::print(out, "{:.3f} of what one client gets alone; the worst has {:.3f} of its fair share\n",
             result.SumOverAlone(), result.WorstOverFairShare());
  fmt::print(out, "put, all at once: {}\n", GbPerS(result.put_bytes_per_s));
}

}  // namespace

void AddClientsOptions(CLI::App& command, bench::ClientsOptions& options) {
  command
      .add_option(
          "--socket", options.socket,
          "Measure a daemon's pool instead, by processes that read it at once; what it holds "
          "may be evicted for their contexts")
      ->type_name("PATH");
  command.add_option("--clients", options.clients, "Of --socket: how many processes")
      ->check(CLI::Range(1U, bench::kMostClients))
      ->capture_default_str();
  command.add_option("--seconds", options.seconds, "Of --socket: how long all read, at least")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
}

Result<void> CheckForClients(const bench::ClientsOptions& options, const CLI::App& given) {
  if (options.socket.empty()) {
    for (const char* option : {"--clients", "--seconds"}) {
      if (given.count(option) == 0) continue;
      return Fail(Status::kInvalid,
                  fmt::format("{} is for a daemon's pool: name its --socket, too", option));
    }
    return {};
  }
  for (const char* option : {"--prefix", "--methods", "--repeat", "--verify", "--lease", "--unit",
                             "--block-tokens", "--memory-limit", "--accept-buffered", "--report"}) {
    if (given.count(option) == 0) continue;
    return Fail(Status::kInvalid,
                fmt::format("--socket measures whole contexts of a daemon's pool as it is, and {} "
                            "would change nothing of that: leave it out",
                            option));
  }
  return {};
}

Result<void> RunOnDaemon(bench::ClientsOptions options, const std::string& json) {
  if (auto writable = CheckOutputs({{"--json", json}}, {}); !writable) return writable;
  Progress progress;
  options.progress = [&progress](const bench::Progress& now) {
    progress.Show(now.step, now.fraction);
  };
  const auto result = RunClientsBench(options);
  progress.Clear();
  if (!result) return tl::unexpected(result.error());
  Print(*result, PeopleStream(json));
  std::fflush(PeopleStream(json));
  if (json.empty()) return {};
  return bench::WriteJson(json == "-" ? "/dev/stdout" : json, result->header, RowsOf(*result));
}

}  // namespace kvpool::cli
