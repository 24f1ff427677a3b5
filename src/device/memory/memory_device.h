// Memory device: the memory of one NUMA node as a module of the pool.
#pragma once

#include "base/shared_limit.h"
#include "device/device.h"

namespace kvpool::device {

struct MemoryDeviceOptions {
  std::string name;
  std::uint64_t capacity_bytes = 0;  // a multiple of 2 MiB
  int numa_node = -1;
  // What is written for one owner (Io::owner) lies on pages of its own, which another process can
  // map (Device::Lent), for as many owners as the limit has for the owner's party (PartyOf). Not
  // where the memory lies on reserved hugepages. Null: nothing is lent.
  std::shared_ptr<SharedLimit> lent_memories;
  bool lock = true;  // tried
};

// kNoSpace, kInvalid: as mem::Region::Make. Queues copy inside Submit; mapped, volatile,
// alignment 1.
Result<std::unique_ptr<Device>> OpenMemoryDevice(const MemoryDeviceOptions& options);

}  // namespace kvpool::device
