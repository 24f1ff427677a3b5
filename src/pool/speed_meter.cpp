#include "pool/speed_meter.h"

namespace kvpool::pool {
namespace {

// What a window needs before one I/O more or less does not matter.
constexpr std::int64_t kWindowNs = 50'000'000;
constexpr std::uint32_t kWindowIos = 16;

}  // namespace

void BusyWatch::Looked(std::int64_t now_ns, std::uint32_t ended, bool all, bool full) {
  if (measures_) {
    ended_ += ended;
    const bool kept_busy = 4 * ended_ <= 3 * depth_;
    if (kept_busy && !all) return;
    if (kept_busy) EndInterval(now_ns);
    measures_ = false;
  }
  if (!all) return;
  if (full) {
    BeginInterval(now_ns);
  } else if (holds_) {
    holds_ = false;
    meter_.Release();
  }
}

void BusyWatch::BeginInterval(std::int64_t now_ns) {
  if (!holds_) holds_ = meter_.Take();
  if (!holds_) return;
  measures_ = true;
  since_ns_ = now_ns;
  ended_ = 0;
  read_before_ = bytes_read_.load(std::memory_order_relaxed);
  written_before_ = bytes_written_.load(std::memory_order_relaxed);
}

void BusyWatch::EndInterval(std::int64_t now_ns) {
  window_.ns += now_ns - since_ns_;
  window_.bytes_read += bytes_read_.load(std::memory_order_relaxed) - read_before_;
  window_.bytes_written += bytes_written_.load(std::memory_order_relaxed) - written_before_;
  window_ios_ += ended_;
  if (window_.ns < kWindowNs || window_ios_ < kWindowIos) return;
  meter_.Add(window_);
  window_ = {};
  window_ios_ = 0;
}

}  // namespace kvpool::pool
