// NVMe device: a drive by io_uring passthrough on its character device (/dev/ng0n1), past
// filesystem and block layer.
#pragma once

#include "device/open.h"

namespace kvpool::device {

// As OpenDevice, for DeviceKind::kNvme. Held as a block device is: one excludes the other.
// Completions are polled for where the configuration asks and the driver keeps queues for that.
Result<std::unique_ptr<Device>> OpenNvmeDevice(const DeviceConfig& config,
                                               const OpenOptions& options);

// Ok: this machine and user can reach the drive so. Otherwise what OpenNvmeDevice would say, save
// that nobody is asked whether the drive is in use or what it holds.
Result<void> CheckPassthrough(const std::string& path);

}  // namespace kvpool::device
