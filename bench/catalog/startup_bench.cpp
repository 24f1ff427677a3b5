// startup_bench: how long a pool takes to open whose catalog names many blocks.
#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "base/units.h"
#include "bench/catalog/rows.h"
#include "catalog/catalog.h"
#include "device/label.h"
#include "kvpool/pool.h"

namespace kvpool::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kPoolId = 0x7374617274757001;

struct Options {
  std::uint64_t blocks = 1'000'000;
  RowShape shape;
  fs::path folder = ".";
  std::string json;
};

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

[[noreturn]] void Die(const std::string& message) {
  fmt::print(stderr, "startup_bench: {}\n", message);
  std::exit(1);
}

template <class T>
T Must(Result<T> result) {
  if (!result) Die(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// What this process computed, on all threads: waiting for a busy machine does not count.
double ProcessorSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// A line of /proc/self/status, in MB.
double MemoryMb(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(name + ":", 0) == 0) return std::stod(line.substr(name.size() + 1)) * 1024 / 1e6;
  }
  return 0;
}

// Gone with the object.
class Folder {
 public:
  explicit Folder(const fs::path& parent) {
    std::string name = (parent / "startup_bench-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) Die(fmt::format("{} cannot be written", parent.string()));
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

class Report {
 public:
  explicit Report(const std::string& path) {
    if (!path.empty()) json_.open(path);
  }
  void Row(const std::string& what, double value, const char* unit) {
    fmt::print("{:<52} {:>12.2f} {}\n", what, value, unit);
    std::fflush(stdout);
    if (!json_.is_open()) return;
    json_ << nlohmann::json{{"bench", "startup"}, {"case", what}, {"value", value}, {"unit", unit}}
                 .dump()
          << std::endl;
  }

 private:
  std::ofstream json_;
};

// Drives of the size that the blocks need, with labels and no bytes: files that are all hole.
Config MakeDrives(const Options& options, const fs::path& folder) {
  Config config;
  config.catalog = folder / "catalog";
  for (std::uint32_t i = 0; i < options.shape.drives; ++i) {
    DeviceConfig drive;
    drive.name = fmt::format("drive{}", i);
    drive.path = folder / drive.name;
    drive.capacity_bytes = DriveBytes(options.shape, options.blocks);
    drive.read_bytes_per_s = drive.write_bytes_per_s = 1e9;
    drive.accept_buffered = true;
    std::array<std::byte, device::kLabelBytes> page{};
    device::EncodeLabel({.pool_id = kPoolId,
                         .device_id = i + 1,
                         .index = i,
                         .count = options.shape.drives,
                         .capacity_bytes = drive.capacity_bytes,
                         .name = drive.name},
                        page);
    const int fd = open(drive.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    const auto bytes = static_cast<off_t>(device::kLabelAreaBytes + drive.capacity_bytes);
    if (fd < 0 || ftruncate(fd, bytes) != 0 ||
        write(fd, page.data(), page.size()) != static_cast<ssize_t>(page.size())) {
      Die(fmt::format("{} cannot be made with {}: choose another --dir", drive.path.string(),
                      FormatBytes(static_cast<std::uint64_t>(bytes))));
    }
    close(fd);
    config.devices.push_back(drive);
  }
  return config;
}

double WriteCatalog(const Options& options, const Config& config) {
  constexpr std::uint64_t kBatch = 10'000;
  const auto before = Clock::now();
  Must(catalog::Catalog::Create(config.catalog, kPoolId));
  auto catalog = Must(catalog::Catalog::Open(config.catalog, kPoolId));
  if (Must(catalog->SpaceId({.model = "bench"})) != options.shape.space) Die("a space too many");
  for (std::uint64_t n = 0; n < options.blocks; n += kBatch) {
    Must(catalog->Apply(Additions(options.shape, n, std::min(n + kBatch, options.blocks))));
  }
  return SecondsSince(before);
}

// Seconds to read every row and do nothing with it.
double LoadAlone(const Config& config) {
  const auto before = Clock::now();
  auto catalog = Must(catalog::Catalog::Open(config.catalog, kPoolId));
  Must(catalog->Load([](catalog::BlockRow&&) {}));
  return SecondsSince(before);
}

void ForgetFile(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
}

// Whether every block of some contexts is found, the first and the last among them.
void CheckWarm(const Pool& pool, const Options& options, Space space) {
  const std::uint64_t chains = options.blocks / options.shape.chain;
  for (std::uint64_t chain = 0; chain < chains; chain += std::max<std::uint64_t>(1, chains / 50)) {
    std::vector<std::string> names;
    for (std::uint32_t i = 0; i < options.shape.chain; ++i) {
      names.push_back(RowAt(options.shape, chain * options.shape.chain + i).key);
    }
    const std::vector<Key> keys(names.begin(), names.end());
    if (pool.Match(space, keys) != keys.size()) Die(fmt::format("context {} is not warm", chain));
  }
}

void Run(const Options& options) {
  Report report(options.json);
  const Folder folder(options.folder);
  const Config config = MakeDrives(options, folder.path());
  report.Row("catalog written", WriteCatalog(options, config), "s");
  report.Row("catalog on disk", static_cast<double>(fs::file_size(config.catalog)) / 1e6, "MB");
  ForgetFile(config.catalog);
  const double cold = LoadAlone(config);
  report.Row("rows read alone, from the disk", cold, "s");
  const double load = LoadAlone(config);
  report.Row("rows read alone, in the page cache", load, "s");
  malloc_trim(0);
  ForgetFile(config.catalog);
  const double memory_before = MemoryMb("VmRSS");
  const double processor_before = ProcessorSeconds();
  const auto before = Clock::now();
  auto pool = Must(Pool::Open(config));
  const double opened = SecondsSince(before);
  report.Row("pool open", opened, "s");
  report.Row("processor time of it", ProcessorSeconds() - processor_before, "s");
  report.Row("of it devices, index and free space", opened - cold, "s");
  report.Row("memory of the open pool", MemoryMb("VmRSS") - memory_before, "MB");
  report.Row("memory at most while it opened", MemoryMb("VmHWM") - memory_before, "MB");
  if (pool->info().blocks != options.blocks) {
    Die(fmt::format("{} blocks are there, not {}", pool->info().blocks, options.blocks));
  }
  CheckWarm(*pool, options, Must(pool->OpenSpace({.model = "bench"})));
  const auto closing = Clock::now();
  pool.reset();
  report.Row("pool close", SecondsSince(closing), "s");
}

}  // namespace
}  // namespace kvpool::bench

int main(int argc, char** argv) {
  kvpool::bench::Options options;
  CLI::App app{"How long a pool takes to open whose catalog names many blocks."};
  app.add_option("--blocks", options.blocks, "Blocks in the catalog")->capture_default_str();
  app.add_option("--units", options.shape.units, "Units a block")->capture_default_str();
  app.add_option("--dir", options.folder, "Where catalog and drives lie; takes O_DIRECT")
      ->capture_default_str();
  app.add_option("--json", options.json, "One JSON row a line into this file");
  CLI11_PARSE(app, argc, argv);
  kvpool::bench::Run(options);
  return 0;
}
