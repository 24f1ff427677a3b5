// The queue of an NVMe drive: io_uring passthrough, one command or several an I/O.
#pragma once

#include "device/device.h"
#include "device/nvme/command.h"

namespace kvpool::device {

// What a queue works on. Outlives it; `traits` too.
struct NvmeTarget {
  int fd = -1;                   // of the character device
  std::uint64_t first_byte = 0;  // where offset 0 of the device lies: behind the label
  const Traits* traits = nullptr;
  NvmeLimits limits;
  bool volatile_cache = false;  // flushes are commands
  bool polled = false;          // completions are polled for; no event comes
};

// Reads a page at the target's start the way its queues do. 0, or the errno with which this kernel
// or container refuses.
int TryNvmeQueue(const NvmeTarget& target);

// kUnsupported, kNoSpace (a limit on memory or descriptors).
Result<std::unique_ptr<Queue>> OpenNvmeQueue(const NvmeTarget& target, const QueueOptions& options);

}  // namespace kvpool::device
