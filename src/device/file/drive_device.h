// What file and block devices share: the label on an open descriptor, and the device made of it.
#pragma once

#include <string>

#include "device/device.h"
#include "device/file/descriptor.h"
#include "device/label.h"

namespace kvpool::device {

// kIoError, and as DecodeLabel.
Result<Label> ReadLabelFrom(int fd, const std::string& path);
// Durable when it returns. kIoError.
Result<void> WriteLabelTo(int fd, const Label& label, const std::string& path);
Result<void> WipeLabelOn(int fd, const std::string& path);

// An error of a system call, with the usual causes put into a sentence: "cannot <what> <path>:
// ...".
tl::unexpected<Error> SystemFailure(std::string_view what, const std::string& path, int error);

struct DriveDeviceOptions {
  Descriptor fd;
  Traits traits;  // description: what stands below the queue; the queue's own part is put before it
  bool avoid_io_uring = false;
};
std::unique_ptr<Device> MakeDriveDevice(DriveDeviceOptions options);

}  // namespace kvpool::device
