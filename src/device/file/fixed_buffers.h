// FixedBuffers: registered memory that the kernel keeps pinned for one ring.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <span>
#include <vector>

#include "mem/registered_memory.h"

namespace kvpool::device {

// Of Linux 6.15; the liburing of today's distributions does not name them yet.
inline constexpr int kReadvFixed = 60;
inline constexpr int kWritevFixed = 61;

// A transfer in a fixed buffer costs no look-up and pinning of its pages, which is half of what a
// large read costs the processor. There are none where the kernel refuses (a limit on locked
// memory), nor before 6.15: older kernels keep a fixed buffer as single pages, also on hugepages,
// and a large transfer then meets the drive's limit on segments, which pages pinned anew, and
// joined, do not.
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
