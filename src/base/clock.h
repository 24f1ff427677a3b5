// Clock: nanoseconds from an arbitrary start, so that tests and the simulator own the time.
#pragma once

#include <cstdint>

namespace kvpool {

// Threads: any.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::int64_t NowNs() const = 0;

  // CLOCK_MONOTONIC. Lives for ever.
  static const Clock& Monotonic();
};

// Stands still until told. Threads: one.
class ManualClock final : public Clock {
 public:
  std::int64_t NowNs() const override { return now_ns_; }
  void Advance(std::int64_t ns) { now_ns_ += ns; }

 private:
  std::int64_t now_ns_ = 0;
};

}  // namespace kvpool
