#include "pool/copy_queue.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/check.h"
#include "pool/lane_queue.h"

namespace kvpool::pool {
namespace {

constexpr std::size_t kAtOnce = 16;

// What keeps a fast link busy between two looks; on a slow one no more than passes in 2 ms, behind
// which the bytes of drives would have to wait.
std::uint64_t MaxBytes(double bytes_per_s) {
  constexpr double kSeconds = 2e-3;
  constexpr std::uint64_t kLeast = 1 << 20;
  constexpr std::uint64_t kMost = 8 << 20;
  if (bytes_per_s == 0) return kMost;
  return static_cast<std::uint64_t>(std::clamp<double>(bytes_per_s * kSeconds, kLeast, kMost));
}

}  // namespace

CopyQueue::CopyQueue(std::unique_ptr<gpu::Queue> queue, double bytes_per_s)
    : queue_(std::move(queue)), max_bytes_(MaxBytes(bytes_per_s)) {}

CopyQueue::~CopyQueue() { KVPOOL_CHECK(resting_.size() == all_.size()); }

GpuCopy& CopyQueue::Take() {
  if (resting_.empty()) {
    all_.push_back(std::make_unique<GpuCopy>());
    all_.back()->copy.user = all_.back().get();
    resting_.push_back(all_.back().get());
  }
  GpuCopy& copy = *resting_.back();
  resting_.pop_back();
  copy.runs.clear();
  copy.transfer = nullptr;
  copy.staging = nullptr;
  return copy;
}

void CopyQueue::Add(GpuCopy& copy, gpu::Direction direction) {
  copy.copy.direction = direction;
  copy.copy.status = Status::kOk;
  copy.copy.runs = copy.runs;
  copy.bytes = 0;
  for (const gpu::Run& run : copy.runs) copy.bytes += run.bytes;
  bytes_ += copy.bytes;
  waiting_.push_back(&copy);
}

bool CopyQueue::Step(std::int64_t now_ns) {
  bool moved = EndUnsubmitted(now_ns);
  moved |= Submit();
  moved |= Collect();
  return moved;
}

// Those that have nothing for the GPU, and those that the GPU has not begun by their deadline.
bool CopyQueue::EndUnsubmitted(std::int64_t now_ns) {
  bool any = false;
  for (std::size_t left = waiting_.size(); left > 0; --left) {
    GpuCopy& copy = *waiting_.front();
    waiting_.pop_front();
    const bool late = now_ns >= copy.deadline_ns;
    if (!copy.runs.empty() && !late) {
      waiting_.push_back(&copy);
      continue;
    }
    if (!copy.runs.empty()) copy.copy.status = Status::kTimedOut;
    End(copy);
    any = true;
  }
  return any;
}

bool CopyQueue::Submit() {
  std::array<gpu::Copy*, kAtOnce> copies;
  const std::size_t count = std::min(waiting_.size(), kAtOnce);
  if (count == 0) return false;
  for (std::size_t i = 0; i < count; ++i) copies[i] = &waiting_[i]->copy;
  const std::size_t taken = queue_->Submit(std::span(copies).first(count));
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(taken));
  return taken != 0;
}

bool CopyQueue::Collect() {
  std::array<gpu::Copy*, kAtOnce> done;
  const std::size_t count = queue_->Poll(done);
  for (gpu::Copy* copy : std::span(done).first(count)) End(*static_cast<GpuCopy*>(copy->user));
  return count != 0;
}

void CopyQueue::End(GpuCopy& copy) {
  bytes_ -= copy.bytes;
  copy.owner->Copied(copy);
  resting_.push_back(&copy);
}

}  // namespace kvpool::pool
