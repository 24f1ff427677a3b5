// Speed: how fast a device really is, from what it moves while it is the busy one. Pure: the caller
// says how much time passed.
#pragma once

#include <cstdint>

namespace kvpool::pool {

struct Speed {
  double read_bytes_per_s = 0;
  double write_bytes_per_s = 0;
};

// What a device moved while it had all the work it can take.
struct BusyWindow {
  std::int64_t ns = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
};

// Starts from the configured speed and keeps it while measurements stay near. Placement that
// follows every tremor would lay the blocks of one context out by different deals, so the speed in
// use changes only when the measured one has been off by more than kTolerance, on the same side,
// for kBelieveNs of busy time; then it becomes the mean over that time. Where reads and writes are
// off to the same side, the time of both counts. It recovers the same way, and stays within
// kMaxFactor of the configured speed either way.
//
// Reads and writes are told apart. Where a window holds both, each is charged with the time that
// the speeds in use give its share. Where hardly anything was read for kUnreadNs of busy time,
// reads are taken to have changed as writes did: there is no other evidence, and the next reads
// correct it. Units: bytes, nanoseconds. Threads: one.
class SpeedEstimator {
 public:
  static constexpr double kTolerance = 0.12;
  static constexpr std::int64_t kBelieveNs = 1'000'000'000;
  static constexpr std::int64_t kSmoothingNs = 200'000'000;
  static constexpr std::int64_t kUnreadNs = 2 * kBelieveNs;
  static constexpr double kMaxFactor = 32;

  explicit SpeedEstimator(const Speed& configured);

  // Takes one window into account. True when the speed in use changed.
  bool Add(const BusyWindow& window);

  Speed in_use() const { return {reads_.in_use, writes_.in_use}; }

 private:
  struct Side {
    double configured = 0;
    double in_use = 0;
    double smoothed = 0;  // of what was measured; 0: nothing yet
    // Since the smoothed speed left the tolerance, to one side:
    std::int64_t off_ns = 0;
    double off_bytes = 0;
    bool above = false;

    void Add(double ns, double bytes);
    bool Ripe(const Side& other) const;
    bool Believe();
    void Forget() { off_ns = 0, off_bytes = 0; }
  };

  bool FollowWrites();

  Side reads_;
  Side writes_;
  std::int64_t unread_ns_ = 0;  // busy with writes since the last reads worth the name
};

}  // namespace kvpool::pool
