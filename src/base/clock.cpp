#include "base/clock.h"

#include <ctime>

namespace kvpool {
namespace {

class MonotonicClock final : public Clock {
 public:
  std::int64_t NowNs() const override {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  }
};

}  // namespace

const Clock& Clock::Monotonic() {
  static const MonotonicClock clock;
  return clock;
}

}  // namespace kvpool
