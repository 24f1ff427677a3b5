// Detacher: takes memory out of the reach of a transfer that may come late.
#pragma once

#include <sys/uio.h>

#include <memory>
#include <span>
#include <vector>

#include "mem/mappings.h"
#include "mem/registered_memory.h"

namespace kvpool::mem {

class Detacher {
 public:
  virtual ~Detacher() = default;

  // True: behind every address in `parts` there are other pages now, and whoever still holds the
  // former ones, such as a drive in the middle of a transfer, writes where nobody looks. False:
  // these pages have to stay. Either way the bytes are undefined afterwards; nobody else may touch
  // them meanwhile. Bytes around `parts` stay as they are. Threads: any.
  virtual bool Detach(std::span<const iovec> parts) = 0;
};

// By the kernel: drops the pages of private anonymous memory, on transparent hugepages or locked as
// well, and punches holes into shared memory (memfd, tmpfs), which is then as new for every process
// that has it. Only whole pages, and memory whose kind is known: not reserved hugepages, which go
// in one piece, nor a transparent hugepage of shared memory, which stays whole while it is in use.
//
// It acts on pages that are held. What comes to an address and looks for the page then, such as a
// thread that copies, finds the new one: ask device::Queue::HoldsPages first.
class PageDetacher final : public Detacher {
 public:
  // Has queues take in anew what is registered of the memory. Outlives this.
  explicit PageDetacher(RegisteredMemory& registered);
  bool Detach(std::span<const iovec> parts) override;

 private:
  RegisteredMemory& registered_;
  std::vector<DeviceNumber> own_tmpfs_;  // the kernel's own, of memfds: not in mountinfo
};

}  // namespace kvpool::mem
