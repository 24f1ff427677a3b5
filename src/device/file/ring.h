// Ring: an io_uring on one open descriptor, as the queues of files, block devices and NVMe drives
// have it.
#pragma once

#include <liburing.h>

#include <optional>
#include <span>
#include <string>

#include "device/device.h"
#include "device/file/fixed_buffers.h"

namespace kvpool::device {

// Threads: the queue's.
class Ring {
 public:
  Ring() = default;
  // Nothing may be in flight. The kernel takes a ring apart in the background; the descriptor's
  // file is free when this returns.
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // With the first of `flags` that this kernel takes. 0, or the errno of the refusal.
  int Open(unsigned entries, std::span<const unsigned> flags);
  // Works on `fd` from now on, in registered memory where that pays, and adds to the eventfd.
  // kInvalid (no eventfd); `name` is for the sentence. `fd` and the memory outlive the ring.
  Result<void> Attach(int fd, const QueueOptions& options, const std::string& name);

  // There is one: the owner never asks for more than it opened the ring with.
  io_uring_sqe& NextEntry();
  // What the entry works on: the descriptor, by its place in the ring where it has one.
  int target() const { return registered_file_ ? 0 : fd_; }
  unsigned target_flags() const { return registered_file_ ? IOSQE_FIXED_FILE : 0u; }
  FixedBuffers& fixed() { return *fixed_; }
  const FixedBuffers& fixed() const { return *fixed_; }

  // Hands prepared entries to the kernel. What it does not take now stays: Waits().
  void Enter();
  bool Waits() const { return io_uring_sq_ready(&ring_) > 0; }
  // Looks for completions of polled drives.
  void LookForCompletions() { io_uring_get_events(&ring_); }
  io_uring& handle() { return ring_; }  // for a call of liburing's that this class does not make
  // Calls visit(const io_uring_cqe&) for every answer that is there.
  template <class Visit>
  void Reap(Visit&& visit);

 private:
  static constexpr unsigned kAtOnce = 32;

  io_uring ring_{};
  bool open_ = false;
  bool registered_file_ = false;
  int fd_ = -1;
  std::optional<FixedBuffers> fixed_;
};

template <class Visit>
void Ring::Reap(Visit&& visit) {
  io_uring_cqe* answers[kAtOnce];
  unsigned count;
  do {
    count = io_uring_peek_batch_cqe(&ring_, answers, kAtOnce);
    for (const io_uring_cqe* answer : std::span(answers).first(count)) visit(*answer);
    io_uring_cq_advance(&ring_, count);
  } while (count == kAtOnce);
}

}  // namespace kvpool::device
