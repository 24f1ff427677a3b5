// Absent: stands in for a device that could not be opened, so that the others keep their places.
#pragma once

#include <memory>

#include "device/device.h"
#include "kvpool/config.h"

namespace kvpool::device {

// Every I/O fails with kIoError. `why`: the sentence that describes it.
std::unique_ptr<Device> MakeAbsent(const DeviceConfig& config, std::string why);

}  // namespace kvpool::device
