// SPDK device: an NVMe drive driven from user space, by transport id: local PCIe, or a remote
// namespace over TCP.
#pragma once

#include "device/open.h"
#include "device/raw_drive.h"

namespace kvpool::device {

// Whether this build can: SPDK was there when it was made.
bool HasSpdk();

// As OpenDevice and OpenRawDrive, for DeviceKind::kSpdk.
Result<std::unique_ptr<Device>> OpenSpdkDevice(const DeviceConfig& config,
                                               const OpenOptions& options);
Result<std::unique_ptr<RawDrive>> OpenSpdkRawDrive(const DeviceConfig& config, RawAccess access);

}  // namespace kvpool::device
