// TimelineRecorder: looks every few milliseconds at what each device has brought back.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "bench/compare/bench.h"
#include "bench/compare/contender.h"

namespace kvpool::bench {

// Threads: one; it runs one of its own between Start and Stop.
class TimelineRecorder {
 public:
  TimelineRecorder(const Setting& setting, double expected_s);
  ~TimelineRecorder() { Stop(); }

  void Start(const Contender& contender);
  void Stop();
  // What was seen, cut at `seconds`, when the retrieval ended.
  Timeline Take(const std::string& method, const std::string& note, std::uint64_t bytes,
                double seconds);

 private:
  void Look(const Contender& contender);

  const std::int64_t period_ns_;
  Timeline timeline_;
  std::vector<std::uint64_t> before_;
  std::int64_t begin_ns_ = 0;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace kvpool::bench
