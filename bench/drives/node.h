// DriveNode: one drive as the kernel knows it, and the driver that has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "kvpool/result.h"

namespace kvpool::bench {

struct DriveNode {
  std::string name;               // "nvme0n1"
  std::filesystem::path block;    // "/dev/nvme0n1"
  std::filesystem::path generic;  // "/dev/ng0n1"; empty where there is none
  std::string pci;                // "0000:00:04.0"; empty where it has none
  std::string serial;             // empty where it tells none
  std::uint64_t bytes = 0;
};

// kInvalid: not a block device, a partition, or empty.
Result<DriveNode> FindDrive(const std::filesystem::path& block);

// Gives the PCI device to `driver` ("vfio-pci", "uio_pci_generic", "nvme") and waits until it has
// it. kUnsupported (no such driver here), kIoError.
Result<void> BindDriver(const std::string& pci, const std::string& driver);
// After BindDriver(.., "nvme"), under whatever name the kernel gives it now. kNotFound after 10 s.
Result<DriveNode> AwaitDrive(const std::string& pci);

// Writes `bytes` from the drive's start, taking `content` (aligned, a few MiB at least) over and
// over: what was never written reads too fast. kIoError.
Result<void> FillStart(const DriveNode& drive, std::span<const std::byte> content,
                       std::uint64_t bytes);

// Zeros over the first and last MiB: no label, filesystem or partition table is left. kIoError.
Result<void> WipeEnds(const DriveNode& drive);

}  // namespace kvpool::bench
