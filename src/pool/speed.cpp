#include "pool/speed.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace kvpool::pool {

namespace {

constexpr double kHardly = 0.1;  // of a window's time

}  // namespace

SpeedEstimator::SpeedEstimator(const Speed& configured) {
  KVPOOL_CHECK(configured.read_bytes_per_s > 0 && configured.write_bytes_per_s > 0);
  reads_.configured = reads_.in_use = configured.read_bytes_per_s;
  writes_.configured = writes_.in_use = configured.write_bytes_per_s;
}

bool SpeedEstimator::Add(const BusyWindow& window) {
  if (window.ns <= 0) return false;
  const auto read = static_cast<double>(window.bytes_read);
  const auto written = static_cast<double>(window.bytes_written);
  const double read_time = read / reads_.in_use;
  const double write_time = written / writes_.in_use;
  if (read_time + write_time <= 0) return false;
  const double read_ns = static_cast<double>(window.ns) * read_time / (read_time + write_time);
  reads_.Add(read_ns, read);
  writes_.Add(static_cast<double>(window.ns) - read_ns, written);
  const bool reads_ripe = reads_.Ripe(writes_);
  const bool writes_ripe = writes_.Ripe(reads_);
  bool changed = reads_ripe && reads_.Believe();
  changed |= writes_ripe && writes_.Believe();
  unread_ns_ = read_ns < kHardly * static_cast<double>(window.ns) ? unread_ns_ + window.ns : 0;
  if (unread_ns_ >= kUnreadNs) changed |= FollowWrites();
  return changed;
}

bool SpeedEstimator::FollowWrites() {
  const double likely = reads_.configured * writes_.in_use / writes_.configured;
  if (std::abs(likely / reads_.in_use - 1) <= kTolerance) return false;
  reads_.in_use = reads_.smoothed = likely;
  reads_.Forget();
  return true;
}

void SpeedEstimator::Side::Add(double ns, double bytes) {
  if (ns < 1 || bytes <= 0) return;
  const double measured = bytes / ns * 1e9;
  const double weight = smoothed == 0 ? 1 : 1 - std::exp(-ns / static_cast<double>(kSmoothingNs));
  smoothed += weight * (measured - smoothed);
  const double ratio = smoothed / in_use;
  if (ratio > 1 - kTolerance && ratio < 1 + kTolerance) return Forget();
  if (off_ns > 0 && above != (ratio > 1)) Forget();
  above = ratio > 1;
  off_ns += static_cast<std::int64_t>(ns);
  off_bytes += bytes;
}

// The other side's witness counts for two thirds at most.
bool SpeedEstimator::Side::Ripe(const Side& other) const {
  if (off_ns >= kBelieveNs) return true;
  const bool agree = other.off_ns > 0 && other.above == above;
  return agree && off_ns >= kBelieveNs / 3 && off_ns + other.off_ns >= kBelieveNs;
}

bool SpeedEstimator::Side::Believe() {
  const double before = in_use;
  in_use = std::clamp(off_bytes / static_cast<double>(off_ns) * 1e9, configured / kMaxFactor,
                      configured * kMaxFactor);
  Forget();
  return in_use != before;
}

}  // namespace kvpool::pool
