#include "bench/compare/recorder.h"

#include <algorithm>

#include "bench/compare/pace.h"

namespace kvpool::bench {

TimelineRecorder::TimelineRecorder(const Setting& setting, double expected_s)
    : period_ns_(static_cast<std::int64_t>(1e9 * std::clamp(expected_s / 400, 0.002, 0.05))) {
  for (const DeviceSpeed& device : setting.devices) {
    timeline_.devices.push_back({device.name, device.read_bytes_per_s, {}});
  }
}

void TimelineRecorder::Look(const Contender& contender) {
  const std::vector<std::uint64_t> now = contender.BytesRead();
  timeline_.at_s.push_back(1e-9 * static_cast<double>(Clock::Monotonic().NowNs() - begin_ns_));
  for (std::size_t d = 0; d < timeline_.devices.size(); ++d) {
    timeline_.devices[d].bytes_read.push_back(now[d] - before_[d]);
  }
}

void TimelineRecorder::Start(const Contender& contender) {
  before_ = contender.BytesRead();
  begin_ns_ = Clock::Monotonic().NowNs();
  timeline_.at_s.push_back(0);
  for (DeviceTimeline& device : timeline_.devices) device.bytes_read.push_back(0);
  thread_ = std::thread([this, &contender] {
    std::int64_t next = begin_ns_ + period_ns_;
    while (!stop_.load(std::memory_order_relaxed)) {
      SleepUntil(next);
      Look(contender);
      next = std::max(next + period_ns_, Clock::Monotonic().NowNs());
    }
    Look(contender);
  });
}

void TimelineRecorder::Stop() {
  stop_.store(true, std::memory_order_relaxed);
  if (thread_.joinable()) thread_.join();
}

Timeline TimelineRecorder::Take(const std::string& method, const std::string& note,
                                std::uint64_t bytes, double seconds) {
  timeline_.method = method;
  timeline_.note = note;
  timeline_.bytes = bytes;
  timeline_.seconds = seconds;
  // What was seen after the end belongs to the end.
  for (double& at : timeline_.at_s) at = std::min(at, seconds);
  return std::move(timeline_);
}

}  // namespace kvpool::bench
