// LateHands: pages held as a drive holds them during a transfer, and written when it is late.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>

namespace kvpool::device {

// For tests. The pages are those that were behind the addresses when this was made, whatever is
// there later. Threads: one.
class LateHands {
 public:
  // nullptr where the kernel does not let io_uring hold pages.
  static std::unique_ptr<LateHands> Hold(std::span<const iovec> segments);
  virtual ~LateHands() = default;

  // Writes `bytes`, as many as the segments have, into the pages. False: the kernel failed to.
  virtual bool Land(std::span<const std::byte> bytes) = 0;
};

}  // namespace kvpool::device
