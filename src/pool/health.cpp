#include "pool/health.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "base/units.h"

namespace kvpool::pool {

// Lanes that open a new window at once may lose a count: a threshold is not that exact.
std::uint32_t Health::Window::Add(std::uint64_t moved_bytes) {
  if (moved_bytes - begin_bytes.load(std::memory_order_relaxed) > kHealthWindowBytes) {
    begin_bytes.store(moved_bytes, std::memory_order_relaxed);
    count.store(0, std::memory_order_relaxed);
  }
  return count.fetch_add(1, std::memory_order_relaxed) + 1;
}

std::string Health::reason() const {
  MutexLock lock(mutex_);
  return reason_;
}

void Health::Drain(std::string reason) {
  MutexLock lock(mutex_);
  if (!serves()) return;
  reason_ = std::move(reason);
  drains_.fetch_add(1, std::memory_order_relaxed);
  state_.store(DeviceState::kDrained, std::memory_order_release);
}

bool Health::Become(DeviceState from, DeviceState to) {
  MutexLock lock(mutex_);
  return state_.compare_exchange_strong(from, to);
}

void Health::StartAnew() {
  MutexLock lock(mutex_);
  reason_.clear();
  for (auto* count : {&io_errors_, &checksum_failures_, &missed_deadlines_, &abandoned_})
    *count = 0;
  for (auto* row : {&failed_in_a_row_, &missed_in_a_row_}) *row = 0;
  for (Window* window : {&failed_, &corrupted_}) {
    window->begin_bytes = 0;
    window->count = 0;
  }
  state_.store(DeviceState::kServing, std::memory_order_release);
}

void Health::Failed(std::uint64_t moved_bytes) {
  io_errors_.fetch_add(1, std::memory_order_relaxed);
  if (failed_in_a_row_.fetch_add(1, std::memory_order_relaxed) + 1 >= kMaxErrorsInARow) {
    Drain(fmt::format("{} transfers in a row failed: look for it in the kernel's log, replace it",
                      kMaxErrorsInARow));
  }
  if (failed_.Add(moved_bytes) >= kMaxErrorsInWindow) {
    Drain(fmt::format("{} transfers failed within {}: look for it in the kernel's log, replace it",
                      kMaxErrorsInWindow, FormatBytes(kHealthWindowBytes)));
  }
}

void Health::Corrupted(std::uint64_t moved_bytes, bool recent) {
  checksum_failures_.fetch_add(1, std::memory_order_relaxed);
  if (!recent || corrupted_.Add(moved_bytes) < kMaxChecksumFailuresInWindow) return;
  Drain(
      fmt::format("{} units that were written since the pool was opened came back with wrong "
                  "bytes, within {}: replace it",
                  kMaxChecksumFailuresInWindow, FormatBytes(kHealthWindowBytes)));
}

void Health::MissedDeadline(std::int64_t held_ns) {
  missed_deadlines_.fetch_add(1, std::memory_order_relaxed);
  if (held_ns < kPatienceNs) return;
  if (missed_in_a_row_.fetch_add(1, std::memory_order_relaxed) + 1 >= kMaxMissedDeadlinesInARow) {
    Drain(
        fmt::format("it held transfers beyond the deadlines of {} requests in a row: look for it "
                    "in the kernel's log, replace it",
                    kMaxMissedDeadlinesInARow));
  }
}

}  // namespace kvpool::pool
