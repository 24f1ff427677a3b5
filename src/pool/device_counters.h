// DeviceCounters: what transfers of one device came to, for whoever watches the pool.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace kvpool::pool {

// Bucket i has what took at most 2^i microseconds and more than the one before; the last one all
// that took longer.
inline constexpr std::size_t kLatencyBuckets = 26;  // up to 16.8 s, then longer

constexpr std::int64_t LatencyBoundUs(std::size_t bucket) { return std::int64_t{1} << bucket; }

constexpr std::size_t LatencyBucketOf(std::int64_t ns) {
  if (ns <= 1000) return 0;
  const auto us = static_cast<std::uint64_t>((ns + 999) / 1000);
  const auto bucket = static_cast<std::size_t>(std::bit_width(us - 1));
  return bucket < kLatencyBuckets ? bucket : kLatencyBuckets - 1;
}

// A histogram that has been read. Counts of one bucket may be newer than those of another.
struct LatencyCounts {
  std::array<std::uint64_t, kLatencyBuckets> counts{};
  std::uint64_t sum_ns = 0;

  std::uint64_t Count() const;
  // Seconds below which a fraction `quantile` of the transfers ended, as if each bucket's lay
  // evenly between its bounds; 0 where there were none.
  double QuantileS(double quantile) const;
  LatencyCounts Since(const LatencyCounts& before) const;
};

// Relaxed throughout: each count is true by itself. Threads: any.
class LatencyHistogram {
 public:
  void Add(std::int64_t ns) {
    counts_[LatencyBucketOf(ns)].fetch_add(1, std::memory_order_relaxed);
    sum_ns_.fetch_add(static_cast<std::uint64_t>(ns < 0 ? 0 : ns), std::memory_order_relaxed);
  }
  LatencyCounts Read() const;

 private:
  std::array<std::atomic<std::uint64_t>, kLatencyBuckets> counts_{};
  std::atomic<std::uint64_t> sum_ns_{0};
};

// Told by lanes, once a transfer or a batch. Threads: any.
struct alignas(64) DeviceCounters {
  // Of transfers that went well: from their issue until the lane saw their end.
  LatencyHistogram read_latency;
  LatencyHistogram write_latency;
  std::atomic<std::uint64_t> mover_bytes_read{0};  // of the slot's bytes_read: for the mover
  std::atomic<std::uint64_t> mover_bytes_written{0};
  std::atomic<std::int64_t> transfers_in_flight{0};  // without what was given up
  std::atomic<std::int64_t> units_waiting{0};        // given to lanes, not issued yet

  // `get`: it was read; else written. `moves`: for the mover.
  void Ended(bool get, bool moves, std::uint64_t bytes, std::int64_t ns) {
    (get ? read_latency : write_latency).Add(ns);
    if (!moves) return;
    (get ? mover_bytes_read : mover_bytes_written).fetch_add(bytes, std::memory_order_relaxed);
  }
};

}  // namespace kvpool::pool
