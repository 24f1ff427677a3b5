// Accounting: what a retrieval cost the processor and how long its threads were held up, from the
// kernel's own books.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace kvpool::bench {

// /proc/<pid>/task/<tid>/schedstat.
struct Schedstat {
  std::int64_t run_ns = 0;   // on a processor
  std::int64_t wait_ns = 0;  // runnable, waiting for one
};
std::optional<Schedstat> ParseSchedstat(std::string_view text);

// Fields 14 and 15 of /proc/<pid>/task/<tid>/stat. The name in field 2 may hold spaces and
// brackets.
struct StatTicks {
  std::int64_t user = 0;
  std::int64_t system = 0;
};
std::optional<StatTicks> ParseStat(std::string_view text);

// One thread's books at one moment.
struct ThreadBooks {
  std::int64_t at_ns = 0;  // CLOCK_MONOTONIC
  Schedstat sched;
  StatTicks ticks;
};
// Absent where the kernel keeps no schedstat, or the thread is gone.
std::optional<ThreadBooks> ReadThread(pid_t thread);
std::optional<ThreadBooks> ReadThisThread();

// Time off the processor (wall less run less run-queue time) plus system time. The tick counters
// are coarse, so only their proportion is used, on schedstat's exact run time; before the first
// tick of the interval it is the proportion over the thread's life. `spin_s` of the interval was
// spent looking in vain at drives that only polling finds finished, which is not blocked time,
// whatever part of it reading the clock spent in the kernel.
double BlockedSeconds(const ThreadBooks& begin, const ThreadBooks& end, double spin_s = 0);

// User and system time of all threads of this process, living or gone, in seconds.
double ProcessCpuSeconds();

// The books of threads that live on, such as a pool's lanes.
class ThreadsMeter {
 public:
  explicit ThreadsMeter(std::span<const std::int32_t> threads);
  // The sum over the threads since construction; absent when one could not be read. `spin_s`: what
  // each spun since then, or empty.
  std::optional<double> BlockedSeconds(std::span<const double> spin_s = {}) const;

 private:
  std::vector<std::int32_t> threads_;
  std::vector<std::optional<ThreadBooks>> begin_;
};

}  // namespace kvpool::bench
