#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "apps/kvpool/bench_options.h"
#include "apps/kvpool/outputs.h"
#include "apps/kvpool/run_bench.h"
#include "bench/drives/drives.h"

namespace kvpool::cli {
namespace {

constexpr const char* kExamples =
    R"(  kvpool bench-drives --drives /dev/nvme0n1,/dev/nvme1n1 --memory 1500
      The same context through ext4, through the block layer, past both, and by a pool over each
      way, on two drives and memory emulated at 1500 MB/s. What the drives hold is lost.
  kvpool bench-drives --drives /dev/nvme0n1 --methods fio-nvme,nvme,pool-nvme --verify off \
                      --json out/drives.json --report out/drives.html)";

struct DrivesCommand {
  bench::DrivesOptions drives;
  double memory_mb_per_s = 0;
  BenchOutput output;
};

Result<void> RunDrivesCommand(DrivesCommand& command) {
  auto writable =
      CheckOutputs({{"--json", command.output.json}, {"--report", command.output.report}}, {});
  if (!writable) return writable;
  command.drives.memory_bytes_per_s = command.memory_mb_per_s * 1e6;
  return RunAndWrite(
      command.drives.bench,
      [&command](const bench::BenchOptions& options) {
        bench::DrivesOptions drives = command.drives;
        drives.bench = options;
        return bench::RunDrivesBench(drives);
      },
      command.output);
}

}  // namespace

void AddBenchDrives(CLI::App& app, Action& action) {
  auto options = std::make_shared<DrivesCommand>();
  bench::BenchOptions& bench = options->drives.bench;
  bench.prefix_percent = {100};
  const auto known = bench::DriveMethods();
  bench.methods = {"serial", "ext4-buffered", "ext4-direct", "block", "pool-block"};
  CLI::App& command =
      AddCommand(app, "bench-drives", "Compare the ways to read a drive, with and without the pool",
                 kExamples, action, [options] { return RunDrivesCommand(*options); });
  command.add_option("--drives", options->drives.drives, "Whole drives: what they hold is lost")
      ->delimiter(',')
      ->type_name("LIST")
      ->required();
  command.add_option("--memory", options->memory_mb_per_s, "An emulated memory device, in MB/s")
      ->check(CLI::NonNegativeNumber);
  command.add_flag("--erase", options->drives.erase,
                   "Also take drives that carry something (never ones that are in use)");
  AddParsed(command, "--methods", bench.methods, bench::ParseDriveMethods,
            fmt::format("What to compare: {}", fmt::join(known, ", ")))
      ->type_name("LIST")
      ->default_str("serial,ext4-buffered,ext4-direct,block,pool-block");
  AddRunOptions(command, bench);
  AddJson(command, options->output.json);
  AddReport(command, options->output.report);
}

}  // namespace kvpool::cli
