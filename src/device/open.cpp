#include "device/open.h"

#include <fmt/format.h>

#include <cmath>

#include "device/file/file_device.h"
#include "device/memory/memory_device.h"
#include "device/slow.h"

namespace kvpool::device {
namespace {

Result<void> CheckCapacity(const DeviceConfig& config, bool may_be_all) {
  const bool good =
      config.capacity_bytes % kSlabBytes == 0 && (may_be_all || config.capacity_bytes > 0);
  if (good) return {};
  return Fail(Status::kInvalid,
              fmt::format("the capacity of device {} is {} bytes: give a multiple of 2 MiB",
                          config.name, config.capacity_bytes));
}

tl::unexpected<Error> NoBlockDevices(const DeviceConfig& config) {
  return Fail(
      Status::kUnsupported,
      fmt::format("device {} is a block device, which this build cannot use: make it a file",
                  config.name));
}

Result<std::unique_ptr<Device>> OpenBackEnd(const DeviceConfig& config,
                                            const OpenOptions& options) {
  switch (config.kind) {
    case DeviceKind::kMemory:
      if (auto good = CheckCapacity(config, false); !good) return tl::unexpected(good.error());
      return OpenMemoryDevice({.name = config.name,
                               .capacity_bytes = config.capacity_bytes,
                               .numa_node = config.numa_node,
                               .shareable = options.shareable_memory,
                               .lock = options.lock_memory});
    case DeviceKind::kFile:
      return OpenFileDevice(config, options);
    case DeviceKind::kBlock:
      break;
  }
  return NoBlockDevices(config);
}

Pace PaceOf(const SlowConfig& slow) {
  return {.bytes_per_s = slow.bytes_per_s,
          .latency_ns = std::llround(slow.latency_us * 1e3),
          .jitter_seed = slow.seed};
}

}  // namespace

Result<std::unique_ptr<Device>> OpenDevice(const DeviceConfig& config, const OpenOptions& options) {
  auto device = OpenBackEnd(config, options);
  if (!device) return device;
  if (config.slow) *device = MakeSlow(std::move(*device), PaceOf(*config.slow), *options.clock);
  return device;
}

Result<void> CreateDevice(const DeviceConfig& config, const CreateOptions& options) {
  if (auto good = CheckCapacity(config, config.kind == DeviceKind::kBlock); !good) return good;
  switch (config.kind) {
    case DeviceKind::kMemory:
      return {};
    case DeviceKind::kFile:
      return CreateFileDevice(config, options);
    case DeviceKind::kBlock:
      break;
  }
  return NoBlockDevices(config);
}

Result<void> RemoveDevice(const DeviceConfig& config, std::uint64_t pool_id) {
  switch (config.kind) {
    case DeviceKind::kMemory:
      return {};
    case DeviceKind::kFile:
      return RemoveFileDevice(config, pool_id);
    case DeviceKind::kBlock:
      break;
  }
  return NoBlockDevices(config);
}

Result<Label> ReadLabel(const DeviceConfig& config) {
  switch (config.kind) {
    case DeviceKind::kFile:
      return ReadFileLabel(config);
    case DeviceKind::kBlock:
      return NoBlockDevices(config);
    case DeviceKind::kMemory:
      break;
  }
  return Fail(Status::kInvalid,
              fmt::format("device {} is memory, which has no label", config.name));
}

}  // namespace kvpool::device
