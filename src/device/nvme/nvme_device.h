// NVMe device: a drive by io_uring passthrough on its character device (/dev/ng0n1), past
// filesystem and block layer.
#pragma once

#include "device/open.h"

namespace kvpool::device {

// As OpenDevice, CreateDevice, RemoveDevice and ReadLabel, for DeviceKind::kNvme.
Result<std::unique_ptr<Device>> OpenNvmeDevice(const DeviceConfig& config,
                                               const OpenOptions& options);
Result<void> CreateNvmeDevice(const DeviceConfig& config, const CreateOptions& options);
Result<void> RemoveNvmeDevice(const DeviceConfig& config, std::uint64_t pool_id);
Result<Label> ReadNvmeLabel(const DeviceConfig& config);

}  // namespace kvpool::device
