#include "device/paths.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "device/nvme/nodes.h"
#include "device/nvme/nvme_device.h"
#include "device/spdk/pci.h"
#include "device/spdk/spdk_device.h"

namespace kvpool::device {
namespace {

tl::unexpected<Error> Missing(std::string sentence) {
  return Fail(Status::kUnsupported, std::move(sentence));
}

Result<void> CheckSpdk(const MachineDrive& drive) {
  if (drive.pci_address.empty()) return Missing("it is no NVMe drive on PCIe");
  if (!HasSpdk()) return Missing("this kvpool was built without SPDK");
  return CheckPciDrive(drive.pci_address);
}

Result<void> CheckNvme(const MachineDrive& drive) {
  if (!drive.character.empty()) return CheckPassthrough(drive.character.string());
  return Missing(drive.name.starts_with("nvme")
                     ? "it has no character device: use Linux 5.19 or later"
                     : "it is no NVMe drive of the kernel's");
}

Result<void> CheckBlock(const MachineDrive& drive) {
  if (drive.block.empty()) return Missing("the kernel has no block device of it");
  if (::faccessat(AT_FDCWD, drive.block.c_str(), R_OK | W_OK, AT_EACCESS) == 0) return {};
  return Missing(
      fmt::format("this user may not read and write {} ({}): run as root, or give this "
                  "user the right",
                  drive.block.string(), std::strerror(errno)));
}

// Why nobody may take the drive as a whole; empty: it is free.
std::string UseOf(const MachineDrive& drive) {
  if (!drive.mounts.empty()) {
    return fmt::format("it is mounted on {}: unmount it first", drive.mounts.front().string());
  }
  if (drive.held) return "another device is made of it, such as an array: release it first";
  if (drive.partitioned) {
    return fmt::format("it has partitions: `kvpool format {}` shows how to make it empty",
                       drive.Path());
  }
  return "";
}

}  // namespace

PathChecks PathChecks::Real() { return {CheckSpdk, CheckNvme, CheckBlock}; }

std::array<DrivePath, 4> PathsOf(const MachineDrive& drive, const PathChecks& checks) {
  const std::string use = UseOf(drive);
  const auto whole = [&](std::string_view kind, const auto& check) {
    const Result<void> answer = check(drive);
    return DrivePath{kind, answer ? use : answer.error().message};
  };
  std::array<DrivePath, 4> paths{whole("spdk", checks.spdk), whole("nvme", checks.nvme),
                                 whole("block", checks.block), DrivePath{"file"}};
  if (drive.mounts.empty()) paths[3].needs = "no filesystem of it is mounted";
  for (DrivePath& path : paths) {
    path.chosen = path.possible();
    if (path.chosen) break;
  }
  return paths;
}

ChosenPath ChoosePath(const DeviceConfig& config) {
  ChosenPath chosen{config, "nvme chosen for kind drive"};
  const std::string path = config.path.string();
  chosen.config.kind = DeviceKind::kNvme;
  const auto passes = CheckPassthrough(path);
  if (passes) return chosen;
  chosen.config.kind = DeviceKind::kBlock;
  chosen.config.path = BlockNodeOf(path);
  chosen.why = "block chosen for kind drive: " + passes.error().message;
  return chosen;
}

}  // namespace kvpool::device
