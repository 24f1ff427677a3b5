#include "pool/device_counters.h"

#include <numeric>

namespace kvpool::pool {

std::uint64_t LatencyCounts::Count() const {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

double LatencyCounts::QuantileS(double quantile) const {
  double left = quantile * static_cast<double>(Count());
  for (std::size_t i = 0; i < kLatencyBuckets; ++i) {
    const auto in_bucket = static_cast<double>(counts[i]);
    if (in_bucket == 0 || left > in_bucket) {
      left -= in_bucket;
      continue;
    }
    const double from = i == 0 ? 0 : static_cast<double>(LatencyBoundUs(i - 1));
    // What is beyond every bound has no upper one.
    if (i + 1 == kLatencyBuckets) return 1e-6 * from;
    const auto to = static_cast<double>(LatencyBoundUs(i));
    return 1e-6 * (from + (to - from) * left / in_bucket);
  }
  return 0;
}

LatencyCounts LatencyCounts::Since(const LatencyCounts& before) const {
  LatencyCounts since;
  for (std::size_t i = 0; i < kLatencyBuckets; ++i) {
    since.counts[i] = counts[i] - before.counts[i];
  }
  since.sum_ns = sum_ns - before.sum_ns;
  return since;
}

LatencyCounts LatencyHistogram::Read() const {
  LatencyCounts read;
  for (std::size_t i = 0; i < kLatencyBuckets; ++i) {
    read.counts[i] = counts_[i].load(std::memory_order_relaxed);
  }
  read.sum_ns = sum_ns_.load(std::memory_order_relaxed);
  return read;
}

}  // namespace kvpool::pool
