#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "apps/kvpool/drive_table.h"
#include "apps/kvpool/interrupt.h"
#include "apps/kvpool/options.h"
#include "apps/kvpool/outputs.h"
#include "apps/kvpool/pool_file.h"
#include "apps/kvpool/progress.h"
#include "apps/kvpool/results.h"
#include "apps/kvpool/table.h"
#include "base/limits.h"
#include "base/units.h"
#include "bench/probe/filesystem.h"
#include "bench/probe/measure.h"
#include "mem/region.h"

namespace kvpool::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExamples =
    R"(  kvpool probe
      Lists memory nodes, drives and the ways to each, and measures memory.
  kvpool probe /mnt/nvme0 /mnt/nvme1 --out pool.toml
      Measures the drives under two folders with temporary files, and writes a pool file.
  kvpool probe /mnt/nvme0 --memory 16GiB --capacity 500GiB --out pool.toml
  kvpool probe /dev/nvme2n1
      A raw drive, by the best way to it: only read.
  kvpool probe /dev/nvme2n1 --write --yes-write /dev/nvme2n1
      A raw drive that nobody uses: what is read is written back, so its content stays.)";

// One I/O of the measurement.
constexpr std::uint64_t kMinSampleBytes = kMiB;

struct ProbeOptions {
  std::vector<fs::path> paths;
  fs::path out;
  std::string json;
  std::optional<std::uint64_t> memory_bytes;
  std::optional<std::uint64_t> capacity_bytes;
  std::uint64_t sample_bytes = 0;
  double seconds = 1;
  bool write = false;
  std::vector<fs::path> yes_write;
  bool accept_buffered = false;
  bool force = false;
};

// Raw drives are written only when that was said twice and nobody uses them.
Result<bool> MayWrite(const fs::path& path, const std::vector<DriveView>& drives,
                      const ProbeOptions& options) {
  if (!options.write) return false;
  if (std::find(options.yes_write.begin(), options.yes_write.end(), path) ==
      options.yes_write.end()) {
    return Fail(Status::kInvalid,
                fmt::format("--write would write to the raw device {0}: add --yes-write {0} if "
                            "nothing else uses it, or leave --write out",
                            path.string()));
  }
  const fs::path real = fs::canonical(path);
  const auto view = std::find_if(drives.begin(), drives.end(), [&](const DriveView& each) {
    return each.drive.block == real || each.drive.character == real;
  });
  if (view == drives.end() || view->drive.in_use()) {
    return Fail(Status::kInvalid,
                fmt::format("{} is mounted, partitioned, held by another device or part of a "
                            "drive: leave --write out, so that it is only read",
                            path.string()));
  }
  return true;
}

bool IsNode(const fs::path& path) {
  std::error_code error;
  return fs::is_block_file(path, error) || fs::is_character_file(path, error);
}

class Prober {
 public:
  explicit Prober(const ProbeOptions& options) : options_(options), drives_(ViewDrives()) {
    measure_.seconds = options.seconds;
    measure_.bytes = options.sample_bytes;
    measure_.accept_buffered = options.accept_buffered;
    measure_.progress = [this](const char* what) {
      progress_.Show(fmt::format("{}: {}", current_, what), -1);
    };
  }

  const std::vector<DriveView>& drives() const { return drives_; }

  Result<std::vector<Probed>> Run() {
    std::vector<Probed> all;
    if (options_.memory_bytes != 0) {
      for (const mem::NodeMemory& node : mem::MemoryNodes()) {
        auto probed = Memory(node);
        if (!probed) return tl::unexpected(probed.error());
        all.push_back(std::move(*probed));
      }
    }
    for (const fs::path& path : options_.paths) {
      std::error_code error;
      current_ = path.string();
      auto probed = IsNode(path) ? RawDrive(path) : Folder(path);
      if (!probed) return tl::unexpected(probed.error());
      all.push_back(std::move(*probed));
    }
    progress_.Clear();
    return all;
  }

 private:
  Result<Probed> Memory(const mem::NodeMemory& node) {
    current_ = fmt::format("memory node {}", node.node);
    auto measured = probe::MeasureMemory(node.node, measure_);
    if (!measured) return tl::unexpected(measured.error());
    return Probed{.kind = DeviceKind::kMemory,
                  .numa_node = node.node,
                  .free_bytes = node.free_bytes,
                  .measured = *measured};
  }

  Result<Probed> Folder(const fs::path& path) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      return Fail(Status::kInvalid, fmt::format("{} is neither a folder nor a drive: name "
                                                "one that exists",
                                                path.string()));
    }
    const auto filesystem = probe::FilesystemOf(path);
    if (!filesystem) return tl::unexpected(filesystem.error());
    auto folder = TemporaryPath::MakeFolder(path);
    if (!folder) return tl::unexpected(folder.error());
    auto measured = probe::MeasureFile(folder->path() / "sample", measure_);
    if (!measured) return tl::unexpected(measured.error());
    return Probed{.kind = DeviceKind::kFile,
                  .path = path,
                  .free_bytes = filesystem->free_bytes,
                  .measured = *measured};
  }

  Result<Probed> RawDrive(const fs::path& path) {
    const Result<bool> may_write = MayWrite(path, drives_, options_);
    if (!may_write) return tl::unexpected(may_write.error());
    probe::MeasureOptions measure = measure_;
    measure.write = *may_write;
    auto measured = probe::MeasureDrive(path, measure);
    if (!measured) return tl::unexpected(measured.error());
    return Probed{.kind = DeviceKind::kDrive, .path = path, .measured = *measured};
  }

  const ProbeOptions& options_;
  const std::vector<DriveView> drives_;
  probe::MeasureOptions measure_;
  Progress progress_;
  std::string current_;
};

std::string Title(const Probed& probed) {
  if (probed.kind != DeviceKind::kMemory) return probed.path.string();
  return fmt::format("memory node {}", probed.numa_node);
}

void PrintMeasured(const std::vector<Probed>& all, std::FILE* out) {
  Table table({"what", "read", "write", "latency p50", "p99", "path"});
  for (const Probed& each : all) {
    const probe::Measurement& m = each.measured;
    table.Add({Title(each), FormatRate(m.read_bytes_per_s),
               m.write_bytes_per_s > 0 ? FormatRate(m.write_bytes_per_s) : "not measured",
               fmt::format("{:.1f} us", m.read_latency_us_p50),
               fmt::format("{:.1f} us", m.read_latency_us_p99), m.description});
  }
  table.Print(out);
}

// Folders on one drive share its bandwidth, which the sum of what was measured does not show.
void WarnOfSharedDrives(const std::vector<Probed>& all) {
  std::map<std::string, std::string> seen;
  for (const Probed& each : all) {
    if (each.kind != DeviceKind::kFile) continue;
    const auto filesystem = probe::FilesystemOf(each.path);
    if (!filesystem) continue;
    const auto [first, fresh] = seen.emplace(filesystem->source, each.path.string());
    if (fresh) continue;
    fmt::print(stderr, "note: {} and {} lie on the same filesystem ({}) and share its bandwidth\n",
               first->second, each.path.string(), filesystem->source);
  }
}

std::vector<Row> Rows(const std::vector<Probed>& all, const std::vector<DriveView>& drives,
                      const ProbeOptions& options) {
  std::string settings =
      fmt::format("probe seconds={} bytes={}", options.seconds, options.sample_bytes);
  for (const Probed& each : all) settings += " " + Title(each);
  std::vector<Row> rows{Header(settings)};
  for (const Probed& each : all) {
    const probe::Measurement& m = each.measured;
    Row row{{"bench", "probe"},
            {"case", Title(each)},
            {"path", m.description},
            {"bytes", m.bytes},
            {"read_bytes_per_s", m.read_bytes_per_s},
            {"read_latency_us_p50", m.read_latency_us_p50},
            {"read_latency_us_p99", m.read_latency_us_p99}};
    if (m.write_bytes_per_s > 0) row["write_bytes_per_s"] = m.write_bytes_per_s;
    rows.push_back(std::move(row));
  }
  for (Row& row : PathRows(drives)) rows.push_back(std::move(row));
  return rows;
}

Result<void> WritePoolFile(const std::vector<Probed>& all, const ProbeOptions& options,
                           std::FILE* out) {
  const auto config = MakeConfig(all, {.out = options.out,
                                       .memory_bytes = options.memory_bytes,
                                       .capacity_bytes = options.capacity_bytes,
                                       .available_bytes = mem::AvailableMemory(),
                                       .accept_buffered = options.accept_buffered});
  if (!config) return tl::unexpected(config.error());
  if (auto written = WriteText(options.out.string(), config->ToToml()); !written) return written;
  fmt::print(out, "wrote {0}: look at the capacities, then `kvpool create --pool {0}`\n",
             options.out.string());
  return {};
}

// Every mistake that can be told before anything is measured.
Result<void> CheckProbe(const ProbeOptions& options) {
  std::error_code error;
  if (!options.out.empty() && !options.force && fs::exists(options.out, error)) {
    return Fail(Status::kInvalid, fmt::format("{} exists already: name another file or add --force "
                                              "to replace it",
                                              options.out.string()));
  }
  if (options.sample_bytes > 0 && options.sample_bytes < kMinSampleBytes) {
    return Fail(Status::kInvalid,
                fmt::format("--sample {} is too small to measure: ask for {} or more",
                            FormatBytes(options.sample_bytes), FormatBytes(kMinSampleBytes)));
  }
  if (!options.out.empty() && options.memory_bytes == 0 && options.paths.empty()) {
    return Fail(Status::kInvalid,
                "a pool needs a device: name a folder or a drive, or leave --memory 0 out");
  }
  std::vector<NamedFile> inputs;
  for (const fs::path& path : options.paths) {
    if (auto utf8 = CheckUtf8(path); !utf8) return utf8;
    inputs.push_back({path.string(), path});
  }
  if (!options.out.empty()) {
    if (auto utf8 = CheckUtf8(fs::absolute(options.out)); !utf8) return utf8;
  }
  return CheckOutputs({{"--out", options.out, true}, {"--json", options.json}}, inputs);
}

Result<void> RunProbe(const ProbeOptions& options) {
  if (auto fine = CheckProbe(options); !fine) return fine;
  std::FILE* out = PeopleStream(options.json);
  Prober prober(options);
  for (const mem::NodeMemory& node : mem::MemoryNodes()) {
    fmt::print(out, "memory node {}: {}, {} free\n", node.node, FormatBytes(node.total_bytes),
               FormatBytes(node.free_bytes));
  }
  PrintDrives(prober.drives(), out);
  std::fflush(out);
  const auto all = prober.Run();
  if (!all) return tl::unexpected(all.error());
  PrintMeasured(*all, out);
  WarnOfSharedDrives(*all);
  if (auto written = WriteRows(options.json, Rows(*all, prober.drives(), options)); !written)
    return written;
  if (!options.out.empty()) return WritePoolFile(*all, options, out);
  return {};
}

void AddProbeOptions(CLI::App& command, ProbeOptions& options) {
  command.add_option("paths", options.paths, "Folders on the drives to measure, or raw drives")
      ->type_name("PATH");
  command.add_option("--out", options.out, "Write a pool file of what was measured")
      ->type_name("POOL.toml");
  command.add_flag("--force", options.force, "Replace that file");
  AddJson(command, options.json);
  AddBytes(command, "--memory", options.memory_bytes,
           "Memory for the pool, over all nodes; 0: none (default: half of what is available)");
  AddBytes(command, "--capacity", options.capacity_bytes,
           "Size of each file (default: a quarter of the filesystem's free space)");
  AddBytes(command, "--sample", options.sample_bytes,
           "Size of the area that is measured (default: 1 GiB, less where space is short)");
  command.add_option("--seconds", options.seconds, "Time for each of writing and reading")
      ->check(CLI::Range(0.01, 600.0))
      ->capture_default_str();
  command.add_flag("--write", options.write, "Measure writes of raw drives too");
  command.add_option("--yes-write", options.yes_write, "The raw drives that --write may touch")
      ->type_name("DEVICE")
      ->expected(1)
      ->take_all();
  command.add_flag("--accept-buffered", options.accept_buffered,
                   "Go through the page cache where the filesystem refuses O_DIRECT");
}

}  // namespace

void AddProbe(CLI::App& app, Action& action) {
  auto options = std::make_shared<ProbeOptions>();
  CLI::App& command =
      AddCommand(app, "probe", "Find memory and drives, measure them, write a pool file", kExamples,
                 action, [options] { return RunProbe(*options); });
  AddProbeOptions(command, *options);
}

}  // namespace kvpool::cli
