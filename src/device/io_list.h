// IoList: a first-in-first-out list of Ios, threaded through Io::queue_next.
#pragma once

#include "device/device.h"

namespace kvpool::device {

// Threads: one.
class IoList {
 public:
  bool empty() const { return first_ == nullptr; }
  Io& front() const { return *first_; }  // of one that is not empty

  void Push(Io& io) {
    io.queue_next = nullptr;
    (last_ != nullptr ? last_->queue_next : first_) = &io;
    last_ = &io;
  }

  Io* Pop() {
    Io* io = first_;
    if (io == nullptr) return nullptr;
    first_ = io->queue_next;
    if (first_ == nullptr) last_ = nullptr;
    return io;
  }

  // Takes `io` out wherever it stands. False: it is not in this list.
  bool Remove(Io& io) {
    for (Io *at = first_, *before = nullptr; at != nullptr; before = at, at = at->queue_next) {
      if (at != &io) continue;
      (before != nullptr ? before->queue_next : first_) = io.queue_next;
      if (last_ == &io) last_ = before;
      return true;
    }
    return false;
  }

  // Pops into `done`; returns how many.
  std::size_t PopInto(std::span<Io*> done) {
    std::size_t count = 0;
    while (count < done.size() && !empty()) done[count++] = Pop();
    return count;
  }

 private:
  Io* first_ = nullptr;
  Io* last_ = nullptr;
};

}  // namespace kvpool::device
