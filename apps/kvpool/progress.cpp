#include "apps/kvpool/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/clock.h"

namespace kvpool::cli {
namespace {

constexpr std::int64_t kTerminalIntervalNs = 100'000'000;
constexpr std::int64_t kLogIntervalNs = 5'000'000'000;

std::string Percent(double fraction) {
  return fraction < 0 ? "" : fmt::format(" {:3.0f} %", 100 * std::min(fraction, 1.0));
}

}  // namespace

Progress::Progress()
    : terminal_(isatty(STDERR_FILENO) == 1),
      started_ns_(Clock::Monotonic().NowNs()),
      shown_ns_(terminal_ ? 0 : started_ns_) {}

Progress::~Progress() { Clear(); }

void Progress::Show(std::string_view what, double fraction) {
  const std::int64_t now_ns = Clock::Monotonic().NowNs();
  if (now_ns - shown_ns_ < (terminal_ ? kTerminalIntervalNs : kLogIntervalNs)) return;
  shown_ns_ = now_ns;
  const std::string line = fmt::format("{}{}, {:.0f} s", what, Percent(fraction), elapsed_s());
  if (terminal_) {
    fmt::print(stderr, "\r\033[K{}", line);
  } else {
    fmt::print(stderr, "{}\n", line);
  }
  std::fflush(stderr);
  visible_ = terminal_;
}

double Progress::elapsed_s() const {
  return static_cast<double>(Clock::Monotonic().NowNs() - started_ns_) / 1e9;
}

void Progress::Clear() {
  if (visible_) fmt::print(stderr, "\r\033[K");
  visible_ = false;
}

}  // namespace kvpool::cli
