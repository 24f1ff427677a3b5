#include "bench/drives/user_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "bench/compare/program.h"

namespace kvpool::bench {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKernelDriver = "nvme";
constexpr const char* kUserSpaceDriver = "vfio-pci";
constexpr auto kPatience = std::chrono::seconds(10);
constexpr auto kPause = std::chrono::milliseconds(20);

template <class Done>
bool Await(Done done) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

bool Write(const fs::path& file, const std::string& text) {
  std::ofstream out(file);
  out << text;
  out.flush();
  return out.good();
}

std::string DriverOf(const std::string& pci) {
  std::error_code error;
  const fs::path link = fs::read_symlink(fs::path("/sys/bus/pci/devices") / pci / "driver", error);
  return error ? "" : link.filename().string();
}

Result<void> LoadDriver(const std::string& driver) {
  const fs::path known = fs::path("/sys/bus/pci/drivers") / driver;
  if (fs::exists(known)) return {};
  [[maybe_unused]] const auto loaded = RunProgram({"modprobe", driver});
  // Behind an IOMMU, vfio maps memory by this module; no other asks for it.
  if (driver == "vfio-pci") {
    [[maybe_unused]] const auto mapper = RunProgram({"modprobe", "vfio_iommu_type1"});
  }
  if (fs::exists(known)) return {};
  return Fail(Status::kUnsupported,
              fmt::format("the kernel has no driver {}: load its module, or leave out the methods "
                          "that need it.",
                          driver));
}

Result<void> BindDriver(const std::string& pci, const std::string& driver) {
  const fs::path device = fs::path("/sys/bus/pci/devices") / pci;
  if (DriverOf(pci) == driver) return {};
  if (auto loaded = LoadDriver(driver); !loaded) return loaded;
  if (!DriverOf(pci).empty()) Write(device / "driver/unbind", pci);
  Write(device / "driver_override", driver);
  Write("/sys/bus/pci/drivers_probe", pci);
  if (Await([&] { return DriverOf(pci) == driver; })) return {};
  return Fail(Status::kIoError,
              fmt::format("the driver {} does not take {}: look into the kernel's log, or leave "
                          "out the methods that need it.",
                          driver, pci));
}

Result<void> AwaitDrive(const std::string& pci) {
  const bool there = Await([&] {
    const auto drives = device::FindDrives();
    return std::any_of(drives.begin(), drives.end(), [&](const device::MachineDrive& one) {
      return one.pci_address == pci && one.bytes > 0;
    });
  });
  if (there) return {};
  return Fail(Status::kNotFound,
              fmt::format("the drive at {} does not come back to the kernel's driver: look into "
                          "the kernel's log.",
                          pci));
}

}  // namespace

Result<UserSpaceDrives> UserSpaceDrives::Take(const std::vector<device::MachineDrive>& drives) {
  UserSpaceDrives taken;
  for (const device::MachineDrive& drive : drives) {
    if (drive.pci_address.empty()) {
      return Fail(
          Status::kUnsupported,
          drive.block.string() + " is no NVMe drive on the PCI bus: leave the spdk methods out.");
    }
    taken.pci_.push_back(drive.pci_address);
    if (auto bound = BindDriver(drive.pci_address, kUserSpaceDriver); !bound) {
      return tl::unexpected(bound.error());
    }
  }
  return taken;
}

UserSpaceDrives::~UserSpaceDrives() {
  for (const std::string& pci : pci_) {
    if (BindDriver(pci, kKernelDriver)) [[maybe_unused]]
      const auto back = AwaitDrive(pci);
  }
}

}  // namespace kvpool::bench
