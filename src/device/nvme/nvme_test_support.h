// Drives that tests may overwrite.
#pragma once

#include <string>
#include <vector>

#include "device/nvme/nvme_drive.h"
#include "device/sysfs.h"
#include "device/test_support.h"

namespace kvpool::device {

// Character devices, as main was told.
inline std::vector<std::string>& TestDrives() {
  static std::vector<std::string> drives;
  return drives;
}

inline bool IsOfTheGuest(const std::string& character) {
  const std::string controller = character.substr(0, character.find_last_of('n'));
  const std::string number = controller.substr(controller.find_last_not_of("0123456789") + 1);
  const std::filesystem::path sys = "/sys/class/nvme/nvme" + number;
  return ReadLine(sys / "model") == "QEMU NVMe Ctrl" &&
         ReadLine(sys / "serial") == "drive" + number;
}

// "/dev/nvme0n1" for "/dev/ng0n1".
inline std::string BlockNode(const std::string& character) {
  return "/dev/nvme" + character.substr(std::string("/dev/ng").size());
}

inline DeviceConfig NvmeConfig(const std::string& path = TestDrives().front(),
                               std::uint64_t capacity_bytes = 8 * kMiB) {
  DeviceConfig config;
  config.name = "nvme";
  config.kind = DeviceKind::kNvme;
  config.path = path;
  config.capacity_bytes = capacity_bytes;
  config.polled = true;  // where there are poll queues
  return config;
}

// Zeros over what FindSignatures looks at and what a test of 8 MiB uses.
inline void Erase(const std::string& path) {
  DeviceConfig config = NvmeConfig(path.starts_with("/dev/ng") ? BlockNode(path) : path);
  config.kind = DeviceKind::kBlock;
  config.polled = false;
  auto drive = OpenRawDrive(config, RawAccess::kHold);
  ASSERT_TRUE(drive) << drive.error().message;
  const std::vector<std::byte> zeros(RawDrive::kMaxBytes);
  for (std::uint64_t at = 0; at < 10 * kMiB; at += zeros.size()) {
    ASSERT_TRUE((*drive)->Write(at, zeros));
  }
  ASSERT_TRUE((*drive)->Write((*drive)->facts().bytes - zeros.size(), zeros));
}

}  // namespace kvpool::device
