// What sysfs says about a PCI drive that is to be driven from user space. There in every build.
#pragma once

#include <filesystem>
#include <string>

#include "kvpool/result.h"

namespace kvpool::device {

// How to hand a drive to vfio-pci, as commands for root.
std::string HowToBindToVfio(const std::string& pci_address);

// Ok: `pci_address` ("0000:00:04.0") is an NVMe controller, bound to a driver that hands it to user
// space, and this user may have it. Otherwise one sentence that says what to do: kNotFound,
// kInvalid, kUnsupported. Looks below `root`, so that tests bring their own files.
Result<void> CheckPciDrive(const std::string& pci_address, const std::filesystem::path& root = "/");

// The NUMA node it hangs on; -1: it does not say.
int NumaNodeOfPci(const std::string& pci_address, const std::filesystem::path& root = "/");

}  // namespace kvpool::device
