// SpdkEnvironment: what SPDK sets up once in a process: DPDK's memory and its view of the PCI bus.
#pragma once

#include <string>

#include "kvpool/result.h"

namespace kvpool::device {

// Threads: immutable once made.
class SpdkEnvironment {
 public:
  // Starts it with the first call; it ends with the process. A start that failed stays failed:
  // DPDK cannot be started twice. kUnsupported, kNoSpace.
  static Result<const SpdkEnvironment*> Get();

  bool hugepages() const { return hugepages_; }
  bool iommu() const { return iommu_; }  // a drive may be given any registered memory
  const std::string& description() const { return description_; }

 private:
  SpdkEnvironment() = default;
  static Result<SpdkEnvironment> Start();

  bool hugepages_ = false;
  bool iommu_ = false;
  std::string description_;
};

// What SPDK first logged as an error since the last call, without its newline. SPDK tells causes by
// its log alone; nothing of that is printed. Threads: any.
std::string TakeSpdkError();

// Whether SPDK logged since the last call that memory could not be mapped for a drive, which it
// then calls a success. Threads: any.
bool TakeDmaRefusal();

}  // namespace kvpool::device
