// FixedBuffers: registered memory that the kernel keeps pinned for one ring.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <span>
#include <vector>

#include "mem/registered_memory.h"

namespace kvpool::device {

// A transfer in a fixed buffer costs no look-up and pinning of its pages, which is half of what a
// large read costs the processor. Where the kernel refuses (a limit on locked memory) there are
// simply none.
// Threads: the queue's.
class FixedBuffers {
 public:
  static constexpr int kNone = -1;

  // `memory` may be null; both outlive this, and the ring is open when it goes.
  FixedBuffers(io_uring& ring, const mem::RegisteredMemory* memory);
  FixedBuffers(const FixedBuffers&) = delete;
  FixedBuffers& operator=(const FixedBuffers&) = delete;

  // Takes in what changed in the registered memory. One load when nothing did.
  void Sync() {
    if (memory_ != nullptr && memory_->version() != version_) Update();
  }

  // The index of the one buffer that holds all of `segments`; kNone: there is none.
  int IndexOf(std::span<const iovec> segments) const;

 private:
  struct Buffer {
    const std::byte* begin;
    const std::byte* end;
    std::uint32_t place;
    std::uint64_t serial;
  };

  void Update();
  bool Put(std::uint32_t place, std::span<std::byte> bytes);

  io_uring& ring_;
  const mem::RegisteredMemory* memory_;
  std::uint64_t version_ = 0;
  std::vector<Buffer> buffers_;  // by address
};

}  // namespace kvpool::device
