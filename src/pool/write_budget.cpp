#include "pool/write_budget.h"

#include <algorithm>
#include <limits>

#include "base/limits.h"

namespace kvpool::pool {
namespace {

constexpr double kDaySeconds = 86'400;
constexpr double kHalfHours = 48;

}  // namespace

WriteBudget::WriteBudget(std::uint64_t bytes_per_day)
    : bytes_per_day_(static_cast<double>(bytes_per_day)), left_(bytes_per_day_) {}

void WriteBudget::Restore(std::uint64_t left, std::int64_t recorded_unix_s,
                          std::int64_t now_unix_s) {
  left_ = std::min(static_cast<double>(left), bytes_per_day_);
  // As real numbers: whatever a catalog says, the difference does not overflow.
  Refill(static_cast<double>(now_unix_s) - static_cast<double>(recorded_unix_s));
}

std::uint64_t WriteBudget::Held(std::int64_t now_ns) {
  if (refilled_ns_ >= 0) Refill(1e-9 * static_cast<double>(now_ns - refilled_ns_));
  refilled_ns_ = std::max(now_ns, refilled_ns_);
  return static_cast<std::uint64_t>(left_);
}

std::uint64_t WriteBudget::Left(std::int64_t now_ns) {
  if (!limited()) return std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t held = Held(now_ns);
  if (held < kMaxUnitBytes) spent_ = true;
  if (left_ >= bytes_per_day_ / kHalfHours) spent_ = false;
  return spent_ ? 0 : held;
}

void WriteBudget::Spend(std::uint64_t bytes) {
  left_ = std::max(0.0, left_ - static_cast<double>(bytes));
}

void WriteBudget::Refill(double seconds) {
  const double days = std::clamp(seconds / kDaySeconds, 0.0, 1.0);
  left_ = std::min(bytes_per_day_, left_ + days * bytes_per_day_);
}

}  // namespace kvpool::pool
