// File device: one preallocated file on a filesystem, past the page cache.
#pragma once

#include "device/open.h"

namespace kvpool::device {

// As OpenDevice, CreateDevice, RemoveDevice and ReadLabel, for DeviceKind::kFile.
Result<std::unique_ptr<Device>> OpenFileDevice(const DeviceConfig& config,
                                               const OpenOptions& options);
Result<void> CreateFileDevice(const DeviceConfig& config, const CreateOptions& options);
Result<void> RemoveFileDevice(const DeviceConfig& config, std::uint64_t pool_id);
Result<Label> ReadFileLabel(const DeviceConfig& config);

}  // namespace kvpool::device
