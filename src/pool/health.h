// Health: whether a device is still worth asking, by what its transfers came to.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/mutex.h"
#include "kvpool/pool.h"

namespace kvpool::pool {

// Counts what goes wrong on one device and drains it past the thresholds of base/limits.h: from
// then on nothing is placed there and nothing is asked of it, for as long as the pool is open or
// until another device stands in its place (StartAnew).
// Threads: any. What a transfer that goes well costs is one load.
class Health {
 public:
  DeviceState state() const { return state_.load(std::memory_order_acquire); }
  // What it holds may be read.
  bool serves() const { return state() <= DeviceState::kLeaving; }
  bool takes() const { return state() == DeviceState::kServing; }
  std::string reason() const;  // one sentence; empty while it serves

  // --- told by lanes, once a transfer (Corrupted: once a unit). `moved_bytes`: what the device has
  // read and written so far ---
  void Succeeded() {
    if (failed_in_a_row_.load(std::memory_order_relaxed) != 0) failed_in_a_row_.store(0);
    if (missed_in_a_row_.load(std::memory_order_relaxed) != 0) missed_in_a_row_.store(0);
  }
  void Failed(std::uint64_t moved_bytes);
  // `recent`: written since the pool was opened. Older bytes may be what a crash left, or an older
  // copy of the drive: no fault of the device as it is now.
  void Corrupted(std::uint64_t moved_bytes, bool recent);
  // A request's deadline passed while the device held transfers of it, the longest for `held_ns`.
  void MissedDeadline(std::int64_t held_ns);

  // A transfer was given up.
  void Abandoned() { abandoned_.fetch_add(1, std::memory_order_relaxed); }

  // At once, with one sentence; of several the first counts.
  void Drain(std::string reason);

  // Between kServing, kLeaving and kRemoved. False: it is not in `from` any more.
  bool Become(DeviceState from, DeviceState to);
  // Another device stands in its place: serves, and nothing is known of it.
  void StartAnew();

  std::uint64_t io_errors() const { return io_errors_.load(std::memory_order_relaxed); }
  std::uint64_t checksum_failures() const {
    return checksum_failures_.load(std::memory_order_relaxed);
  }
  std::uint64_t missed_deadlines() const {
    return missed_deadlines_.load(std::memory_order_relaxed);
  }
  // Of every device that stood here.
  std::uint64_t drains() const { return drains_.load(std::memory_order_relaxed); }
  std::uint64_t abandoned() const { return abandoned_.load(std::memory_order_relaxed); }

 private:
  // How many within the last stretch of traffic.
  struct Window {
    std::atomic<std::uint64_t> begin_bytes{0};
    std::atomic<std::uint32_t> count{0};
    std::uint32_t Add(std::uint64_t moved_bytes);
  };

  std::atomic<DeviceState> state_{DeviceState::kServing};
  std::atomic<std::uint32_t> failed_in_a_row_{0};
  std::atomic<std::uint32_t> missed_in_a_row_{0};
  std::atomic<std::uint64_t> io_errors_{0};
  std::atomic<std::uint64_t> checksum_failures_{0};
  std::atomic<std::uint64_t> missed_deadlines_{0};
  std::atomic<std::uint64_t> abandoned_{0};
  std::atomic<std::uint64_t> drains_{0};
  Window failed_;
  Window corrupted_;
  mutable Mutex mutex_;
  std::string reason_ KVPOOL_GUARDED_BY(mutex_);
};

}  // namespace kvpool::pool
