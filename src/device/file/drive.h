// Drive: an open descriptor of a file or a block device, and the queues that read and write it.
#pragma once

#include <cstdint>

#include "device/device.h"

namespace kvpool::device {

// What a queue works on. Outlives it; `traits` too.
struct Drive {
  int fd = -1;
  std::uint64_t first_byte = 0;  // where offset 0 of the device lies: behind the label
  const Traits* traits = nullptr;
};

// 0, or the errno with which this kernel or container refuses io_uring.
int RingRefusal();

// io_uring. kUnsupported, kNoSpace (a limit on memory or descriptors).
Result<std::unique_ptr<Queue>> OpenRingQueue(const Drive& drive, const QueueOptions& options);

// Four threads with preadv and pwritev, for where io_uring is refused. kNoSpace.
Result<std::unique_ptr<Queue>> OpenThreadQueue(const Drive& drive, const QueueOptions& options);

// One transfer's next step, as both queues take it.
//
// Bytes done so far are in Io::queue_progress, with the top bit set once Cancel has asked for an
// end, and the next one once the pages of the transfer are known to be held.
inline constexpr std::uint32_t kCancelBit = std::uint32_t{1} << 31;
inline constexpr std::uint32_t kHoldsPagesBit = std::uint32_t{1} << 30;
inline std::uint32_t Progress(const Io& io) {
  return io.queue_progress & ~(kCancelBit | kHoldsPagesBit);
}
inline bool CancelAsked(const Io& io) { return (io.queue_progress & kCancelBit) != 0; }

// The part of a segment that a continued transfer does next: what is left of the segment it stopped
// in. Progress(io) < io.bytes.
iovec Rest(const Io& io);

// Takes in what the kernel answered to a read, write or flush: bytes, or a negative errno. False:
// the Io is finished and its status set; true: it has to be submitted again.
bool Advance(Io& io, std::int64_t answer, std::uint32_t alignment);

}  // namespace kvpool::device
