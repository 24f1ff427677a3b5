#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "apps/kvpool/interrupt.h"
#include "apps/kvpool/options.h"
#include "apps/kvpool/outputs.h"
#include "apps/kvpool/run_bench.h"
#include "base/limits.h"
#include "base/units.h"
#include "bench/compare/bench.h"
#include "bench/drives/drives.h"
#include "bench/probe/filesystem.h"
#include "mem/region.h"

namespace kvpool::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExamples =
    R"(  kvpool demo --out out
      Measures this machine, makes a pool of its memory and three emulated drives, stores a long
      context and brings it back by the pool and by what caches do today. Every byte is checked.
      Leaves out/demo.json and out/report.html.
  kvpool demo --out out --dir /mnt/nvme0      the emulated drives on a drive of your choice)";

// A folder this slow leaves little to emulate three drives with.
constexpr double kSlowFolder = 800e6;
// A folder in memory takes the context once more.
constexpr std::uint64_t kMemoryForMemoryFolder = 2 * kGiB;
constexpr const char* kMemoryFolder = "/dev/shm";
constexpr std::uint64_t kTokensItStandsFor = 128 * 1024;
// Of the comparison on the disk itself: enough for seconds of a fast one.
constexpr std::uint64_t kDiskBytes = 256 * kMiB;
constexpr std::uint32_t kDiskBlockTokens = 64;

struct DemoCommand {
  fs::path out = "out";
  fs::path dir;  // empty: chosen
};

// Where the emulated drives lie, and what it gives.
struct Place {
  TemporaryPath folder;
  bench::MachineSpeed speed;
  bool direct = false;
  std::uint64_t free_bytes = 0;
};

Result<Place> Measure(const fs::path& parent) {
  auto folder = TemporaryPath::MakeFolder(parent);
  if (!folder) return tl::unexpected(folder.error());
  const auto filesystem = probe::FilesystemOf(folder->path());
  if (!filesystem) return tl::unexpected(filesystem.error());
  const auto speed = bench::MeasureMachine(folder->path());
  if (!speed) return tl::unexpected(speed.error());
  const bool direct = probe::TakesDirect(folder->path());
  return Place{std::move(*folder), *speed, direct, filesystem->free_bytes};
}

std::string Speed(const Place& place) {
  return fmt::format("{}{}", FormatRate(place.speed.folder_bytes_per_s),
                     place.direct ? " past the page cache" : ", O_DIRECT refused");
}

// The disk, unless it is slow and memory can stand in.
Result<Place> Choose(const DemoCommand& command) {
  const fs::path parent = command.dir.empty() ? command.out : command.dir;
  fmt::print("measuring memory and {}\n", parent.string());
  std::fflush(stdout);
  auto disk = Measure(parent);
  if (!disk) return disk;
  fmt::print("memory copies at {} with one thread; {} gives {}\n",
             FormatRate(disk->speed.memory_bytes_per_s), parent.string(), Speed(*disk));
  const bool good = disk->direct && disk->speed.folder_bytes_per_s >= kSlowFolder;
  if (good || !command.dir.empty() || mem::AvailableMemory() < kMemoryForMemoryFolder) return disk;
  auto memory = Measure(kMemoryFolder);
  if (!memory || !memory->direct || memory->free_bytes < kGiB ||
      memory->speed.folder_bytes_per_s < 2 * disk->speed.folder_bytes_per_s) {
    return disk;
  }
  fmt::print("the emulated drives lie on {} instead, which gives {}\n", kMemoryFolder,
             Speed(*memory));
  return memory;
}

void Announce(const bench::BenchOptions& options) {
  std::string devices;
  for (const bench::BenchDevice& device : options.devices) {
    devices += fmt::format("{}{} {}", devices.empty() ? "" : ", ",
                           device.kind == DeviceKind::kMemory ? "memory" : "drive",
                           FormatRate(device.bytes_per_s));
  }
  const std::uint64_t whole = kTokensItStandsFor * options.geometry.bytes_per_token;
  fmt::print("emulated devices: {}\n", devices);
  fmt::print(
      "a context of {} stands for the {} of {}K tokens in LLaMA-3.1-8B; every byte is checked\n",
      FormatBytes(options.context_bytes), FormatBytes(whole), kTokensItStandsFor / 1024);
  std::fflush(stdout);
}

// What the filesystem costs on the folder's own disk, as rows and remarks of `result`.
Result<void> AddDisk(const fs::path& parent, bench::BenchResult& result) {
  auto folder = TemporaryPath::MakeFolder(parent);
  if (!folder) return tl::unexpected(folder.error());
  bench::BenchOptions options;
  options.dir = folder->path();
  options.context_bytes = kDiskBytes;
  options.geometry.block_tokens = kDiskBlockTokens;
  options.prefix_percent = {100};
  const auto filesystem = probe::FilesystemOf(folder->path());
  if (!filesystem || filesystem->free_bytes < 3 * kDiskBytes) return {};
  auto disk = RunWithProgress(options, bench::RunDiskBench);
  if (!disk) return tl::unexpected(disk.error());
  for (bench::Row& row : disk->rows) {
    row.case_name = "disk alone";
    result.rows.push_back(row);
  }
  for (const std::string& warning : disk->warnings) result.warnings.push_back(warning);
  result.facts.emplace_back(
      "Disk alone", fmt::format("{} in {}, {}: what the filesystem costs on this machine",
                                FormatBytes(kDiskBytes), parent.string(), filesystem->type));
  return {};
}

Result<void> RunDemo(const DemoCommand& command) {
  std::error_code error;
  fs::create_directories(command.out, error);
  const fs::path json = command.out / "demo.json";
  const fs::path report = command.out / "report.html";
  auto writable = CheckOutputs({{"--out", json}, {"--out", report}}, {});
  if (!writable) return writable;
  auto place = Choose(command);
  if (!place) return tl::unexpected(place.error());
  // DemoOptions takes a quarter of this for the context; the files need at most one context.
  const std::uint64_t room = std::min(mem::AvailableMemory(), 2 * place->free_bytes);
  bench::BenchOptions options = bench::DemoOptions(place->folder.path(), place->speed, room);
  options.accept_buffered = !place->direct;
  if (!place->direct) {
    fmt::print(stderr,
               "note: no folder here takes O_DIRECT, so the files go through the page cache "
               "and these figures mean little: choose another with --dir\n");
  }
  Announce(options);
  auto result = RunWithProgress(options, bench::RunBench);
  if (!result) return tl::unexpected(result.error());
  if (auto added = AddDisk(command.dir.empty() ? command.out : command.dir, *result); !added) {
    return added;
  }
  auto done = Write(*result, {.json = json.string(), .report = report.string()});
  if (done) fmt::print("\nwrote {} and {}\n", json.string(), report.string());
  return done;
}

}  // namespace

void AddDemo(CLI::App& app, Action& action) {
  auto options = std::make_shared<DemoCommand>();
  CLI::App& command =
      AddCommand(app, "demo", "See what a pool does on this machine, in two minutes", kExamples,
                 action, [options] { return RunDemo(*options); });
  command.add_option("--out", options->out, "Where demo.json and report.html go")
      ->type_name("DIR")
      ->capture_default_str();
  command.add_option("--dir", options->dir, "Where the emulated drives lie while it runs")
      ->type_name("DIR");
}

}  // namespace kvpool::cli
