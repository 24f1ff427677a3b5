// Uses: who is inside of something that may be closed, and the GIL they left outside.
#pragma once

#include <pybind11/pybind11.h>

#include <condition_variable>
#include <mutex>
#include <utility>

#include "python/src/errors.h"
#include "python/src/fork.h"

namespace kvpool::python {

// Threads: any. Entering never waits for more than another thread's counting.
class Uses {
 public:
  Uses() = default;
  // In a forked child those who wait are not there, and a condition would wait for them to leave.
  ~Uses() {
    if (generation_ == ForkGeneration()) delete changed_;
  }
  Uses(const Uses&) = delete;
  Uses& operator=(const Uses&) = delete;

  bool Enter() {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    ++inside_;
    return true;
  }
  // By somebody who is inside.
  void EnterAgain() {
    const std::lock_guard lock(mutex_);
    ++inside_;
  }
  void Leave() {
    const std::lock_guard lock(mutex_);
    if (--inside_ == 0) changed_->notify_all();
  }
  bool closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
  }
  // Nobody enters any more. True: this was the first to say so.
  bool Refuse() {
    const std::lock_guard lock(mutex_);
    return !std::exchange(closed_, true);
  }
  // Without the GIL, which those inside need on their way out.
  void AwaitNone() {
    std::unique_lock lock(mutex_);
    changed_->wait(lock, [this] { return inside_ == 0; });
  }
  // Who refused is done with closing.
  void End() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_->notify_all();
  }
  bool ended() const {
    const std::lock_guard lock(mutex_);
    return ended_;
  }
  // Without the GIL.
  void AwaitEnd() {
    std::unique_lock lock(mutex_);
    changed_->wait(lock, [this] { return ended_; });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable* const changed_ = new std::condition_variable;
  const std::uint64_t generation_ = ForkGeneration();
  int inside_ = 0;
  bool closed_ = false;
  bool ended_ = false;
};

// Inside for as long as it lives. Raises Cancelled where that is closed.
class Use {
 public:
  Use(Uses& uses, const char* what) : uses_(uses) {
    if (!uses.Enter()) RaiseClosed(what);
  }
  ~Use() { uses_.Leave(); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  Uses& uses_;
};

// A use without the GIL. It ends after the GIL was taken again: who closes knows then that no
// thread of this module still asks for the GIL, which would end it in the middle of C++ once the
// interpreter is on its way out.
class UnlockedUse {
 public:
  UnlockedUse(Uses& uses, const char* what) : use_(uses, what) {}

 private:
  Use use_;
  pybind11::gil_scoped_release release_;
};

}  // namespace kvpool::python
