#include "device/open.h"

#include <fmt/format.h>

#include <cmath>

#include "base/check.h"
#include "device/block/block_device.h"
#include "device/block/block_drive.h"
#include "device/faulty.h"
#include "device/file/file_device.h"
#include "device/memory/memory_device.h"
#include "device/nvme/nvme_device.h"
#include "device/nvme/nvme_drive.h"
#include "device/paths.h"
#include "device/slow.h"
#include "device/spdk/spdk_device.h"

namespace kvpool::device {
namespace {

Result<void> CheckCapacity(const DeviceConfig& config) {
  const bool given = config.capacity_bytes > 0 || IsRawDrive(config.kind);
  if (given && config.capacity_bytes % kSlabBytes == 0) return {};
  return Fail(Status::kInvalid,
              fmt::format("the capacity of device {} is {} bytes: give a multiple of 2 MiB",
                          config.name, config.capacity_bytes));
}

Result<std::unique_ptr<Device>> OpenBackEnd(const DeviceConfig& config, const OpenOptions& options);

Result<std::unique_ptr<Device>> OpenChosen(const DeviceConfig& config, const OpenOptions& options) {
  const ChosenPath chosen = ChoosePath(config);
  OpenOptions with = options;
  with.remarks.push_back(chosen.why);
  return OpenBackEnd(chosen.config, with);
}

Result<std::unique_ptr<Device>> OpenBackEnd(const DeviceConfig& config,
                                            const OpenOptions& options) {
  switch (config.kind) {
    case DeviceKind::kMemory:
      return OpenMemoryDevice({.name = config.name,
                               .capacity_bytes = config.capacity_bytes,
                               .numa_node = config.numa_node,
                               .lent_memories = options.lent_memories,
                               .lock = options.lock_memory});
    case DeviceKind::kFile:
      return OpenFileDevice(config, options);
    case DeviceKind::kBlock:
      return OpenBlockDevice(config, options);
    case DeviceKind::kNvme:
      return OpenNvmeDevice(config, options);
    case DeviceKind::kSpdk:
      return OpenSpdkDevice(config, options);
    case DeviceKind::kDrive:
      return OpenChosen(config, options);
  }
  KVPOOL_CHECK(false);
}

Result<Pace> PaceOf(const DeviceConfig& config) {
  const SlowConfig& slow = *config.slow;
  Pace pace{.bytes_per_s = slow.bytes_per_s,
            .latency_ns = std::llround(slow.latency_us * 1e3),
            .jitter_seed = slow.seed,
            .later = {}};
  bool good = slow.bytes_per_s > 0 && slow.latency_us >= 0 && slow.latency_us < 1e9;
  for (const SlowStep& step : slow.later) {
    good &= step.bytes_per_s > 0 && step.after_s >= 0 && step.after_s < 1e9;
    pace.later.push_back({std::llround(step.after_s * 1e9), step.bytes_per_s});
  }
  if (good) return pace;
  return Fail(
      Status::kInvalid,
      fmt::format("device {} is to be slowed to {} bytes/s and {} us: give a bandwidth above "
                  "0 and a latency of 0 to 1000 s",
                  config.name, slow.bytes_per_s, slow.latency_us));
}

template <class Drive>
Result<std::unique_ptr<RawDrive>> AsRawDrive(Result<std::unique_ptr<Drive>> drive) {
  if (!drive) return tl::unexpected(drive.error());
  return std::unique_ptr<RawDrive>(std::move(*drive));
}

}  // namespace

Result<std::unique_ptr<RawDrive>> OpenRawDrive(const DeviceConfig& config, RawAccess access) {
  switch (config.kind) {
    case DeviceKind::kBlock:
      return AsRawDrive(BlockDrive::Open(config.path.string(), access));
    case DeviceKind::kNvme:
      return AsRawDrive(NvmeDrive::Open(config.path.string(), access));
    case DeviceKind::kDrive:
      return OpenRawDrive(ChoosePath(config).config, access);
    case DeviceKind::kSpdk:
      return OpenSpdkRawDrive(config, access);
    case DeviceKind::kMemory:
    case DeviceKind::kFile:
      break;
  }
  KVPOOL_CHECK(false);
}

Result<std::unique_ptr<Device>> OpenDevice(const DeviceConfig& config, const OpenOptions& options) {
  if (auto good = CheckCapacity(config); !good) return tl::unexpected(good.error());
  auto script = ParseFaults(config.faults);
  if (!script) return tl::unexpected(script.error());
  auto pace = config.slow ? PaceOf(config) : Pace{};
  if (!pace) return tl::unexpected(pace.error());
  auto device = OpenBackEnd(config, options);
  if (!device) return device;

  const bool faulty = !script->rules.empty();
  if (faulty && !options.faults_outside_slow)
    *device = MakeFaulty(std::move(*device), *script, *options.clock);
  if (config.slow) *device = MakeSlow(std::move(*device), *pace, *options.clock);
  if (faulty && options.faults_outside_slow)
    *device = MakeFaulty(std::move(*device), *script, *options.clock);
  return device;
}

Result<void> CreateDevice(const DeviceConfig& config, const CreateOptions& options) {
  KVPOOL_CHECK(options.label.pool_id > 0 && options.label.device_id > 0 &&
               options.label.index < options.label.count && options.label.count <= kMaxDevices);
  if (auto good = CheckCapacity(config); !good) return good;
  switch (config.kind) {
    case DeviceKind::kMemory:
      return {};
    case DeviceKind::kFile:
      return CreateFileDevice(config, options);
    case DeviceKind::kBlock:
    case DeviceKind::kNvme:
    case DeviceKind::kSpdk:
    case DeviceKind::kDrive:
      break;
  }
  auto drive = OpenRawDrive(config, RawAccess::kHold);
  if (!drive) return tl::unexpected(drive.error());
  return LabelDrive(**drive, config, options);
}

Result<void> RemoveDevice(const DeviceConfig& config, std::uint64_t pool_id) {
  switch (config.kind) {
    case DeviceKind::kMemory:
      return {};
    case DeviceKind::kFile:
      return RemoveFileDevice(config, pool_id);
    case DeviceKind::kBlock:
    case DeviceKind::kNvme:
    case DeviceKind::kSpdk:
    case DeviceKind::kDrive:
      break;
  }
  auto drive = OpenRawDrive(config, RawAccess::kHold);
  if (!drive) return tl::unexpected(drive.error());
  return UnlabelDrive(**drive, pool_id);
}

Result<Label> ReadLabel(const DeviceConfig& config) {
  switch (config.kind) {
    case DeviceKind::kMemory:
      return Fail(Status::kInvalid,
                  fmt::format("device {} is memory, which carries no label: name a file or drive",
                              config.name));
    case DeviceKind::kFile:
      return ReadFileLabel(config);
    case DeviceKind::kBlock:
    case DeviceKind::kNvme:
    case DeviceKind::kSpdk:
    case DeviceKind::kDrive:
      break;
  }
  auto drive = OpenRawDrive(config, RawAccess::kLook);
  if (!drive) return tl::unexpected(drive.error());
  return LabelOf(**drive);
}

}  // namespace kvpool::device
