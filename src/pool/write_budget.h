// WriteBudget: how much may be written to a drive, so that it lasts. Pure: the caller says what
// time it is.
#pragma once

#include <cstdint>

namespace kvpool::pool {

// A bucket that holds one day's bytes and refills evenly over 24 hours: so much may be written at
// once, and no more than that a day on average (twice that in a day that starts full). While the
// process runs only the monotonic clock counts; across a restart the wall clock does, and a jump of
// it gives at most one full bucket. Once it is spent nothing may be written before half an hour's
// bytes have come back: placement is not to change with every unit. Units: bytes. Threads: one.
class WriteBudget {
 public:
  // 0: no limit. The bucket starts full.
  explicit WriteBudget(std::uint64_t bytes_per_day);

  // What was left when a process before this one recorded it, by the wall clock.
  void Restore(std::uint64_t left, std::int64_t recorded_unix_s, std::int64_t now_unix_s);

  bool limited() const { return bytes_per_day_ > 0; }
  // What may be written now. `now_ns`: monotonic, the same clock throughout.
  std::uint64_t Left(std::int64_t now_ns);
  // What is in the bucket, to be recorded.
  std::uint64_t Held(std::int64_t now_ns);
  void Spend(std::uint64_t bytes);

 private:
  void Refill(double seconds);

  double bytes_per_day_;
  double left_;
  bool spent_ = false;
  std::int64_t refilled_ns_ = -1;  // -1: not asked yet
};

}  // namespace kvpool::pool
