// Pacer: hands out time on something that moves a fixed number of bytes a second.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace kvpool {

struct PaceStep {
  std::int64_t after_ns = 0;  // since the pacer's start
  double bytes_per_s = 0;     // > 0, from then on
};

struct Pace {
  double bytes_per_s = 0;         // > 0
  std::int64_t latency_ns = 0;    // added to every transfer; does not take up bandwidth
  std::uint64_t jitter_seed = 0;  // 0: none; else the latency varies between 0.5 and 1.5 of itself
  std::vector<PaceStep> later = {};  // earliest first
};

// Transfers pass one after the other: one that is reserved at `now` starts when the one before it
// has passed, never earlier than now, and time that was not used is lost. So in any interval that
// starts idle no more bytes pass than the pace gives. Threads: any; lock-free.
class Pacer {
 public:
  explicit Pacer(const Pace& pace, std::int64_t start_ns = 0);

  // When a transfer of `bytes` asked for at `now_ns` is complete; the same clock throughout.
  std::int64_t Reserve(std::int64_t now_ns, std::uint64_t bytes);

 private:
  std::int64_t Latency();
  double TicksPerByte(std::int64_t now_ns) const;

  struct Step {
    std::int64_t from_ns;
    double ticks_per_byte;
  };
  std::vector<Step> steps_;  // the first from ever on
  const std::int64_t latency_ns_;
  const std::uint64_t jitter_seed_;
  std::atomic<std::uint64_t> transfers_{0};
  std::atomic<std::int64_t> free_ticks_{0};  // sixteenths of a nanosecond: small transfers add up
};

}  // namespace kvpool
