#include "device/machine.h"

#include <algorithm>
#include <cctype>

#include "device/mounts.h"
#include "device/sysfs.h"

namespace kvpool::device {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSectorBytes = 512;  // the unit of /sys/block/*/size, whatever the drive
constexpr std::string_view kNvmeClass = "0x010802";

bool HasEntries(const fs::path& folder) {
  std::error_code error;
  const fs::directory_iterator entries(folder, error);
  return !error && entries != fs::directory_iterator{};
}

// The name that a link points to; empty where there is no link.
std::string LinkedName(const fs::path& link) {
  std::error_code error;
  return fs::read_symlink(link, error).filename().string();
}

void AddMounts(const fs::path& entry, const std::vector<Mount>& mounts, MachineDrive& drive) {
  const std::string device = ReadLine(entry / "dev");
  for (const Mount& mount : mounts) {
    if (mount.device == device) drive.mounts.push_back(mount.point);
  }
}

void AddUse(const fs::path& entry, const std::vector<Mount>& mounts, MachineDrive& drive) {
  drive.held = HasEntries(entry / "holders");
  AddMounts(entry, mounts, drive);
  std::error_code error;
  for (const auto& part : fs::directory_iterator(entry, error)) {
    if (!fs::exists(part.path() / "partition", error)) continue;
    drive.partitioned = true;
    drive.held = drive.held || HasEntries(part.path() / "holders");
    AddMounts(part.path(), mounts, drive);
  }
  std::sort(drive.mounts.begin(), drive.mounts.end());
}

// The controller of a namespace: what `device` points to, or one of several that lead there.
fs::path ControllerOf(const fs::path& entry) {
  std::error_code error;
  const fs::path device = fs::canonical(entry / "device", error);
  if (error || fs::exists(device / "transport", error)) return device;
  for (const auto& part : fs::directory_iterator(device, error)) {
    if (fs::exists(part.path() / "transport", error)) return fs::canonical(part.path(), error);
  }
  return device;
}

void AddNvme(const fs::path& entry, const fs::path& sys, MachineDrive& drive) {
  const std::string number = drive.name.substr(std::string_view("nvme").size());
  std::error_code error;
  const fs::path folder = fs::canonical(entry, error).parent_path();
  if (fs::exists(folder / ("ng" + number), error)) drive.character = "/dev/ng" + number;
  const fs::path controller = ControllerOf(entry);
  drive.serial = ReadLine(controller / "serial");
  if (ReadLine(controller / "transport") != "pcie") return;
  drive.pci_address = ReadLine(controller / "address");
  drive.driver = LinkedName(sys / "bus/pci/devices" / drive.pci_address / "driver");
}

MachineDrive ReadDrive(const fs::path& entry, const fs::path& sys,
                       const std::vector<Mount>& mounts) {
  MachineDrive drive;
  drive.name = entry.filename().string();
  drive.block = fs::path("/dev") / drive.name;
  drive.model = ReadLine(entry / "device/model");
  drive.serial = ReadLine(entry / "serial");
  drive.bytes = ReadNumber<std::uint64_t>(entry / "size", 0) * kSectorBytes;
  drive.numa_node = ReadNumber<int>(entry / "device/numa_node", -1);
  if (drive.numa_node < 0) drive.numa_node = ReadNumber<int>(entry / "device/device/numa_node", -1);
  AddUse(entry, mounts, drive);
  if (drive.name.starts_with("nvme")) AddNvme(entry, sys, drive);
  return drive;
}

// NVMe controllers that have no node, for the kernel's driver does not have them.
void AddControllersWithoutNode(const fs::path& sys, std::vector<MachineDrive>& drives) {
  std::vector<MachineDrive> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(sys / "bus/pci/devices", error)) {
    if (ReadLine(entry.path() / "class") != kNvmeClass) continue;
    MachineDrive drive;
    drive.name = entry.path().filename().string();
    drive.pci_address = drive.name;
    drive.driver = LinkedName(entry.path() / "driver");
    drive.numa_node = ReadNumber<int>(entry.path() / "numa_node", -1);
    if (drive.driver != "nvme") found.push_back(std::move(drive));
  }
  std::sort(found.begin(), found.end(),
            [](const MachineDrive& a, const MachineDrive& b) { return a.name < b.name; });
  drives.insert(drives.end(), found.begin(), found.end());
}

}  // namespace

std::vector<MachineDrive> FindDrives(const MachineFiles& files) {
  const std::vector<Mount> mounts = Mounts(files.mountinfo);
  std::vector<MachineDrive> drives;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(files.sys / "block", error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("zram") || name.starts_with("ram")) continue;
    MachineDrive drive = ReadDrive(entry.path(), files.sys, mounts);
    if (drive.bytes > 0) drives.push_back(std::move(drive));
  }
  std::sort(drives.begin(), drives.end(),
            [](const MachineDrive& a, const MachineDrive& b) { return a.name < b.name; });
  AddControllersWithoutNode(files.sys, drives);
  return drives;
}

}  // namespace kvpool::device
