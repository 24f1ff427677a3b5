#include "device/spdk/pci.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <system_error>

namespace kvpool::device {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNvmeClass = "0x010802";

fs::path FolderOf(const std::string& pci_address, const fs::path& root) {
  return root / "sys/bus/pci/devices" / pci_address;
}

// The name that a link in sysfs points to; empty where there is no link.
std::string LinkedName(const fs::path& link) {
  std::error_code error;
  return fs::read_symlink(link, error).filename().string();
}

Result<void> CheckVfio(const std::string& pci_address, const fs::path& root) {
  const std::string group = LinkedName(FolderOf(pci_address, root) / "iommu_group");
  const fs::path container = root / "dev/vfio/vfio";
  std::error_code error;
  if (group.empty() || !fs::exists(container, error)) {
    return Fail(
        Status::kUnsupported,
        fmt::format("{} cannot be driven through vfio: {}; turn the IOMMU on (in the "
                    "firmware, and intel_iommu=on or amd_iommu=on for the kernel) and "
                    "load vfio-pci, or set the device's kind to nvme or block",
                    pci_address,
                    group.empty() ? "it is in no IOMMU group" : "there is no /dev/vfio/vfio"));
  }
  if (!fs::exists(root / "sys/module/vfio_iommu_type1", error)) {
    return Fail(Status::kUnsupported,
                fmt::format("{} cannot be driven through vfio without the module vfio_iommu_type1: "
                            "load it as root (modprobe vfio_iommu_type1)",
                            pci_address));
  }
  const fs::path file = root / "dev/vfio" / group;
  for (const fs::path& needed : {container, file}) {
    if (::access(needed.c_str(), R_OK | W_OK) == 0) continue;
    return Fail(Status::kInvalid,
                fmt::format("this user may not open {}, which {} needs: run as root, or give it "
                            "away (chown {} /dev/vfio/vfio /dev/vfio/{})",
                            needed.string(), pci_address, ::geteuid(), group));
  }
  return {};
}

}  // namespace

std::string HowToBindToVfio(const std::string& pci_address) {
  const std::string folder = "/sys/bus/pci/devices/" + pci_address;
  return fmt::format(
      "modprobe -a vfio-pci vfio_iommu_type1; echo vfio-pci > {0}/driver_override; echo {1} > "
      "{0}/driver/unbind; echo "
      "{1} > /sys/bus/pci/drivers_probe",
      folder, pci_address);
}

Result<void> CheckPciDrive(const std::string& pci_address, const fs::path& root) {
  const fs::path folder = FolderOf(pci_address, root);
  std::error_code error;
  if (!fs::exists(folder, error)) {
    return Fail(Status::kNotFound,
                fmt::format("there is no PCI device {}: correct its address (lspci -D lists them)",
                            pci_address));
  }
  std::string kind;
  std::ifstream(folder / "class") >> kind;
  if (kind != kNvmeClass) {
    return Fail(Status::kInvalid,
                fmt::format("the PCI device {} is no NVMe controller (its class is {}): correct "
                            "its address",
                            pci_address, kind));
  }
  const std::string driver = LinkedName(folder / "driver");
  if (driver == "vfio-pci") return CheckVfio(pci_address, root);
  if (driver == "uio_pci_generic" || driver == "igb_uio") {
    if (::geteuid() == 0) return {};
    return Fail(Status::kInvalid, fmt::format("{} is bound to {}, which only root may use: run as "
                                              "root, or bind it to vfio-pci",
                                              pci_address, driver));
  }
  return Fail(
      Status::kInvalid,
      fmt::format("{} is bound to {}: make sure that nothing uses it and hand it to vfio "
                  "as root ({}), or set the device's kind to nvme or block",
                  pci_address, driver.empty() ? "no driver" : "the kernel's driver " + driver,
                  HowToBindToVfio(pci_address)));
}

int NumaNodeOfPci(const std::string& pci_address, const fs::path& root) {
  int node = -1;
  std::ifstream(FolderOf(pci_address, root) / "numa_node") >> node;
  return node;
}

}  // namespace kvpool::device
