// SPDK device: an NVMe drive driven from user space, by transport id: local PCIe, or a remote
// namespace over TCP.
#pragma once

#include "device/open.h"

namespace kvpool::device {

// Whether this build can: SPDK was there when it was made.
bool HasSpdk();

// As OpenDevice, CreateDevice, RemoveDevice and ReadLabel, for DeviceKind::kSpdk.
Result<std::unique_ptr<Device>> OpenSpdkDevice(const DeviceConfig& config,
                                               const OpenOptions& options);
Result<void> CreateSpdkDevice(const DeviceConfig& config, const CreateOptions& options);
Result<void> RemoveSpdkDevice(const DeviceConfig& config, std::uint64_t pool_id);
Result<Label> ReadSpdkLabel(const DeviceConfig& config);

}  // namespace kvpool::device
