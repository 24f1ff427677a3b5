// The drives of this machine, as sysfs lists them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kvpool::device {

struct MachineDrive {
  std::string name;                 // "nvme0n1"; the PCI address where the kernel has no node of it
  std::filesystem::path block;      // "/dev/nvme0n1"; empty: none
  std::filesystem::path character;  // "/dev/ng0n1"; empty: none
  std::string pci_address;          // "0000:00:04.0" of an NVMe controller; empty: not on PCIe
  std::string driver;               // of that PCI function: "nvme", "vfio-pci"; empty: none
  std::string model;                // empty where the kernel knows none
  std::string serial;               // the same
  std::uint64_t bytes = 0;          // 0 where the kernel has no node of it
  int numa_node = -1;
  bool partitioned = false;
  bool held = false;                          // by device mapper, RAID, ...
  std::vector<std::filesystem::path> mounts;  // of it and of its partitions

  bool in_use() const { return partitioned || held || !mounts.empty(); }
  // How people and pool files name it.
  std::string Path() const { return block.empty() ? name : block.string(); }
};

// Where to look; tests look elsewhere.
struct MachineFiles {
  std::filesystem::path sys = "/sys";
  std::filesystem::path mountinfo = "/proc/self/mountinfo";
};

// Those that have a size, by name, and then NVMe controllers that another driver than the kernel's
// own has, or none. Compressed-memory and RAM disks are left out.
std::vector<MachineDrive> FindDrives(const MachineFiles& files = {});

}  // namespace kvpool::device
