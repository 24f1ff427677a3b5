#include "pool/copy_queue.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/check.h"
#include "pool/lane_queue.h"

namespace kvpool::pool {
namespace {

constexpr std::size_t kAtOnce = 16;

}  // namespace

CopyQueue::CopyQueue(std::unique_ptr<gpu::Queue> queue, GpuLink& link)
    : queue_(std::move(queue)), link_(link) {}

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
  if (direction == gpu::Direction::kToGpu) Count(copy.bytes);
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
  if (copy.copy.direction == gpu::Direction::kToGpu) Discount(copy.bytes);
  copy.owner->Copied(copy);
  resting_.push_back(&copy);
}

void CopyQueue::Count(std::uint64_t bytes) {
  bytes_ += bytes;
  link_.Add(bytes);
}

void CopyQueue::Discount(std::uint64_t bytes) {
  bytes_ -= bytes;
  link_.Remove(bytes);
}

}  // namespace kvpool::pool
