// What file and block devices share: the label on an open descriptor, and the device made of it.
#pragma once

#include <functional>
#include <string>

#include "base/descriptor.h"
#include "device/device.h"
#include "device/label.h"

namespace kvpool::device {

// open(2), mode 0600, that never waits for the other end of a FIFO; where it fails, errno says why.
// What was opened need be no file: look before it is used.
Descriptor OpenPath(const std::string& path, int flags);

// What a killed process held is released late, when the kernel has closed its rings. Asks again and
// again, for a second at most; true as soon as `attempt` is.
bool Insist(const std::function<bool()>& attempt);

// kIoError, and as DecodeLabel.
Result<Label> ReadLabelFrom(int fd, const std::string& path);
// Durable when it returns. kIoError.
Result<void> WriteLabelTo(int fd, const Label& label, const std::string& path);

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
