// The demo's devices and sizes, derived from what the machine gives.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/limits.h"
#include "base/units.h"
#include "bench/compare/bench.h"
#include "mem/region.h"

namespace kvpool::bench {
namespace {

// Emulated devices must be slower than what carries them, with room for a noisy neighbour.
constexpr double kOfFolder = 0.5;
constexpr double kOfMemory = 0.3;
// Files of 4 : 2 : 1, and memory of 15: the unequal pool of the benchmarks page.
constexpr double kFileParts[] = {4, 2, 1};
constexpr double kMemoryParts = 15;
constexpr double kTargetSeconds =
    30;  // of retrieving and storing; making and checking bytes takes as long again
constexpr std::uint64_t kLeastContext = 64 * kMiB;
constexpr std::uint64_t kMostContext = 8 * kGiB;

double WholeMB(double bytes_per_s) { return std::max(1e6, std::floor(bytes_per_s / 1e6) * 1e6); }

std::vector<BenchDevice> DemoDevices(const MachineSpeed& speed, std::size_t nodes) {
  double parts = 0;
  for (const double part : kFileParts) parts += part;
  const double unit = WholeMB(kOfFolder * speed.folder_bytes_per_s / parts);
  // Several nodes are copied from by several threads, yet the processor is one.
  const double memory_total =
      std::min<double>(2, static_cast<double>(nodes)) * kOfMemory * speed.memory_bytes_per_s;
  const double memory_each =
      std::min(memory_total / static_cast<double>(nodes), kMemoryParts * unit);
  std::vector<BenchDevice> devices;
  const auto known = mem::MemoryNodes();
  for (std::size_t n = 0; n < nodes; ++n) {
    devices.push_back({.kind = DeviceKind::kMemory,
                       .bytes_per_s = WholeMB(memory_each),
                       .numa_node = nodes > 1 ? known[n].node : -1});
  }
  for (const double part : kFileParts) {
    devices.push_back({.kind = DeviceKind::kFile, .bytes_per_s = part * unit});
  }
  return devices;
}

// How often the whole context passes at the devices' summed speed in a run of these methods.
double ContextsPerRun(const BenchOptions& options) {
  double sum = 0;
  double slowest = INFINITY;
  double fastest_file = 0;
  double memory = 0;
  for (const BenchDevice& device : options.devices) {
    sum += device.bytes_per_s;
    slowest = std::min(slowest, device.bytes_per_s);
    (device.kind == DeviceKind::kMemory ? memory : fastest_file) =
        device.kind == DeviceKind::kMemory ? memory + device.bytes_per_s
                                           : std::max(fastest_file, device.bytes_per_s);
  }
  const double equal = sum / (slowest * static_cast<double>(options.devices.size()));
  const double serial = sum * (0.25 / memory + 0.75 / fastest_file);
  double passes = 1;  // the picture
  for (const double percent : options.prefix_percent) passes += options.repeat * percent / 100;
  const double stores = options.repeat * (1 + equal);
  return passes * (1 + equal + 2 * serial) + stores;
}

}  // namespace

BenchOptions DemoOptions(const std::filesystem::path& dir, const MachineSpeed& speed,
                         std::uint64_t memory_bytes) {
  BenchOptions options;
  options.dir = dir;
  options.bench_name = "demo";
  options.devices = DemoDevices(speed, mem::MemoryNodes().size());
  double sum = 0;
  for (const BenchDevice& device : options.devices) sum += device.bytes_per_s;
  const auto by_time = static_cast<std::uint64_t>(kTargetSeconds * sum / ContextsPerRun(options));
  // The destination, the memory device's share, and the files where the folder lies in memory.
  const std::uint64_t by_memory = memory_bytes / 4;
  const std::uint64_t context =
      std::clamp(std::min(by_time, by_memory), kLeastContext, kMostContext);
  // Blocks of 256 tokens in a context long enough for 64 of them; of fewer in a shorter one.
  while (options.geometry.block_tokens > 16 && context / options.geometry.block_bytes() < 64) {
    options.geometry.block_tokens /= 2;
  }
  options.context_bytes = context / options.geometry.block_bytes() * options.geometry.block_bytes();
  options.geometry.name =
      fmt::format("LLaMA-3.1-8B (a context of {} tokens, scaled to this machine)",
                  options.context_bytes / options.geometry.bytes_per_token);
  return options;
}

}  // namespace kvpool::bench
