// Block device: a raw drive, no filesystem. Through the same queues as a file.
#pragma once

#include "device/open.h"

namespace kvpool::device {

// As OpenDevice, CreateDevice, RemoveDevice and ReadLabel, for DeviceKind::kBlock. Whatever the
// kernel itself uses (mounted, in an array, held by another pool) is refused, also when forced.
Result<std::unique_ptr<Device>> OpenBlockDevice(const DeviceConfig& config,
                                                const OpenOptions& options);
Result<void> CreateBlockDevice(const DeviceConfig& config, const CreateOptions& options);
Result<void> RemoveBlockDevice(const DeviceConfig& config, std::uint64_t pool_id);
Result<Label> ReadBlockLabel(const DeviceConfig& config);

}  // namespace kvpool::device
