// Block device: a raw drive, no filesystem. Through the same queues as a file.
#pragma once

#include "device/open.h"

namespace kvpool::device {

// As OpenDevice, for DeviceKind::kBlock. Whatever the kernel itself uses (mounted, in an array,
// held by another pool) is refused.
Result<std::unique_ptr<Device>> OpenBlockDevice(const DeviceConfig& config,
                                                const OpenOptions& options);

}  // namespace kvpool::device
