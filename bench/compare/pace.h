// Pace: an emulated device as the threads of a baseline share it, paced as the pool's slow devices
// are.
#pragma once

#include <time.h>

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/pacer.h"

namespace kvpool::bench {

// Threads: any.
class SharedPace {
 public:
  // 0: no pace, every reservation is due at once.
  explicit SharedPace(double bytes_per_s) {
    if (bytes_per_s > 0) pacer_.emplace(Pace{.bytes_per_s = bytes_per_s});
  }

  // When a device of this speed, asked now, has moved `bytes`.
  std::int64_t Reserve(std::uint64_t bytes) {
    const std::int64_t now = Clock::Monotonic().NowNs();
    return pacer_ ? pacer_->Reserve(now, bytes) : now;
  }

 private:
  std::optional<Pacer> pacer_;
};

inline void SleepUntil(std::int64_t due_ns) {
  const timespec due{.tv_sec = due_ns / 1'000'000'000, .tv_nsec = due_ns % 1'000'000'000};
  while (Clock::Monotonic().NowNs() < due_ns) {
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, nullptr);
  }
}

}  // namespace kvpool::bench
