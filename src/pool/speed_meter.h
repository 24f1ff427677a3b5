// SpeedMeter and BusyWatch: how lanes find out how fast a device is.
#pragma once

#include <atomic>
#include <cstdint>

#include "pool/speed.h"

namespace kvpool::pool {

// A device's speed as its lanes measure it, one of them at a time: whoever has all the work in
// flight that the device can take sees the speed of the whole device, whatever others do with it.
// Threads: in_use any; Add the holder's; Take and Release any.
class SpeedMeter {
 public:
  explicit SpeedMeter(const Speed& configured)
      : estimator_(configured),
        read_bytes_per_s_(configured.read_bytes_per_s),
        write_bytes_per_s_(configured.write_bytes_per_s) {}

  // What placement should count on.
  Speed in_use() const {
    return {read_bytes_per_s_.load(std::memory_order_relaxed),
            write_bytes_per_s_.load(std::memory_order_relaxed)};
  }

  bool Take() { return !held_.load(std::memory_order_relaxed) && !held_.exchange(true); }
  void Release() { held_.store(false, std::memory_order_release); }

  void Add(const BusyWindow& window) {
    if (!estimator_.Add(window)) return;
    const Speed speed = estimator_.in_use();
    read_bytes_per_s_.store(speed.read_bytes_per_s, std::memory_order_relaxed);
    write_bytes_per_s_.store(speed.write_bytes_per_s, std::memory_order_relaxed);
  }

 private:
  SpeedEstimator estimator_;
  std::atomic<double> read_bytes_per_s_;
  std::atomic<double> write_bytes_per_s_;
  std::atomic<bool> held_{false};
};

// One lane's eye on a device. Time counts only while the device is surely the one that is waited
// for: there was as much in flight as saturates it, and it had ended at most three quarters of that
// when the lane looked again. A lane that comes late, or has little to do, learns nothing of the
// device. Threads: the lane's.
class BusyWatch {
 public:
  // `depth`: I/Os in flight that saturate the device. The counters are the device's, of all lanes.
  BusyWatch(SpeedMeter& meter, std::uint32_t depth, const std::atomic<std::uint64_t>& bytes_read,
            const std::atomic<std::uint64_t>& bytes_written)
      : meter_(meter), depth_(depth), bytes_read_(bytes_read), bytes_written_(bytes_written) {}
  ~BusyWatch() {
    if (holds_) meter_.Release();
  }
  BusyWatch(const BusyWatch&) = delete;
  BusyWatch& operator=(const BusyWatch&) = delete;

  // After every look at the device. `ended`: the I/Os that it gave back; `all`: there were no more;
  // `full`: `depth` of them are in flight now.
  void Looked(std::int64_t now_ns, std::uint32_t ended, bool all, bool full);

 private:
  void EndInterval(std::int64_t now_ns);
  void BeginInterval(std::int64_t now_ns);

  SpeedMeter& meter_;
  const std::uint32_t depth_;
  const std::atomic<std::uint64_t>& bytes_read_;
  const std::atomic<std::uint64_t>& bytes_written_;
  bool holds_ = false;
  bool measures_ = false;
  // Of the present interval, from one look that found all there was to the next:
  std::int64_t since_ns_ = 0;
  std::uint32_t ended_ = 0;
  std::uint64_t read_before_ = 0;
  std::uint64_t written_before_ = 0;
  // Intervals so far:
  BusyWindow window_;
  std::uint32_t window_ios_ = 0;
};

}  // namespace kvpool::pool
