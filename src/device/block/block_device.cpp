#include "device/block/block_device.h"

#include <fmt/format.h>

#include "device/block/block_drive.h"
#include "device/file/drive_device.h"

namespace kvpool::device {

Result<std::unique_ptr<Device>> OpenBlockDevice(const DeviceConfig& config,
                                                const OpenOptions& options) {
  auto drive = BlockDrive::Open(config.path.string(), AccessFor(options.raw_use));
  if (!drive) return tl::unexpected(drive.error());
  const auto capacity_bytes = CapacityOf(**drive, config, options);
  if (!capacity_bytes) return tl::unexpected(capacity_bytes.error());
  const RawDriveFacts& facts = (*drive)->facts();
  DriveDeviceOptions made;
  made.traits.name = config.name;
  made.traits.kind = "block";
  made.traits.description = fmt::format("O_DIRECT, raw blocks of {} bytes ({} physical){}",
                                        facts.logical_block_bytes, (*drive)->physical_block_bytes(),
                                        facts.serial.empty() ? "" : ", serial " + facts.serial);
  for (const std::string& remark : options.remarks) made.traits.description += "; " + remark;
  made.traits.capacity_bytes = *capacity_bytes;
  made.avoid_io_uring = options.avoid_io_uring;
  made.fd = (*drive)->TakeDescriptor();
  return MakeDriveDevice(std::move(made));
}

}  // namespace kvpool::device
