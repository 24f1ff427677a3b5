// Drives that leave the kernel's driver for a while.
#pragma once

#include <string>
#include <vector>

#include "device/machine.h"
#include "kvpool/result.h"

namespace kvpool::bench {

// Has the drives driven from user space while it lives, and then gives them back to the kernel's
// driver and waits until it has them, under whatever name.
class UserSpaceDrives {
 public:
  // kUnsupported (not on the PCI bus, no vfio), kIoError.
  static Result<UserSpaceDrives> Take(const std::vector<device::MachineDrive>& drives);
  UserSpaceDrives(UserSpaceDrives&&) = default;
  UserSpaceDrives& operator=(UserSpaceDrives&&) = delete;
  ~UserSpaceDrives();

 private:
  UserSpaceDrives() = default;
  std::vector<std::string> pci_;
};

}  // namespace kvpool::bench
