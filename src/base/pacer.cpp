#include "base/pacer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/random.h"

namespace kvpool {
namespace {

constexpr std::int64_t kTicksPerNs = 16;

double TicksAByte(double bytes_per_s) {
  KVPOOL_CHECK(bytes_per_s > 0);
  return 1e9 * kTicksPerNs / bytes_per_s;
}

}  // namespace

Pacer::Pacer(const Pace& pace, std::int64_t start_ns)
    : latency_ns_(pace.latency_ns), jitter_seed_(pace.jitter_seed) {
  KVPOOL_CHECK(pace.latency_ns >= 0);
  steps_.push_back({std::numeric_limits<std::int64_t>::min(), TicksAByte(pace.bytes_per_s)});
  for (const PaceStep& step : pace.later) {
    steps_.push_back({start_ns + step.after_ns, TicksAByte(step.bytes_per_s)});
  }
}

double Pacer::TicksPerByte(std::int64_t now_ns) const {
  std::size_t step = steps_.size() - 1;
  while (now_ns < steps_[step].from_ns) --step;
  return steps_[step].ticks_per_byte;
}

std::int64_t Pacer::Reserve(std::int64_t now_ns, std::uint64_t bytes) {
  const auto length =
      static_cast<std::int64_t>(std::ceil(static_cast<double>(bytes) * TicksPerByte(now_ns)));
  std::int64_t free = free_ticks_.load(std::memory_order_relaxed);
  std::int64_t end;
  do {
    end = std::max(now_ns * kTicksPerNs, free) + length;
  } while (!free_ticks_.compare_exchange_weak(free, end, std::memory_order_relaxed));
  return (end + kTicksPerNs - 1) / kTicksPerNs + Latency();
}

std::int64_t Pacer::Latency() {
  if (jitter_seed_ == 0 || latency_ns_ == 0) return latency_ns_;
  const auto i = transfers_.fetch_add(1, std::memory_order_relaxed);
  const double factor = 0.5 + static_cast<double>(RandomAt(jitter_seed_, i) >> 11) * 0x1p-53;
  return static_cast<std::int64_t>(static_cast<double>(latency_ns_) * factor);
}

}  // namespace kvpool
