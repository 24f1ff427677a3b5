#include "bench/compare/arithmetic.h"

#include <algorithm>
#include <cmath>

namespace kvpool::bench {
namespace {

double Sum(const Setting& setting, DeviceKind kind) {
  double sum = 0;
  for (const DeviceSpeed& device : setting.devices) {
    if (device.kind == kind) sum += device.read_bytes_per_s;
  }
  return sum;
}

std::size_t Count(const Setting& setting, DeviceKind kind) {
  return static_cast<std::size_t>(
      std::count_if(setting.devices.begin(), setting.devices.end(),
                    [&](const DeviceSpeed& d) { return d.kind == kind; }));
}

double Slowest(const Setting& setting, DeviceKind kind) {
  double slowest = INFINITY;
  for (const DeviceSpeed& device : setting.devices) {
    if (device.kind == kind) slowest = std::min(slowest, device.read_bytes_per_s);
  }
  return slowest;
}

// Seconds a byte of the context, in proportion to bandwidth.
double PoolSecondsPerByte(const Setting& setting) {
  const double memory = Sum(setting, DeviceKind::kMemory);
  const double files = Sum(setting, DeviceKind::kFile);
  const double free_share = memory / (memory + files);
  const double limit = setting.memory_limit.value_or(1);
  return free_share <= limit ? 1 / (memory + files) : (1 - limit) / files;
}

double EqualSecondsPerByte(const Setting& setting) {
  const auto memories = static_cast<double>(Count(setting, DeviceKind::kMemory));
  const auto files = static_cast<double>(Count(setting, DeviceKind::kFile));
  double memory_share = 1 / (memories + files);  // of one device
  if (memories > 0 && setting.memory_limit) {
    memory_share = std::min(memory_share, *setting.memory_limit / memories);
  }
  const double memory_s = memories > 0 ? memory_share / Slowest(setting, DeviceKind::kMemory) : 0;
  const double file_s =
      files > 0 ? (1 - memory_share * memories) / files / Slowest(setting, DeviceKind::kFile) : 0;
  return std::max(memory_s, file_s);
}

}  // namespace

std::uint64_t SerialMemoryPeriod(const Setting& setting) {
  if (Count(setting, DeviceKind::kMemory) == 0) return 0;
  if (Count(setting, DeviceKind::kFile) == 0) return 1;
  const double limit = setting.memory_limit.value_or(0.25);
  if (limit <= 0) return 0;
  return std::max<std::uint64_t>(4, static_cast<std::uint64_t>(std::ceil(1 / limit - 1e-9)));
}

std::uint64_t SerialMemoryBlocks(const Setting& setting, std::uint64_t blocks) {
  const std::uint64_t period = SerialMemoryPeriod(setting);
  return period == 0 ? 0 : (blocks + period - 1) / period;
}

double MemoryBytesPerS(const Setting& setting) { return Sum(setting, DeviceKind::kMemory); }

double FastestFileBytesPerS(const Setting& setting) {
  double fastest = 0;
  for (const DeviceSpeed& device : setting.devices) {
    if (device.kind == DeviceKind::kFile) fastest = std::max(fastest, device.read_bytes_per_s);
  }
  return fastest;
}

double SumBytesPerS(const Setting& setting) {
  return Sum(setting, DeviceKind::kMemory) + Sum(setting, DeviceKind::kFile);
}

std::optional<double> ExpectedBytesPerS(std::string_view method, const Setting& setting,
                                        std::uint64_t blocks) {
  if (method.starts_with("pool")) return 1 / PoolSecondsPerByte(setting);
  if (method == "equal") return 1 / EqualSecondsPerByte(setting);
  if (method.starts_with("fio-") || method == "spdk-perf") return Sum(setting, DeviceKind::kFile);
  if (!method.starts_with("serial") && method != "fio") return FastestFileBytesPerS(setting);
  if (!method.starts_with("serial") || blocks == 0) return std::nullopt;
  const auto in_memory = static_cast<double>(SerialMemoryBlocks(setting, blocks));
  const double on_file = static_cast<double>(blocks) - in_memory;
  const double memory_s = in_memory > 0 ? in_memory / MemoryBytesPerS(setting) : 0;
  const double file_s = on_file > 0 ? on_file / FastestFileBytesPerS(setting) : 0;
  return static_cast<double>(blocks) / (memory_s + file_s);
}

}  // namespace kvpool::bench
