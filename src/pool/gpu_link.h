// GpuLink: what all lanes of a pool have on its way to one GPU.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace kvpool::pool {

// Threads: any.
class GpuLink {
 public:
  // `bytes_per_s`: of its way to the GPU; 0: not known.
  explicit GpuLink(double bytes_per_s)
      : bytes_per_s_(bytes_per_s), enough_bytes_(EnoughBytes(bytes_per_s)) {}

  void Add(std::uint64_t bytes) { bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  void Remove(std::uint64_t bytes) { bytes_.fetch_sub(bytes, std::memory_order_relaxed); }

  // What keeps it busy until somebody looks again: more would only wait.
  std::uint64_t enough_bytes() const { return enough_bytes_; }
  bool Busy() const { return bytes_.load(std::memory_order_relaxed) >= enough_bytes_; }
  // How long it has more than enough.
  std::int64_t BusyNs() const {
    constexpr std::int64_t kLeastNs = 20'000;
    constexpr std::int64_t kMostNs = 1'000'000;
    const std::uint64_t bytes = bytes_.load(std::memory_order_relaxed);
    if (bytes <= enough_bytes_ || bytes_per_s_ == 0) return kLeastNs;
    const double ns = static_cast<double>(bytes - enough_bytes_) / bytes_per_s_ * 1e9;
    return std::clamp(static_cast<std::int64_t>(ns), kLeastNs, kMostNs);
  }

 private:
  // On a slow one no more than passes in 2 ms, behind which what comes after has to wait.
  static std::uint64_t EnoughBytes(double bytes_per_s) {
    constexpr double kSeconds = 2e-3;
    constexpr double kLeast = 1 << 20;
    constexpr double kMost = 8 << 20;
    if (bytes_per_s == 0) return static_cast<std::uint64_t>(kMost);
    return static_cast<std::uint64_t>(std::clamp(bytes_per_s * kSeconds, kLeast, kMost));
  }

  const double bytes_per_s_;
  const std::uint64_t enough_bytes_;
  std::atomic<std::uint64_t> bytes_{0};
};

}  // namespace kvpool::pool
